package gossip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestTheWatchdogBarksAtWhatHangs(t *testing.T) {
	for name, c := range map[string]struct {
		hangs time.Duration // at the third check
		want  bool
	}{
		"prompt":             {0, false},
		"slow":               {watchTicks*watchEvery - time.Millisecond, false},
		"much too slow":      {watchTicks*watchEvery + 2*watchEvery, true},
		"hanging, nearly so": {time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				var checks atomic.Int64
				w := watchdog{every: watchEvery, ticks: watchTicks, check: func() {
					if checks.Add(1) == 3 {
						time.Sleep(c.hangs)
					}
				}}
				defer time.Sleep(2 * time.Hour) // the check that hangs ends
				start := time.Now()
				if got := w.run(ctx); got != c.want {
					t.Errorf("after %d checks it says %t", checks.Load(), got)
				}
				if took := time.Since(start); c.want && took > 15*time.Second {
					t.Errorf("it took %s", took)
				}
				if n := checks.Load(); !c.want && n < 500 {
					t.Errorf("%d checks in 10 minutes", n)
				}
			})
		})
	}
}

// A process that was stopped in the middle of a check finds that the time is
// long over when it goes on.
func TestAPauseOfTheProcessIsNoDeadlock(t *testing.T) {
	const inside = "ROLLCALL_TEST_PAUSE"
	w := watchdog{every: 20 * time.Millisecond, ticks: 20, check: func() { time.Sleep(15 * time.Millisecond) }}
	if os.Getenv(inside) != "" {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, os.Stdin)
		}()
		if w.run(ctx) {
			t.Error("it barks at a pause")
		}
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inside+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, s := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			if err := cmd.Process.Signal(s); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Duration(w.ticks+5) * w.every)
		}
	}
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// jam is a log handler that hangs once it gets a line with text. memberlist logs,
// and calls its delegates, under its lock.
type jam struct {
	slog.Handler
	text    string
	jammed  chan struct{} // receives when it hangs
	release chan struct{}
}

func (j jam) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, j.text) {
		j.jammed <- struct{}{}
		<-j.release
	}
	return nil
}

func TestADeadlockOfMemberlistIsReportedAndEndsAllWaiting(t *testing.T) {
	t.Parallel()
	handler := jam{Handler: slog.NewTextHandler(io.Discard, nil), text: "member is quarantined", jammed: make(chan struct{}, 1), release: make(chan struct{})}
	t.Cleanup(func() { close(handler.release) })
	p := open(t, Options{Logger: slog.New(handler)})
	q := open(t, Options{Seeds: seedOf(p)})
	sees(t, p, q.id, is(fleet.Alive))
	raw(t, q, uuid.NewString(), []byte("garbage"))
	<-handler.jammed

	self := change(p.Self())
	if _, err := p.Announce(self); err != nil { // not noticed yet, and it waits for nothing
		t.Errorf("an announcement gives %v", err)
	}
	select {
	case err := <-p.Failed():
		if !errors.Is(err, ErrWedged) {
			t.Errorf("it failed with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the deadlock is not reported")
	}
	ends := make(chan error, 3)
	go func() { _, err := p.Announce(change(self)); ends <- err }()
	go func() { ends <- p.Reannounce() }()
	for i := range cap(ends) {
		if i == cap(ends)-1 {
			go func() { ends <- p.Leave(t.Context()) }()
		}
		select {
		case err := <-ends:
			if !errors.Is(err, ErrWedged) {
				t.Errorf("a call on a wedged pool returns %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a call on a wedged pool does not return")
		}
	}
	p.Ping(t.Context(), q.id.String(), q.Self().Gossip) // whatever it says
	if n := len(p.Members()); n != 3 {
		t.Errorf("it lists %d members, want what was known before", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
