package client

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

// Event is a change that an EDS server told of.
type Event struct {
	ID   string // for going on after it; "" where the server gave none
	Name string // member, endpoint, override, client, guard, or Reset
	Data []byte // JSON
}

// Reset is the name of the event after which nothing is known: what was asked for
// before must be asked for again. Each stream that does not go on where another
// one ended begins with it.
const Reset = "reset"

const (
	// quiet is how long a stream may say nothing, comments included, until it is
	// taken for lost.
	quiet = 60 * time.Second

	firstRetry, lastRetry = 200 * time.Millisecond, 5 * time.Second
)

// Listener hears what Follow has to say, in the goroutine of Follow.
type Listener struct {
	Event func(Event) error // an error ends Follow
	Lost  func(error)       // the stream ended and will be opened again; nil for nobody
}

// Follow hears the events of one server after the other until ctx ends, the
// listener fails, or a server refuses for good; it returns why.
func (c *Client) Follow(ctx context.Context, l Listener) error {
	var f follower
	wait := firstRetry
	for i := 0; ; i++ {
		heard, err := f.follow(ctx, c, c.servers[i%len(c.servers)], l.Event)
		var stop stopped
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stop):
			return stop.error
		}
		if p, ok := errors.AsType[*Problem](err); ok && p.Status/100 == 4 && p.Status != http.StatusTooManyRequests {
			return err
		}
		if l.Lost != nil {
			l.Lost(err)
		}
		if heard {
			i-- // it may be back at once
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// stopped is an error of the listener.
type stopped struct{ error }

// follower knows where the last stream ended.
type follower struct{ server, lastID string }

// follow hears one stream to its end, and reports whether it said anything.
func (f *follower) follow(ctx context.Context, c *Client, server string, on func(Event) error) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(c.timeout, func() { cancel(errors.New("nothing was heard of it")) })
	defer watchdog.Stop()

	resp, err := f.open(ctx, c, server)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	watchdog.Reset(quiet)
	if f.server != server || f.lastID == "" {
		f.server, f.lastID = server, ""
		if err := on(Event{Name: Reset}); err != nil {
			return true, stopped{err}
		}
	}
	d := newDecoder(alive{resp.Body, func() { watchdog.Reset(quiet) }})
	d.lastID = f.lastID
	for {
		e, err := d.next()
		if err != nil {
			return true, unreachable(server, errors.Join(err, context.Cause(ctx)))
		}
		if err := on(e); err != nil {
			return true, stopped{err}
		}
		f.lastID = d.lastID
	}
}

func (f *follower) open(ctx context.Context, c *Client, server string) (*http.Response, error) {
	req, err := c.newRequest(ctx, server, request{method: http.MethodGet, path: "/events"})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.server == server && f.lastID != "" {
		req.Header.Set("Last-Event-ID", f.lastID)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(server, err)
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && media == "text/event-stream" {
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // the status says enough without it
	return nil, problemOf(server, resp, body)
}

// alive tells of every byte that comes.
type alive struct {
	io.Reader
	heard func()
}

func (a alive) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.heard()
	return n, err
}
