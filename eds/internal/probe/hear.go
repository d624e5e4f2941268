package probe

import (
	"net"
	"slices"
	"time"
)

// expects reports false for what a line or an inquiry says that was dropped.
func (w *watcher) expects(e event) bool {
	if e.line != nil {
		return slices.Contains(w.lines, e.line)
	}
	return e.inquiry == w.inquiry
}

// handle draws the consequences of what a line or an inquiry has seen.
func (w *watcher) handle(e event) {
	switch e.kind {
	case connected:
		if e.stream != nil {
			w.onStream(e.line, e.stream)
		} else {
			w.onConnected(e.line, e.conn)
		}
	case answered:
		w.onAnswer(e)
	case broke:
		w.onBroken(e.line)
	case refused:
		w.onRefused(e.line)
	case unable:
		w.onUnable(e.line)
	case unreachable:
		w.drop(e.line) // counts once the deadline is there
	case helpless:
		w.drop(e.line)
		w.waiting = false // nothing was asked
	case witnessed, pinged:
		w.onWord(e)
	}
}

func (w *watcher) onConnected(l *line, conn net.Conn) {
	l.conn, l.giveUp = conn, nil
	w.roundTrip = time.Since(l.opened)
	if l.way == bare {
		w.dropBare()
		w.answer(true, "")
		return
	}
	w.loop.read(w, l)
	if w.waiting {
		w.ask(l)
	}
}

// onAnswer keeps the line that brought the answer, if it is to stand, and drops the
// others.
func (w *watcher) onAnswer(e event) {
	if e.line.way != streamed && !e.line.asked {
		w.drop(e.line) // it talks without being asked
		return
	}
	e.line.asked, e.line.aged = false, true
	for _, l := range slices.Clone(w.lines) {
		if l != e.line || !l.way.stays() {
			w.drop(l)
		}
	}
	w.answer(e.good, e.id)
}

func (w *watcher) answer(good bool, id string) {
	w.endInquiry()
	now, waited := time.Now(), w.waiting
	w.tried, w.waiting = true, false
	if soon := now.Add(w.interval()); !good && soon.Before(w.tick) {
		w.tick = soon // others have their turns only while all is well
	}
	w.verified = id != "" && id == w.target.ID
	w.judge.answer(good, id)
	if waited && w.way() == single {
		if w.took = now.Sub(w.asked); w.shared() && !w.doubted() {
			w.tick = w.turn(now)
		}
	}
}

// onBroken replaces a line. A server may close connections as it likes: only what
// the reconnect finds counts. But one that closes a new connection in place of an
// answer has given a bad one.
func (w *watcher) onBroken(l *line) {
	w.drop(l)
	if l.asked && !l.aged && l.way != streamed {
		w.answer(false, "")
		if l.way == single {
			return
		}
	}
	if w.reopened < reopenings {
		w.reopened++
		w.open()
	}
}

func (w *watcher) onRefused(l *line) {
	if w.alone && l.way == streamed {
		w.drop(l) // as before
		return
	}
	w.dropAll()
	w.waiting = false
	if w.inquiry == nil || w.inquiry.about != witnessed {
		w.askWitnesses()
	}
}

// onWord notes what a witness said; that nothing was heard of it means nothing if this
// process slept.
func (w *watcher) onWord(e event) {
	q := w.inquiry
	switch {
	case e.said == mute && w.loop.pulse.asleepSince(q.since):
		w.endInquiry()
	case e.kind == pinged && e.said == unasked:
		w.endInquiry() // it is asked again after the next time-out
	case e.kind == pinged:
		w.endInquiry()
		if e.said != lives || !w.left() {
			w.judge.pinged(e.said)
		}
	default:
		w.onTestimony(q, e)
	}
}

// onTestimony ends the inquiry once nothing can change the verdict any more. An endpoint
// that was found dead may still answer the challenge.
func (w *watcher) onTestimony(q *inquiry, e event) {
	if e.witness == challenged && e.said == answers {
		w.roundTrip = time.Since(q.since)
	}
	q.heard.add(e.witness, e.said)
	if w.way() == streamed {
		if q.heard.tcp == answers && w.left() {
			return
		}
		if e.witness == gossipPort && e.said == mute {
			w.unanswered(q)
			return
		}
	}
	v := w.judge.refused(q.heard)
	if v != Unknown {
		w.tried, w.verified = true, false
	}
	if v == Dead {
		w.alone = false // a process that accepts from now on is another one
	}
	helpless := e.witness == gossipPort && e.said == unasked
	if helpless || v == Refused || v == Contradicted || v == Dead && (q.heard.challenge != unasked || q.heard.tcp == nobody) {
		w.endInquiry()
	}
}
