package probe

import (
	"context"
	"slices"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// handle draws the consequences of what a line or an inquiry has seen.
func (w *watcher) handle(ctx context.Context, e event) {
	if e.inquiry != w.inquiry && e.line == nil || e.line != nil && !slices.Contains(w.lines, e.line) {
		return // it was dropped meanwhile
	}
	switch e.kind {
	case connected:
		e.line.conn = e.conn
		w.onConnected(ctx, e.line)
	case answered:
		w.onAnswer(e)
	case broke:
		w.onBroken(ctx, e.line)
	case refused:
		w.onRefused(ctx)
	case unreachable:
		w.drop(e.line) // counts once the deadline is there
	case helpless:
		w.drop(e.line)
		w.waiting = false // nothing was asked
	case witnessed, pinged:
		w.onWord(e)
	}
}

func (w *watcher) onConnected(ctx context.Context, l *line) {
	switch {
	case w.target.Kind == fleet.ProbeTCP:
		w.onAnswer(event{line: l, good: true})
	case w.waiting:
		w.ask(ctx, l)
	}
}

// onAnswer keeps the line that brought the answer and drops the others.
func (w *watcher) onAnswer(e event) {
	if w.target.Kind == fleet.ProbeHTTP && !e.line.asked {
		w.drop(e.line) // it talks without being asked
		return
	}
	e.line.asked, e.line.aged = false, true
	others := slices.DeleteFunc(slices.Clone(w.lines), func(l *line) bool { return l == e.line })
	w.drop(others...)
	w.answer(e.good, e.id)
}

func (w *watcher) answer(good bool, id string) {
	w.endInquiry()
	w.tried, w.waiting = true, false
	w.verified = id != "" && id == w.target.ID
	w.judge.answer(good, id)
}

// onBroken replaces a line. A server may close connections as it likes: only what
// the reconnect finds counts. But one that closes a new connection in place of an
// answer has given a bad one.
func (w *watcher) onBroken(ctx context.Context, l *line) {
	w.drop(l)
	if l.asked && !l.aged {
		w.answer(false, "")
	}
	if w.reopened < reopenings {
		w.reopened++
		w.open(ctx)
	}
}

func (w *watcher) onRefused(ctx context.Context) {
	w.drop(slices.Clone(w.lines)...)
	w.waiting = false
	if w.inquiry == nil || w.inquiry.about != witnessed {
		w.askWitness(ctx)
	}
}

// onWord notes what a second witness said; that nothing was heard of it means
// nothing if this process slept.
func (w *watcher) onWord(e event) {
	asked := w.inquiry.since
	w.endInquiry()
	switch {
	case e.said == mute && w.pulse.asleepSince(asked):
	case e.kind == pinged:
		w.judge.pinged(e.said)
	default:
		w.tried, w.verified = true, false
		w.judge.refused(e.said)
	}
}
