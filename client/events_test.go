package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stream answers with events and hangs up.
func stream(w http.ResponseWriter, events string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, events)
}

var errEnough = errors.New("enough")

// hear follows until n events were heard.
func hear(t *testing.T, c *Client, n int) ([]string, error) {
	t.Helper()
	var heard []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := c.Follow(ctx, Listener{Event: func(e Event) error {
		if heard = append(heard, strings.TrimSpace(e.Name+" "+e.ID)); len(heard) == n {
			return errEnough
		}
		return nil
	}})
	return heard, err
}

func TestAStreamGoesOnWhereItEnded(t *testing.T) {
	var asked []string
	c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		last := r.Header.Get("Last-Event-ID")
		asked = append(asked, last)
		stream(w, fmt.Sprintf("id: %s1\nevent: member\ndata: {}\n\n", last))
	}))
	heard, err := hear(t, c, 3)
	if want := []string{"reset", "member 1", "member 11"}; !errors.Is(err, errEnough) || !reflect.DeepEqual(heard, want) {
		t.Errorf("heard %q, %v", heard, err)
	}
	if want := []string{"", "1"}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked to go on after %q", asked)
	}
}

func TestTheEndOfAStreamThatWorkedIsToldAsThat(t *testing.T) {
	for how, end := range map[string]func(){"well": func() {}, "cut off": func() { panic(http.ErrAbortHandler) }} {
		c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			stream(w, "id: 1\nevent: member\ndata: {}\n\n")
			w.(http.Flusher).Flush()
			end()
		}))
		_, err := (&follower{}).follow(t.Context(), c, c.servers[0], Listener{Event: func(Event) error { return nil }})
		if !errors.Is(err, ErrUnreachable) || !strings.HasSuffix(err.Error(), "has ended the stream") || strings.Contains(err.Error(), notTheAPI) {
			t.Errorf("ended %s: %v", how, err)
		}
	}
}

func TestAnotherServerBeginsAnew(t *testing.T) {
	down := false
	first := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if down {
			w.WriteHeader(503)
			return
		}
		down = true
		stream(w, "id: 7\nevent: member\ndata: {}\n\n")
	})
	asked := "nothing"
	second := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Last-Event-ID")
		stream(w, "id: b\nevent: guard\ndata: {}\n\n")
	})
	heard, err := hear(t, newClient(t, first, second), 4)
	if want := []string{"reset", "member 7", "reset", "guard b"}; !errors.Is(err, errEnough) || !reflect.DeepEqual(heard, want) || asked != "" {
		t.Errorf("heard %q, %v; the second was asked to go on after %q", heard, err, asked)
	}
}

func TestARefusalForGoodEndsFollowing(t *testing.T) {
	c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }))
	if p, ok := errors.AsType[*Problem](c.Follow(t.Context(), Listener{})); !ok || p.Status != 404 {
		t.Errorf("it ends with %+v", p)
	}
}

func TestAnAnswerThatIsNoStreamIsTold(t *testing.T) {
	c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	err := c.Follow(t.Context(), Listener{})
	if !errors.Is(err, ErrNotTheAPI) || !strings.Contains(err.Error(), "200 OK") {
		t.Errorf("it ends with %v", err)
	}
}

func TestAListenerThatCouldNotAskBeginsAnew(t *testing.T) {
	c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		stream(w, "id: 1\nevent: member\ndata: {}\n\n")
	}))
	var heard []string
	lost := 0
	err := c.Follow(t.Context(), Listener{
		Event: func(e Event) error {
			if heard = append(heard, e.Name); len(heard) == 4 {
				return errEnough
			}
			if len(heard) == 2 {
				return &Problem{Status: 503}
			}
			return nil
		},
		Lost: func(error) { lost++ },
	})
	if want := []string{"reset", "member", "reset", "member"}; !errors.Is(err, errEnough) || !reflect.DeepEqual(heard, want) || lost != 1 {
		t.Errorf("heard %q, lost %d, %v", heard, lost, err)
	}
}

// transport answers without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAStreamThatSaysNothingAnyMoreIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t)
		opened := 0
		c.http.Transport = transport(func(r *http.Request) (*http.Response, error) {
			opened++
			pr, pw := io.Pipe()
			context.AfterFunc(r.Context(), func() { _ = pw.CloseWithError(r.Context().Err()) })
			go func() {
				for range 3 { // it is well, and then it hangs
					_, _ = io.WriteString(pw, ":\n\n")
					time.Sleep(15 * time.Second)
				}
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: pr}, nil
		})
		begun := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var lost error
		err := c.Follow(ctx, Listener{
			Event: func(Event) error {
				if opened == 2 {
					cancel()
				}
				return nil
			},
			Lost: func(err error) { lost = err },
		})
		took := time.Since(begun)
		if !errors.Is(err, context.Canceled) || lost == nil || !strings.Contains(lost.Error(), "nothing was heard") || took < 30*time.Second+quiet || took > 31*time.Second+quiet {
			t.Errorf("after %s: %v, lost %v", took, err, lost)
		}
		time.Sleep(time.Minute) // the goroutines of the second stream end
	})
}
