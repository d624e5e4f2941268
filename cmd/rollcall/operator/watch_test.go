package operator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// screen is what was written to a terminal or a pipe until now.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// await waits until s has part, and forgets what came up to it.
func (s *screen) await(t *testing.T, part string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		text := s.text.String()
		_, after, ok := strings.Cut(text, part)
		if ok {
			s.text.Next(len(text) - len(after))
		}
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is not in\n%q", part, text)
		}
	}
}

// watching runs rollcall watch until the end that it returns is called, which
// returns its error.
func watching(t *testing.T, out io.Writer, args ...string) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var (
		running sync.WaitGroup
		err     error
	)
	running.Go(func() { err = rollcallTo(ctx, out, append([]string{"watch"}, args...)...) })
	end = func() error {
		cancel()
		running.Wait()
		return err
	}
	t.Cleanup(func() { _ = end() })
	return end
}

func TestInAPipeEachChangeIsALine(t *testing.T) {
	r := newRig(t)
	var out screen
	end := watching(t, &out, "web")
	out.await(t, "endpoint is      web 127.0.0.1:8082 1f0cffff healthy, served, weight 10\n")
	r.must("drain", "other", otherID)
	r.must("drain", "web", firstID, "--reason", "disk")
	out.await(t, "override added   web "+firstID+" drain by ann, until taken back: disk\n")
	out.await(t, "endpoint changed web 127.0.0.1:8081 1f0c0000 healthy, not served\n")
	if err := end(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if text := out.text.String(); strings.Contains(text, "other") || strings.Contains(text, "\x1b") {
		t.Errorf("it says %q", text)
	}
}

func TestOnlyWhoFollowsTheServiceIsTold(t *testing.T) {
	r := newRig(t)
	polls := func(node, service string) {
		t.Helper()
		body := `{"node":{"id":"` + node + `","cluster":"c"},"resource_names":["` + service + `"]}`
		resp, err := r.Server.Client().Post(r.Server.URL+"/v3/discovery:endpoints", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	var out, all screen
	end := watching(t, io.MultiWriter(&out, &all), "web")
	out.await(t, "endpoint is      web 127.0.0.1:8082")
	polls("a-stranger", "other")
	polls("b-follower", "web")
	out.await(t, "client   added   b-follower")
	if err := end(); err != nil || strings.Contains(all.text.String(), "a-stranger") {
		t.Errorf("it says %q and ends with %v", &all.text, err)
	}
}

func TestAScriptGetsEachChangeAsAnObject(t *testing.T) {
	r := newRig(t)
	pr, pw := io.Pipe()
	end := watching(t, pw, "-o", "json")
	lines := bufio.NewScanner(pr)
	next := func() (line jsonLine) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("it ended: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		return line
	}
	line := next()
	for line.Event != "reset" { // the rig may tell of its members yet
		line = next()
	}
	if len(line.State) != 2 || len(line.State["web"].Hosts) != 2 {
		t.Errorf("it begins with %+v", line)
	}
	r.must("drain", "web", firstID)
	for line = next(); line.Event != "override"; line = next() {
	}
	if !strings.Contains(string(line.Data), `"state":"drain"`) || line.ID == "" {
		t.Errorf("it goes on with %s %s", line.ID, line.Data)
	}
	_ = pr.Close()
	if err := end(); err != nil && !errors.Is(err, io.ErrClosedPipe) { // which there is if it had more to say
		t.Errorf("it ends with %v", err)
	}
}

// terminalFor makes a terminal on which s is what can be seen.
func terminalFor(t *testing.T, s *screen) *os.File {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 20, Cols: 140}); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(s, master) })
	t.Cleanup(func() {
		_ = tty.Close()
		reading.Wait()
		_ = master.Close()
	})
	t.Setenv("TERM", "xterm")
	return tty
}

func TestOnATerminalTheScreenIsDrawnAgain(t *testing.T) {
	r := newRig(t)
	var out screen
	end := watching(t, terminalFor(t, &out))
	out.await(t, enterScreen)
	out.await(t, "2 services, 3 of 3 hosts served")
	out.await(t, "web      127.0.0.1:8082  1f0cffff  10")
	r.must("drain", "web", firstID, "--for", "1h", "--reason", "disk")
	out.await(t, "2 services, 2 of 3 hosts served")
	out.await(t, "an operator said so  drain by ann, 60m left: disk")
	out.await(t, "endpoint changed web 127.0.0.1:8081 1f0c0000 healthy, not served")
	r.Server.CloseClientConnections()
	r.Server.Close()
	out.await(t, "OUT OF DATE: no answer from the EDS server")
	if err := end(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	out.await(t, leaveScreen)
}

func TestOnlyATerminalIsDrawnOn(t *testing.T) {
	tty := terminalFor(t, &screen{})
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	is := func(out io.Writer) bool { _, ok := terminal(out); return ok }
	if !is(tty) || is(file) || is(&bytes.Buffer{}) {
		t.Errorf("a terminal %t, a file %t, a buffer %t", is(tty), is(file), is(&bytes.Buffer{}))
	}
	t.Setenv("TERM", "dumb")
	if is(tty) {
		t.Error("a terminal that knows no control sequences is drawn on")
	}
}
