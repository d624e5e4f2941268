package probe

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// loop is the one goroutine that owns all watchers. What takes time is done by
// others, which report the outcome through events.
type loop struct {
	*Prober
	ctx context.Context

	watchers map[Key]*watcher
	at       map[netip.AddrPort][]*watcher // the same, by address
	agenda   agenda
	crowd    crowd

	events chan event     // not buffered: what is sent is handled
	wg     sync.WaitGroup // of the other goroutines
}

func newLoop(ctx context.Context, p *Prober) *loop {
	return &loop{Prober: p, ctx: ctx, watchers: make(map[Key]*watcher), at: make(map[netip.AddrPort][]*watcher), events: make(chan event)}
}

type eventKind int

const (
	connected   eventKind = iota
	refused               // no process listens
	unreachable           // the dial failed otherwise, which proves nothing
	helpless              // this process has not what it takes to dial
	unable                // the member does not accept streams
	answered
	broke
	witnessed // a witness to a refusal has spoken, or not
	pinged    // gossip has
)

// event is what the loop receives.
type event struct {
	kind    eventKind
	watcher *watcher
	line    *line    // for the kinds up to broke
	inquiry *inquiry // for the others
	conn    net.Conn // connected; one of these
	stream  Stream
	good    bool    // answered: a 2xx
	id      string  // answered: the uuid, if there was one
	witness witness // witnessed: who has
	said    word    // witnessed, pinged
}

// send hands e to the loop. It reports false when the loop has ended.
func (l *loop) send(e event) bool {
	select {
	case l.events <- e:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// run ends with the loop's context, and returns after every connection is closed.
func (l *loop) run() {
	defer l.wg.Wait()
	defer l.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case t := <-l.targets:
			l.watch(t)
		case e := <-l.events:
			l.hear(e)
		case addr := <-l.checks:
			l.check(addr)
		case <-timer.C:
			l.next()
		}
		if len(l.agenda) > 0 {
			timer.Reset(time.Until(l.agenda[0].due))
		}
	}
}

// next wakes the watcher that is due next, if it is. It wakes no more than one: an
// answer must not wait for the time-outs of many.
func (l *loop) next() {
	now := time.Now()
	if len(l.agenda) > 0 && !now.Before(l.agenda[0].due) {
		w := l.agenda[0]
		w.onTime(now)
		l.settle(w)
	}
}

// hear passes on what a line or an inquiry says, unless it was dropped, as those of
// a watcher are that has stopped. The end of a connection that stood is news for all that
// watch the address; that of a check is a bad answer, and no reason for another check.
func (l *loop) hear(e event) {
	if w := e.watcher; w.expects(e) {
		w.handle(e)
		l.settle(w)
		if e.kind == broke && e.line.way.stays() && len(l.at[w.target.Addr]) > 1 {
			l.check(w.target.Addr)
		}
	} else if e.conn != nil {
		e.conn.Close()
	} else if e.stream != nil {
		_ = e.stream.Close()
	}
}

// check makes the next probe of those due that watch an address without a connection that
// stands: they do not see by themselves that something has happened.
func (l *loop) check(addr netip.AddrPort) {
	for _, w := range l.at[addr] {
		if !w.way().stays() {
			w.tick = time.Now()
			l.settle(w)
		}
	}
}

// settle does what is to be done after each change to a watcher.
func (l *loop) settle(w *watcher) {
	w.tell(time.Now())
	l.agenda.put(w, w.next())
}

// watch makes targets the endpoints that are watched. Each new one has a phase of
// its own, so that all probes are spread evenly in time.
func (l *loop) watch(targets []Target) {
	wanted := make(map[Key]Target, len(targets))
	for _, t := range targets {
		wanted[t.Key] = t
	}
	for key, w := range l.watchers {
		t, ok := wanted[key]
		if ok && t == w.target {
			continue
		}
		l.drop(w)
		if !ok {
			l.forget(key)
		}
	}
	first := l.firstProbe(len(wanted) - len(l.watchers))
	for key, t := range wanted {
		if l.watchers[key] != nil {
			continue
		}
		w := newWatcher(l, t, first())
		l.watchers[key] = w
		l.at[key.Addr] = append(l.at[key.Addr], w)
		l.settle(w)
	}
}

// drop ends a watcher.
func (l *loop) drop(w *watcher) {
	w.stop()
	l.agenda.remove(w)
	delete(l.watchers, w.target.Key)
	addr := w.target.Addr
	if l.at[addr] = slices.DeleteFunc(l.at[addr], func(other *watcher) bool { return other == w }); len(l.at[addr]) == 0 {
		delete(l.at, addr)
	}
}

// firstProbe says when each of n new endpoints is first probed: at once if they are
// few, by and by if they are many, for to connect costs more than all the rest.
func (l *loop) firstProbe(n int) func() time.Time {
	now, interval := time.Now(), l.opts.Interval
	if round := FirstRound(n, interval); round > 0 {
		return func() time.Time { return now.Add(rand.N(round)) }
	}
	return func() time.Time { return now.Add(rand.N(interval) - interval) }
}

// FirstRound is within which time each of n new endpoints is probed for the first
// time: 0, which is at once, for a few, and a second for each 2,000 of many.
func FirstRound(n int, interval time.Duration) time.Duration {
	const few, perSecond = 100, 2000
	if n <= few {
		return 0
	}
	return (1 + time.Second*time.Duration(n-1)/perSecond/interval) * interval
}

// stop keeps the evidence: ending a prober makes none of it wrong.
func (l *loop) stop() {
	for _, w := range l.watchers {
		w.stop()
	}
}
