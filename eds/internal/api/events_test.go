package api

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/eds/internal/events"
)

// listen opens the stream of events; lines are its lines, and close with it.
func (r *rig) listen(ctx context.Context, url, lastID string) (lines <-chan string, status int) {
	r.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/events", http.NoBody)
	if err != nil {
		r.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	c := make(chan string)
	go func() {
		defer close(c)
		defer resp.Body.Close()
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			c <- scanner.Text()
		}
	}()
	return c, resp.StatusCode
}

// runHub starts the rig's hub until the test ends.
func (r *rig) runHub() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.hub.Run(ctx)
	}()
	r.Cleanup(func() {
		stop()
		<-done
	})
}

// expect reads lines until one has the prefix, which it returns without it.
func (r *rig) expect(lines <-chan string, prefix string) string {
	r.Helper()
	for {
		select {
		case line, ok := <-lines:
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
			if !ok {
				r.Fatalf("the stream ended before %q", prefix)
			}
		case <-time.After(20 * time.Second):
			r.Fatalf("no line %q", prefix)
		}
	}
}

func TestEventsOutliveTheLimitsOfARequestAndEndWithTheServer(t *testing.T) {
	r := newRig(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	server := httptest.NewUnstartedServer(New(r.opts))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	server.Config.RegisterOnShutdown(r.hub.Close)
	server.Start()
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.hub.Run(ctx)
	}()
	lines, _ := r.listen(t.Context(), server.URL, "")
	r.expect(lines, ": rollcall")
	time.Sleep(300 * time.Millisecond) // the limits are over
	r.hub.Update(r.registry.Snapshot())
	id := r.expect(lines, "id: ")
	if kind := r.expect(lines, "event: "); kind != "member" {
		t.Errorf("the first event is %q", kind)
	}
	if data := r.expect(lines, "data: "); !strings.HasPrefix(data, `{"change":"added"`) {
		t.Errorf("data %s", data)
	}
	again, _ := r.listen(t.Context(), server.URL, id)
	if next := r.expect(again, "id: "); next == id {
		t.Errorf("event %s comes twice", id)
	}
	foreign, _ := r.listen(t.Context(), server.URL, "ffff-1")
	if kind := r.expect(foreign, "event: "); kind != "reset" {
		t.Errorf("a reader of another server is told %q first", kind)
	}

	began := time.Now()
	if err := server.Config.Shutdown(t.Context()); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("shutdown took %v: %v", time.Since(began), err)
	}
	for _, stream := range []<-chan string{lines, again, foreign} {
		for range stream { // it ends
		}
	}
	stop()
	<-done
}

func TestOverrideIsAnEvent(t *testing.T) {
	r := newRig(t)
	r.runHub()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	lines, _ := r.listen(ctx, r.url, "")
	r.expect(lines, ": rollcall")
	r.ask(200, "PATCH", hostByID, `{"state":"drain","reason":"disk"}`)
	r.hub.Update(r.registry.Snapshot())
	r.expect(lines, "event: override")
	if data := r.expect(lines, "data: "); !strings.Contains(data, `"state":"drain"`) || !strings.Contains(data, `"reason":"disk"`) {
		t.Errorf("data %s", data)
	}
	r.expect(lines, "event: endpoint")
}

func TestTooManyReadersOfEventsAreRefused(t *testing.T) {
	r := newRig(t)
	for range events.DefaultMaxReaders {
		if _, err := r.hub.Subscribe(""); err != nil {
			t.Fatal(err)
		}
	}
	r.form()(answers{503, "GET", "/events", ""})
	r.hub.Close()
	r.form()(answers{503, "GET", "/events", ""})
	r.form()(answers{400, "GET", "/events?since=1", ""})
}

// stalled is a connection on which deadlines can be set and that takes what it gets.
type stalled struct{ *httptest.ResponseRecorder }

func (stalled) SetReadDeadline(time.Time) error  { return nil }
func (stalled) SetWriteDeadline(time.Time) error { return nil }

func TestQuietStreamIsKeptAlive(t *testing.T) {
	r := newRig(t)
	synctest.Test(t, func(t *testing.T) {
		r.opts.Events = events.New(events.Options{}).Subscribe
		ctx, stop := context.WithTimeout(t.Context(), 2*heartbeat+time.Second)
		defer stop()
		w := stalled{httptest.NewRecorder()}
		New(r.opts).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/events", http.NoBody))
		if n := strings.Count(w.Body.String(), "\n:\n\n"); n != 1 && n != 2 {
			t.Errorf("%d comments: %q", n, w.Body)
		}
	})
}
