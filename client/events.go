package client

import (
	"cmp"
	"context"
	"errors"
	"io"
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
	// taken for lost; a server sends a comment every 15 s.
	quiet = 45 * time.Second

	firstRetry, lastRetry = 200 * time.Millisecond, 5 * time.Second
)

// Listener hears what Follow has to say, in the goroutine of Follow.
type Listener struct {
	// Event is called with each event. Its error ends Follow, but for one that says that a
	// server could not answer just then: Follow starts again, with a Reset.
	Event  func(Event) error
	Opened func()      // a stream was opened; nil: ignored
	Lost   func(error) // it ended and will be opened again; nil: ignored
}

// Follow hears the events of one server after the other until ctx ends, the
// listener fails, or a server refuses for good; it returns why.
func (c *Client) Follow(ctx context.Context, l Listener) error {
	var f follower
	wait := firstRetry
	for i := 0; ; {
		heard, err := f.follow(ctx, c, c.servers[i%len(c.servers)], l)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !passing(err):
			return err
		}
		if l.Lost != nil {
			l.Lost(err)
		}
		if heard {
			wait = firstRetry // it may be back at once
		} else {
			i++
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// passing reports whether what err tells of may be over soon.
func passing(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status/100 == 5 || p.Status == http.StatusTooManyRequests
	}
	return errors.Is(err, ErrUnreachable)
}

// follower knows where the last stream ended.
type follower struct{ server, lastID string }

// follow hears one stream to its end, and reports whether it said anything.
func (f *follower) follow(ctx context.Context, c *Client, server string, l Listener) (heard bool, err error) {
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
	if l.Opened != nil {
		l.Opened()
	}
	if f.server != server || f.lastID == "" {
		f.server, f.lastID = server, ""
		if err := l.Event(Event{Name: Reset}); err != nil {
			return true, err
		}
	}
	d := newDecoder(alive{resp.Body, func() { watchdog.Reset(quiet) }})
	for d.lastID = f.lastID; ; f.lastID = d.lastID {
		e, err := d.next()
		if err != nil {
			return true, ended(server, cmp.Or(context.Cause(ctx), err))
		}
		if err := l.Event(e); err != nil {
			f.lastID = ""
			return true, err
		}
	}
}

func (f *follower) open(ctx context.Context, c *Client, server string) (*http.Response, error) {
	req, err := c.newRequest(ctx, server, request{method: http.MethodGet, path: "/events"})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", mediaEvents)
	if f.server == server && f.lastID != "" {
		req.Header.Set("Last-Event-ID", f.lastID)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(server, err)
	}
	if resp.StatusCode == http.StatusOK && mediaOf(resp) == mediaEvents {
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // the status says enough without it
	return nil, refusal(server, resp, body)
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
