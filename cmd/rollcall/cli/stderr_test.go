package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hanging blocks each Write until release is closed.
type hanging struct {
	release chan struct{}
	mu      sync.Mutex
	got     bytes.Buffer
}

func (h *hanging) Write(p []byte) (int, error) {
	<-h.release
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got.Write(p)
}

func (h *hanging) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got.String()
}

func TestAReaderThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{release: make(chan struct{})}
		u := newUnblocked(h)
		defer close(u.lines)
		began := time.Now()
		for n := range 1000 {
			fmt.Fprintf(u, "line %d\n", n)
		}
		if took := time.Since(began); took != stderrWait {
			t.Errorf("1000 lines took %s, want %s for the first one", took, stderrWait)
		}
		close(h.release)
		synctest.Wait()
		kept := 1 + stderrLines
		missing := fmt.Sprintf("%d lines of the log are missing", 1000-kept)
		if got := h.text(); !strings.HasPrefix(got, "line 0\nline 1\n") || !strings.Contains(got, fmt.Sprintf("line %d\n", kept-1)) || strings.Count(got, missing) != 1 {
			t.Errorf("written:\n%s", got)
		}
		fmt.Fprintln(u, "it reads again")
		if got := h.text(); !strings.HasSuffix(got, "it reads again\n") {
			t.Error("Write has returned before the line was written")
		}
	})
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAReaderThatHasGoneHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnblocked(failing{})
		defer close(u.lines)
		for range 1000 {
			if _, err := fmt.Fprintln(u, "line"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
