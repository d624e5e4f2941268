package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// readers waits until so many read events.
func (h *harness) readers(want float64) {
	h.t.Helper()
	h.eventually("readers of events", func(ctx context.Context) error {
		got, err := h.metric(ctx, "rollcall_event_readers")
		if err == nil && got != want {
			err = fmt.Errorf("there are %v, want %v", got, want)
		}
		return err
	})
}

// deaf asks for events, with hardly any room for them, and reads none.
func (h *harness) deaf() net.Conn {
	h.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		control := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return errors.Join(err, control)
	}}
	conn := must2(dialer.DialContext(within(h.t, patience), "tcp", h.Addresses.HTTP))(h.t)
	h.t.Cleanup(func() { _ = conn.Close() })
	must2(fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: %s\r\n\r\n", h.Addresses.HTTP))(h.t)
	return conn
}

// Readers that take nothing are cut off; meanwhile everybody else is told of all that
// happens, and decides without waiting.
func TestReadersThatTakeNothingAreCutOffAndHoldNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds("--http-rate", "0")
	const many, hosts = 50, 1000
	hears := h.listen("")
	deaf := make([]net.Conn, many)
	for i := range deaf {
		deaf[i] = h.deaf()
	}
	h.readers(1 + many)
	memory := func() float64 {
		return must2(h.metric(within(t, patience), "process_resident_memory_bytes"))(t)
	}
	before := memory()

	list := listOf(hosts)
	var heard []event
	var slowest time.Duration
	for began, left := time.Now(), 1.0+many; left > 1; {
		if time.Since(began) > patience {
			t.Fatalf("after %d events there are still %v readers", len(heard), left)
		}
		for _, step := range []struct {
			status       int
			method, body string
		}{{http.StatusCreated, "POST", list}, {http.StatusNoContent, "DELETE", ""}} {
			h.request(step.status, step.method, "/edsservice/large", step.body)
			for range 1 + hosts { // the list and its hosts
				heard = append(heard, hears.next(t))
			}
		}
		asked := time.Now()
		h.decide(200, "PATCH", "10.0.0.1:80", fmt.Sprintf(`{"load_balancing_weight":%d}`, 1+len(heard)%1000))
		slowest = max(slowest, time.Since(asked))
		heard = append(heard, hears.next(t))
		left = must2(h.metric(within(t, patience), "rollcall_event_readers"))(t)
		time.Sleep(100 * time.Millisecond) // for the tests beside this one
	}
	consecutive(t, heard)
	grown := memory() - before
	t.Logf("%d events, the slowest decision took %s, %.1f MB more", len(heard), slowest, grown/1e6)
	if slowest > prompt || grown > 200<<20 {
		t.Error("that is too much")
	}
	for _, conn := range deaf {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection was not closed")
		}
	}
}
