package probe

import (
	"context"
	"errors"
	"hash/fnv"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	maxLines = 3 // on a lossy network an old connection may answer before a new one
	// A timer that fires this late says that the process lacks processor time.
	timerLate = 250 * time.Millisecond
)

// watcher probes one endpoint. Everything in it belongs to its run goroutine.
type watcher struct {
	target  Target
	opts    *Options
	pulse   *pulse
	crowd   *crowd
	report  func(Evidence)
	request []byte
	events  chan event
	wg      sync.WaitGroup // of the goroutines it started

	judge    judge
	reported Evidence
	verified bool // an answer carried the uuid that was expected
	tried    bool // some probe had an outcome

	lines     []*line // open and opening ones, the newest last
	waiting   bool    // a probe is out
	asked     time.Time
	deadline  time.Time // of that probe
	tick      time.Time // of the next one
	reopened  time.Time // when a broken line was last replaced at once
	late      bool      // counted in crowd
	lateSince time.Time // the last time-out
}

// run probes until ctx ends, and returns after all its goroutines have.
func (w *watcher) run(ctx context.Context, delay time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.wg.Wait()
	defer cancel()
	w.crowd.all.Add(1)
	defer w.crowd.all.Add(-1)
	defer w.setLate(false)
	w.tick = time.Now().Add(delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events:
			w.handle(ctx, e)
		case <-timer.C:
			w.onTime(ctx, time.Now())
		}
		w.tell()
		timer.Reset(time.Until(w.next()))
	}
}

// next is when onTime is due.
func (w *watcher) next() time.Time {
	if w.waiting && w.deadline.Before(w.tick) {
		return w.deadline
	}
	return w.tick
}

func (w *watcher) onTime(ctx context.Context, now time.Time) {
	if w.waiting && !now.Before(w.deadline) {
		w.timedOut(ctx, now)
	}
	if !now.Before(w.tick) {
		w.advance(now)
		if w.late && !w.waiting && now.Sub(w.lateSince) > lateFor {
			w.setLate(false)
		}
		if !w.waiting {
			w.probe(ctx, now)
		}
	}
}

// advance sets the next tick. Each endpoint has a phase of its own, so that the
// probes of many are spread evenly in time.
func (w *watcher) advance(now time.Time) {
	h := fnv.New32a()
	h.Write([]byte(w.target.Addr.String()))
	phase := time.Duration(h.Sum32()) % w.opts.Interval
	w.tick = now.Truncate(w.opts.Interval).Add(phase)
	for !w.tick.After(now.Add(w.opts.Interval / 4)) {
		w.tick = w.tick.Add(w.opts.Interval)
	}
}

// probe asks on the line that stands, or opens one to ask on.
func (w *watcher) probe(ctx context.Context, now time.Time) {
	w.waiting, w.asked = true, now
	share := w.crowd.share(w.late)
	w.deadline = now.Add(time.Duration(float64(w.opts.Timeout) * (1 + (patience-1)*share)))
	if w.target.Kind == fleet.ProbeHTTP {
		for _, l := range slices.Backward(w.lines) {
			if l.stands && !l.asked {
				w.ask(ctx, l)
				return
			}
			if !l.stands && now.Sub(l.opened) < w.opts.Timeout {
				return // it will be asked on once it stands
			}
		}
	}
	w.open(ctx)
}

func (w *watcher) ask(ctx context.Context, l *line) {
	if err := l.ask(w.request); err != nil {
		w.drop(l)
		w.open(ctx)
	}
}

// open adds a line, in place of the oldest one if there are too many.
func (w *watcher) open(ctx context.Context) {
	if len(w.lines) >= maxLines {
		w.drop(w.lines[0])
	}
	w.lines = append(w.lines, openLine(ctx, &w.wg, w.opts.Dial, w.target.Addr.String(), w.events))
}

// drop closes lines; what they still say is not heard.
func (w *watcher) drop(lines ...*line) {
	for _, l := range lines {
		l.cancel()
	}
	w.lines = slices.DeleteFunc(w.lines, func(l *line) bool { return slices.Contains(lines, l) })
}

func (w *watcher) handle(ctx context.Context, e event) {
	if e.line != nil && !slices.Contains(w.lines, e.line) {
		return // it was dropped meanwhile
	}
	switch e.kind {
	case connected:
		w.onConnected(ctx, e.line)
	case answered:
		w.onAnswer(e)
	case broke:
		w.onBroken(ctx, e.line)
	case refused:
		w.drop(slices.Clone(w.lines)...)
		w.askWitness(ctx)
	case unreachable:
		w.drop(e.line) // counts once the deadline is there
	case witnessed:
		w.tried, w.waiting = true, false
		w.judge.refused(e.witness)
	case pinged:
		w.judge.pinged(e.good)
	}
}

func (w *watcher) onConnected(ctx context.Context, l *line) {
	l.stands = true
	if w.target.Kind == fleet.ProbeTCP {
		w.onAnswer(event{line: l, good: true})
		return
	}
	if w.waiting {
		w.ask(ctx, l)
	}
}

// onAnswer keeps the line that brought the answer and drops the others.
func (w *watcher) onAnswer(e event) {
	w.tried, w.waiting = true, false
	w.judge.answer(e.good, e.id)
	w.verified = w.verified || (e.id != "" && e.id == w.target.Key.ID)
	e.line.asked, e.line.used = false, true
	others := slices.DeleteFunc(slices.Clone(w.lines), func(l *line) bool { return l == e.line })
	w.drop(others...)
}

// onBroken replaces a line. A server may close connections as it likes: only what
// the reconnect finds counts. A first request that gets a close for an answer is
// a bad answer; a later one may have met the close of an idle connection.
func (w *watcher) onBroken(ctx context.Context, l *line) {
	w.drop(l)
	if l.asked && !l.used {
		w.tried, w.waiting = true, false
		w.judge.answer(false, "")
	}
	now := time.Now()
	if (l.asked && l.used) || (len(w.lines) == 0 && now.Sub(w.reopened) >= w.opts.Interval) {
		w.reopened = now
		w.open(ctx)
	}
}

// timedOut counts a probe that had no answer, unless this process was itself too
// slow or asleep to hear one.
func (w *watcher) timedOut(ctx context.Context, now time.Time) {
	w.waiting = false
	if now.Sub(w.deadline) > timerLate || w.pulse.asleepSince(w.asked) {
		w.probe(ctx, now)
		return
	}
	w.tried, w.lateSince = true, now
	w.setLate(true)
	if w.judge.timeout(w.crowd.share(true)) {
		w.askGossip(ctx)
	}
	if v := w.judge.verdict; v != Silent && v != Hanging {
		w.probe(ctx, now) // do not wait for the tick to be sure
	}
}

func (w *watcher) setLate(late bool) {
	if late == w.late {
		return
	}
	w.late = late
	if late {
		w.crowd.late.Add(1)
	} else {
		w.crowd.late.Add(-1)
	}
}

// askWitness asks the member's gossip port whether it refuses too.
func (w *watcher) askWitness(ctx context.Context) {
	if !w.target.Gossip.IsValid() {
		w.handle(ctx, event{kind: witnessed, witness: witnessNone})
		return
	}
	w.waiting = false
	w.wg.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, w.opts.Timeout)
		defer cancel()
		conn, err := w.opts.Dial(bounded, "tcp", w.target.Gossip.String())
		e := event{kind: witnessed, witness: witnessOf(conn, err)}
		select {
		case w.events <- e:
		case <-ctx.Done():
		}
	})
}

func witnessOf(conn net.Conn, err error) witness {
	switch {
	case err == nil:
		conn.Close()
		return witnessAccepts
	case errors.Is(err, syscall.ECONNREFUSED):
		return witnessRefuses
	default:
		return witnessMute
	}
}

// askGossip sends the direct pings that decide what silence means.
func (w *watcher) askGossip(ctx context.Context) {
	w.wg.Go(func() {
		e := event{kind: pinged, good: w.opts.Ping != nil && w.opts.Ping(ctx, w.target)}
		select {
		case w.events <- e:
		case <-ctx.Done():
		}
	})
}

// tell reports the evidence if it has changed.
func (w *watcher) tell() {
	e := Evidence{Verdict: w.judge.verdict, Tried: w.tried, Verified: w.verified, Late: w.judge.silent > 0, Since: w.reported.Since}
	if e.Verdict != w.reported.Verdict {
		e.Since = time.Now()
	}
	if e != w.reported {
		w.reported = e
		w.report(e)
	}
}
