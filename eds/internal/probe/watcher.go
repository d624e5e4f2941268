package probe

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	maxLines = 3 // on a lossy network an old connection may answer before a new one
	// reopenings is how many broken lines are replaced at once between two ticks. A
	// process that dies may accept another connection before it closes its port.
	reopenings = 3
	// A timer that fires this late says that the process lacks processor time.
	timerLate = 250 * time.Millisecond
	// lateFor is how long a time-out counts as a sign that the network, or this
	// process, is slow for others too. With 20 endpoints and a fifth of all packets
	// lost it keeps the share of late ones well above zero at any moment.
	lateFor = 30 * time.Second
)

// watcher probes one endpoint. The loop owns it and calls its methods; none waits.
type watcher struct {
	loop   *loop
	target Target

	judge    judge
	tried    bool     // some probe had an outcome
	verified bool     // the last answer carried the uuid that is expected
	reported Evidence // the last one

	lines    []*line  // open and opening ones, the newest last
	inquiry  *inquiry // of further witnesses; nil when there is none
	reopened int      // lines that were replaced at once since the last tick
	tick     time.Time
	waiting  bool // a probe is out
	asked    time.Time
	deadline time.Time // of that probe

	alone    bool          // with ProbeNone: its member's process has ended, and its port accepts connections
	aloneFor int           // checks since then
	unable   time.Duration // that it takes no stream was waited for last; 0: it does

	took      time.Duration // until the last answer on a connection of its own
	roundTrip time.Duration // of the last handshake, or of the last challenge

	place  place     // in the crowd
	lateAt time.Time // the last time-out that says something of others

	due   time.Time // in the agenda, at index there
	index int
}

// newWatcher returns a watcher that starts from what is known of its endpoint. Its
// first probe is at first, or now if that is past; one follows every interval from
// first.
func newWatcher(l *loop, t Target, first time.Time) *watcher {
	known, expect := l.known(t.Key), t.ID
	if t.Kind == fleet.ProbeNone {
		expect = "" // the stream has proven who is at its other end
	}
	w := &watcher{
		loop: l, target: t, alone: known.Alone, judge: judge{expect: expect, named: known.Named, verdict: known.Verdict}, tried: known.Tried,
		verified: known.Verified, reported: known, tick: first, index: -1,
	}
	if known.Tried && w.shared() {
		w.tick = w.turn(time.Now())
	}
	return w
}

// stop closes all that is open. Later outcomes are ignored.
func (w *watcher) stop() {
	w.dropAll()
	w.endInquiry()
	w.loop.crowd.move(w.place, place{})
}

// next is when onTime is due.
func (w *watcher) next() time.Time {
	if w.waiting && w.deadline.Before(w.tick) {
		return w.deadline
	}
	return w.tick
}

func (w *watcher) onTime(now time.Time) {
	if w.waiting && !now.Before(w.deadline) {
		w.timedOut(now)
	}
	if now.Before(w.tick) {
		return
	}
	w.tick = w.after(now)
	w.reopened = 0
	if !w.waiting {
		w.probe(now)
	}
}

// timedOut counts a probe that had no answer, unless this process was itself too
// slow or asleep to hear one. Until there is a verdict it asks again at once.
func (w *watcher) timedOut(now time.Time) {
	w.waiting = false
	if now.Sub(w.deadline) > timerLate || w.loop.pulse.asleepSince(w.asked) {
		w.probe(now)
		return
	}
	w.tried = true
	if !w.judge.gone {
		w.lateAt = now
	}
	if w.judge.timeout(w.loop.crowd.share(w.place)) && w.inquiry == nil {
		w.askGossip()
	}
	if !w.judge.gone {
		w.probe(now)
		return
	}
	// A program that serves one request at a time is still busy with abandoned
	// ones: all servers that check leave it time to catch up.
	if rest := now.Add(w.timeout() * time.Duration(w.target.Turn.Shares)); w.way() == single && w.tick.Before(rest) {
		w.tick = rest
	}
}

// probe asks on a line that stands, or opens one to ask on.
func (w *watcher) probe(now time.Time) {
	w.waiting, w.asked = true, now
	w.deadline = now.Add(time.Duration(float64(w.timeout()) * (1 + (patience-1)*w.loop.crowd.share(w.place))))
	if w.way().stays() {
		for _, l := range slices.Backward(w.lines) {
			if l.stands() && !l.asked {
				l.aged = true
				w.ask(l)
				return
			}
			if !l.stands() && now.Sub(l.opened) < w.timeout() {
				return // it will be asked on once it stands
			}
		}
	}
	w.open()
}

func (w *watcher) request() []byte {
	last := ""
	if !w.way().stays() {
		last = "Connection: close\r\n"
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rollcall-probe\r\n%s\r\n", w.target.Path, w.target.Addr, last)
}

func (w *watcher) ask(l *line) {
	if l.stream != nil {
		w.askStream(l)
		return
	}
	if err := l.ask(w.request()); err != nil {
		w.onBroken(l)
	}
}

// open adds a line, in place of the oldest one if there are too many.
func (w *watcher) open() {
	y := w.way()
	if y == single {
		w.dropAll() // one at a time
	}
	if w.alone {
		if w.aloneFor++; w.aloneFor%tryStream == 0 {
			w.lines = append(w.lines, w.loop.dial(w, streamed))
		}
	}
	if len(w.lines) >= maxLines {
		w.drop(w.lines[0])
	}
	w.lines = append(w.lines, w.loop.dial(w, y))
}

// drop closes a line; what it still says is not heard.
func (w *watcher) drop(l *line) {
	l.close()
	w.lines = slices.DeleteFunc(w.lines, func(other *line) bool { return other == l })
}

func (w *watcher) dropAll() {
	for len(w.lines) > 0 {
		w.drop(w.lines[0])
	}
}

// tell reports the evidence if it has changed, and takes the place in the crowd
// that belongs to it.
func (w *watcher) tell(now time.Time) {
	if w.judge.gone {
		w.lateAt = time.Time{} // its silence was its own
	}
	at := place{counted: !w.judge.gone, late: !w.lateAt.IsZero() && now.Sub(w.lateAt) <= lateFor}
	if at != w.place {
		w.loop.crowd.move(w.place, at)
		w.place = at
	}
	e := Evidence{
		Verdict: w.judge.verdict, Tried: w.tried, Verified: w.verified, Named: w.judge.named, Unable: w.unable > 0, Alone: w.alone && w.judge.verdict == Good,
		Late: w.judge.late && w.judge.verdict != Hanging, Since: w.reported.Since,
	}
	if e.Verdict != w.reported.Verdict {
		e.Since = now
	}
	if e != w.reported {
		w.reported = e
		w.loop.report(w.target.Key, e)
	}
}
