package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// piped is a `rollcall watch` that writes into a pipe.
type piped struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    io.ReadCloser
	lines  chan string // closed when it writes no more
	stderr bytes.Buffer
}

func (h *harness) watch(args ...string) *piped {
	h.t.Helper()
	p := &piped{t: h.t, lines: make(chan string, 10_000)}
	p.cmd = exec.CommandContext(within(h.t, 2*patience), binary, append([]string{"watch", "--server", "http://" + h.Addresses.HTTP}, args...)...)
	p.cmd.Stderr = &p.stderr
	p.out = must2(p.cmd.StdoutPipe())(h.t)
	must(h.t, 0, p.cmd.Start())
	h.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		defer close(p.lines)
		for r := bufio.NewReader(p.out); ; {
			line, err := r.ReadString('\n')
			if err != nil && line == "" {
				return
			}
			p.lines <- line // one without its end too
		}
	}()
	return p
}

// line waits for the next line that has each of the parts.
func (p *piped) line(parts ...string) string {
	p.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("it ended before a line with %q: %s", parts, p.stderr.String())
			}
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return line
			}
		case <-timeout:
			p.t.Fatalf("no line with %q", parts)
		}
	}
}

// wait returns how it ended.
func (p *piped) wait() syscall.WaitStatus {
	p.t.Helper()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// watched is a fleet with one upstream, and two things that happen to it: another
// one joins and is killed, and the one is drained.
type watched struct {
	*harness
	one *stage.Upstream
}

func newWatched(t *testing.T) watched {
	t.Helper()
	h := newHarness(t)
	h.eds()
	w := watched{h, h.upstream()}
	w.lists(w.one)
	return w
}

func (w watched) happens() (two *stage.Upstream) {
	w.t.Helper()
	two = w.upstream()
	w.lists(w.one, two)
	w.decide(200, "PATCH", w.one.ID, `{"state":"drain","reason":"disk"}`)
	two.Kill()
	return two
}

// stop ends it with a signal, and returns what it had still to write.
func (p *piped) stop(sig syscall.Signal) (rest []string) {
	p.t.Helper()
	must(p.t, 0, p.cmd.Process.Signal(sig))
	for line := range p.lines {
		rest = append(rest, line)
	}
	if status := p.wait(); status.ExitStatus() != 0 || p.stderr.Len() > 0 {
		p.t.Errorf("%s: exit code %d: %s", sig, status.ExitStatus(), p.stderr.String())
	}
	return rest
}

func TestWatchWritesALineForEachChangeIntoAPipe(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		w := newWatched(t)
		p := w.watch()
		p.line("endpoint is ", w.Service, local(w.one.Port), w.one.ID[:8], "healthy, served, weight 1")
		two := w.happens()
		p.line("endpoint added ", w.Service, local(two.Port), two.ID[:8], "healthy, served, weight 1")
		p.line("override added ", w.Service, w.one.ID, "drain", "disk")
		p.line("endpoint changed ", w.Service, local(w.one.Port), "healthy, not served")
		p.line("endpoint removed ", local(two.Port), two.ID[:8])
		for _, line := range p.stop(sig) {
			if !strings.HasSuffix(line, "\n") {
				t.Errorf("the last line is cut off: %q", line)
			}
		}
	}
}

func TestWatchWritesAJSONObjectInEachLine(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	p := w.watch("-o", "json")
	type object struct {
		Event, ID string
		Data      struct {
			Change, ID, Host, State string
			Served                  bool
		}
		State map[string]stage.Service
	}
	decode := func(line string) (o object) {
		t.Helper()
		must(t, 0, json.Unmarshal([]byte(line), &o))
		return o
	}
	begins := decode(p.line())
	if hosts := begins.State[w.Service].Hosts; begins.Event != "reset" || len(hosts) != 1 || hosts[0].ID != w.one.ID {
		t.Errorf("it begins with %+v", begins)
	}
	two := w.happens()
	for _, is := range []func(object) bool{
		func(o object) bool { return o.Event == "member" && o.Data.Change == "added" && o.Data.ID == two.ID },
		func(o object) bool { return o.Event == "endpoint" && o.Data.ID == two.ID && o.Data.Served },
		func(o object) bool {
			return o.Event == "override" && o.Data.Host == w.one.ID && o.Data.State == "drain"
		},
		func(o object) bool { return o.Event == "endpoint" && o.Data.ID == w.one.ID && !o.Data.Served },
		func(o object) bool { return o.Event == "endpoint" && o.Data.ID == two.ID && !o.Data.Served },
	} {
		o := decode(p.line())
		for ; !is(o); o = decode(p.line()) {
			if o.ID == "" || o.Data.Change == "" {
				t.Errorf("an event that says little: %+v", o)
			}
		}
	}
	for _, line := range p.stop(syscall.SIGTERM) {
		decode(line)
	}
}

// As in `rollcall watch | head -1`: it ends at the next change, and says nothing.
func TestWatchEndsWhenNobodyReadsThePipe(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-o", "json"}} {
		w := newWatched(t)
		p := w.watch(args...)
		p.line(w.one.ID[:8])
		must(t, 0, p.out.Close())
		w.decide(200, "PATCH", w.one.ID, `{"state":"drain"}`)
		if status := p.wait(); !status.Signaled() || status.Signal() != syscall.SIGPIPE || p.stderr.Len() > 0 {
			t.Errorf("%v: it ends with %v: %s", args, status, p.stderr.String())
		}
	}
}
