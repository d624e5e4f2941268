package probe

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// ErrNoStream is returned by [Options.Stream] for a member that takes no stream.
var ErrNoStream = errors.New("member does not accept streams")

// Stream is a connection to a member's process, which reports for the endpoint. Read
// returns a first report without having asked, and one for each Ask: whether it holds
// the endpoint for healthy. Ask bounds its own wait.
type Stream interface {
	Ask() error
	Read() (healthy bool, err error)
	Close() error
}

// way is how an endpoint is asked.
type way int

const (
	standing way = iota // HTTP, on a connection that stands: to a process with rollcall's library
	single              // HTTP, each time on a connection of its own
	bare                // TCP: that it accepts a connection, which is closed at once
	streamed            // its member's process is asked, over a stream; the endpoint is left alone
)

// way is how w asks its endpoint now.
func (w *watcher) way() way {
	switch {
	case w.target.Kind == fleet.ProbeHTTP && !w.target.Foreign:
		return standing
	case w.target.Kind == fleet.ProbeHTTP:
		return single
	case w.target.Kind == fleet.ProbeNone && !w.alone:
		return streamed
	default:
		return bare
	}
}

// stays reports whether a connection is kept from one check to the next.
func (y way) stays() bool { return y == standing || y == streamed }

func (w *watcher) interval() time.Duration {
	if w.target.Interval > 0 {
		return w.target.Interval
	}
	return w.loop.opts.Interval
}

func (w *watcher) timeout() time.Duration {
	if w.target.Timeout > 0 {
		return w.target.Timeout
	}
	return w.loop.opts.Timeout
}

// shared reports whether other EDS servers check the endpoint too, so that each has to
// leave it alone meanwhile.
func (w *watcher) shared() bool { return w.target.Turn.Shares > 1 && !w.way().stays() }

// doubted reports whether the last check leaves it open how the endpoint is: then each
// server looks for itself in each interval.
func (w *watcher) doubted() bool {
	return w.judge.verdict != Good || w.judge.bad > 0 || w.judge.late
}

// after is when the check that follows the one that is due now is due.
func (w *watcher) after(now time.Time) time.Time {
	if w.shared() && !w.doubted() {
		return w.turn(now)
	}
	missed := now.Sub(w.tick) / w.interval()
	return w.tick.Add((missed + 1) * w.interval())
}

// turn is when it is this server's turn after now.
func (w *watcher) turn(now time.Time) time.Time {
	return w.target.Turn.Next(now, w.target.Addr, w.interval(), w.took)
}

// tryStream is how many checks by bare connections follow each other before the stream
// is tried again.
const tryStream = 5

// left notes that the member's process has ended while the endpoint accepts connections:
// these alone decide from now on. One that was out of service before stays so.
func (w *watcher) left() bool {
	switch w.judge.verdict {
	case Good, Unknown, Silent, Contradicted:
	default:
		return false
	}
	w.alone, w.aloneFor = true, 0
	w.answer(true, "")
	return true
}

// unanswered counts it as a time-out that the endpoint's own port was silent after its
// member refused the stream: the port of a program that has no room for another connection
// is, for a while. By then the member has had the time to answer a challenge.
func (w *watcher) unanswered(q *inquiry) {
	w.endInquiry()
	w.tried = true
	if !w.judge.gone {
		w.lateAt = time.Now()
	}
	said := mute
	if q.heard.challenge == answers {
		said = answers
	}
	if w.judge.timeout(w.loop.crowd.share(w.place)) {
		w.judge.pinged(said)
	}
}

// touches are when a port is tried that should refuse, for as long as it accepts: a
// process that dies closes its ports one after the other, and those of its children
// later.
var touches = []time.Duration{0, 4 * time.Millisecond, 8 * time.Millisecond}

// touch reports what a port does to connections that are closed at once.
func (w *watcher) touch(ctx context.Context, port netip.AddrPort) word {
	for _, pause := range touches {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return mute
		}
		conn, err := w.loop.opts.Dial(ctx, "tcp", port.String())
		if err == nil {
			_ = conn.Close()
			continue
		}
		switch dialFailure(err) {
		case refused:
			return refuses
		case helpless:
			return unasked
		case unreachable:
			return mute
		}
	}
	return answers
}

// accepts reports whether the endpoint accepts a connection, in half the time of a check.
func (w *watcher) accepts(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, w.loop.opts.Timeout/2)
	defer cancel()
	return w.touch(ctx, w.target.Addr) == answers
}

// onStream begins to read a stream.
func (w *watcher) onStream(l *line, s Stream) {
	l.stream, l.giveUp = s, nil
	w.roundTrip = time.Since(l.opened)
	w.alone, w.unable = false, 0
	w.loop.wg.Go(func() {
		for {
			healthy, err := s.Read()
			if err != nil {
				w.loop.send(event{watcher: w, line: l, kind: broke})
				return
			}
			if !w.loop.send(event{watcher: w, line: l, kind: answered, good: healthy, id: w.target.ID}) {
				return
			}
		}
	})
}

// askStream asks in the background: a member that reads nothing of its stream must not hold
// up the others.
func (w *watcher) askStream(l *line) {
	l.asked = true
	s := l.stream // the field belongs to the loop
	w.loop.wg.Go(func() {
		if s.Ask() != nil {
			w.loop.send(event{watcher: w, line: l, kind: broke})
		}
	})
}

// dialStream opens a stream to the member.
func (l *loop) dialStream(ctx context.Context, w *watcher, n *line) {
	s, err := l.opts.Stream(ctx, w.target)
	switch {
	case errors.Is(err, ErrNoStream):
		l.send(event{watcher: w, line: n, kind: unable})
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		l.send(event{watcher: w, line: n, kind: broke}) // it was accepted, by a process that ends
	case err != nil:
		l.send(event{watcher: w, line: n, kind: dialFailure(err)})
	case !l.send(event{watcher: w, line: n, kind: connected, stream: s}):
		_ = s.Close()
	}
}

// onUnable leaves an endpoint of which nothing can be learned to what its member says.
// The member is asked again later and later.
func (w *watcher) onUnable(l *line) {
	w.drop(l)
	w.waiting = false
	w.unable = min(max(2*w.unable, w.interval()), unableMost)
	w.tick = time.Now().Add(w.unable)
}

// unableMost is the longest between two tries to get a stream from a member that takes
// none, as those of older versions do not.
const unableMost = 30 * time.Second

// dropBare closes the bare connections that are still under way.
func (w *watcher) dropBare() {
	for _, l := range slices.Clone(w.lines) {
		if l.way == bare {
			w.drop(l)
		}
	}
}
