package probe

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	maxLines = 3 // on a lossy network an old connection may answer before a new one
	// reopenings is how many broken lines are replaced at once between two ticks. A
	// process that dies may accept once more before it closes its port.
	reopenings = 3
	// A timer that fires this late says that the process lacks processor time.
	timerLate = 250 * time.Millisecond
	// lateFor is how long a time-out counts as a sign that the network, or this
	// process, is slow for others too. With 20 endpoints and a fifth of all packets
	// lost it keeps the share of late ones well above zero at any moment.
	lateFor = 30 * time.Second
)

// watcher probes one endpoint. Everything in it belongs to its run goroutine,
// which hears from the goroutines that it starts through events.
type watcher struct {
	target  Target
	opts    *Options
	pulse   *pulse
	crowd   *crowd
	report  func(Evidence)
	request []byte
	events  chan event
	wg      sync.WaitGroup

	judge    judge
	tried    bool     // some probe had an outcome
	verified bool     // the last answer carried the uuid that is expected
	reported Evidence // the last one

	lines    []*line  // open and opening ones, the newest last
	inquiry  *inquiry // of a second witness; nil when there is none
	reopened int      // lines that were replaced at once since the last tick
	tick     time.Time
	waiting  bool // a probe is out
	asked    time.Time
	deadline time.Time // of that probe

	place  place     // in crowd
	lateAt time.Time // the last time-out that says something of others
}

// run probes until ctx ends, and returns after all its goroutines have. The first
// probe is at first, or now if that is past; one follows every interval from first.
func (w *watcher) run(ctx context.Context, first time.Time) {
	defer w.wg.Wait()
	w.tick = first
	w.tell(time.Now())
	defer func() { w.crowd.move(w.place, place{}) }()
	timer := time.NewTimer(time.Until(first))
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
		w.tell(time.Now())
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
	if now.Before(w.tick) {
		return
	}
	missed := now.Sub(w.tick) / w.opts.Interval
	w.tick = w.tick.Add((missed + 1) * w.opts.Interval)
	w.reopened = 0
	if !w.waiting {
		w.probe(ctx, now)
	}
}

// timedOut counts a probe that had no answer, unless this process was itself too
// slow or asleep to hear one. Until there is a verdict it asks again at once.
func (w *watcher) timedOut(ctx context.Context, now time.Time) {
	w.waiting = false
	if now.Sub(w.deadline) > timerLate || w.pulse.asleepSince(w.asked) {
		w.probe(ctx, now)
		return
	}
	w.tried = true
	if !w.judge.gone {
		w.lateAt = now
	}
	if w.judge.timeout(w.crowd.share(w.place)) && w.inquiry == nil {
		w.askGossip(ctx)
	}
	if !w.judge.gone {
		w.probe(ctx, now)
	}
}

// probe asks on a line that stands, or opens one to ask on.
func (w *watcher) probe(ctx context.Context, now time.Time) {
	w.waiting, w.asked = true, now
	w.deadline = now.Add(time.Duration(float64(w.opts.Timeout) * (1 + (patience-1)*w.crowd.share(w.place))))
	if w.target.Kind == fleet.ProbeHTTP {
		for _, l := range slices.Backward(w.lines) {
			if l.conn != nil && !l.asked {
				l.aged = true
				w.ask(ctx, l)
				return
			}
			if l.conn == nil && now.Sub(l.opened) < w.opts.Timeout {
				return // it will be asked on once it stands
			}
		}
	}
	w.open(ctx)
}

func (w *watcher) ask(ctx context.Context, l *line) {
	if err := l.ask(w.request); err != nil {
		w.onBroken(ctx, l)
	}
}

// open adds a line, in place of the oldest one if there are too many.
func (w *watcher) open(ctx context.Context) {
	if len(w.lines) >= maxLines {
		w.drop(w.lines[0])
	}
	w.lines = append(w.lines, w.openLine(ctx))
}

// drop closes lines; what they still say is not heard.
func (w *watcher) drop(lines ...*line) {
	for _, l := range lines {
		l.cancel()
	}
	w.lines = slices.DeleteFunc(w.lines, func(l *line) bool { return slices.Contains(lines, l) })
}

// tell reports the evidence if it has changed, and takes the place in the crowd
// that goes with it.
func (w *watcher) tell(now time.Time) {
	if w.judge.gone {
		w.lateAt = time.Time{} // its silence was its own
	}
	at := place{counted: !w.judge.gone, late: !w.lateAt.IsZero() && now.Sub(w.lateAt) <= lateFor}
	if at != w.place {
		w.crowd.move(w.place, at)
		w.place = at
	}
	e := Evidence{
		Verdict: w.judge.verdict, Tried: w.tried, Verified: w.verified,
		Late: w.judge.late && w.judge.verdict != Hanging, Since: w.reported.Since,
	}
	if e.Verdict != w.reported.Verdict {
		e.Since = now
	}
	if e != w.reported {
		w.reported = e
		w.report(e)
	}
}

type eventKind int

const (
	connected   eventKind = iota
	refused               // nobody listens
	unreachable           // the dial failed otherwise, which proves nothing
	helpless              // this process has not what it takes to dial
	answered
	broke
	witnessed // the gossip port has spoken, or not
	pinged    // gossip has
)

// event is what a goroutine of a watcher tells it.
type event struct {
	kind    eventKind
	line    *line    // for the kinds up to broke
	inquiry *inquiry // for the others
	conn    net.Conn // connected
	good    bool     // answered: a 2xx
	id      string   // answered: the uuid, if there was one
	said    word     // witnessed, pinged
}

// send reports false when nobody hears e any more.
func (w *watcher) send(ctx context.Context, e event) bool {
	select {
	case w.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
