package xds

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"time"
	"unique"
)

// The version that a client sends when it reconnects tells how many endpoints it knew. A
// server that has just started and knows fewer does not answer about those services: the
// client keeps what it has. A client makes a claim once, with the first request of its
// stream or with a version that this server never sent. Claims count only for a fixed time
// after the server's start, so that no claim, however false, has an effect for longer.
//
// The claim is about endpoints that are known, not those that are served: one that an
// operator drained, that left or is proven dead is known, and its removal does not wait.

// reviewEvery is how often claims of clients that are not answered are checked again.
const reviewEvery = 50 * time.Millisecond

// claim is how many endpoints of some services a client says it has.
type claim struct {
	services  string // the first few
	endpoints int    // 0 with a version that does not contain it
}

// knowledge is how many endpoints are known of each service, and in all. Its sums are
// guarded by cache.mu.
type knowledge struct {
	services map[string]int
	total    int
	sums     map[*unique.Handle[string]]int // of lists, by their first name: many clients share one
}

func newKnowledge(services map[string]int) *knowledge {
	k := &knowledge{services: services, sums: make(map[*unique.Handle[string]]int)}
	for _, n := range services {
		k.total += n
	}
	return k
}

// of sums up what is known of the names that w asks for.
func (k *knowledge) of(w *watcher) (sum int) {
	if w.all {
		return k.total
	}
	if len(w.claimed) == 0 {
		return 0
	}
	if sum, ok := k.sums[&w.claimed[0]]; ok {
		return sum
	}
	for _, name := range w.claimed {
		sum += k.services[name.Value()]
	}
	k.sums[&w.claimed[0]] = sum
	return sum
}

// claims are those of all clients. They are guarded by cache.mu, but for what New sets.
type claims struct {
	until  time.Time // from then on all clients are answered; zero: no claim counts
	logger *slog.Logger

	known   *knowledge
	waiting map[*watcher]struct{} // streams that are not answered about something
	polls   map[string]claim      // polls that were not answered, by their names
	logged  bool                  // that some clients are not answered
	timer   *time.Timer           // nil while none waits
	closed  bool
}

// maxPollClaims bounds how many polls are named when their claims end.
const maxPollClaims = 1000

// know makes known how many endpoints there are of each service.
func (c *cache) know(services map[string]int) {
	k := newKnowledge(services)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claims.known = k
}

func (c *claims) open(now time.Time) bool { return now.Before(c.until) }

// exceeds reports whether a version stands for more endpoints than are known, or for
// unknown content.
func exceeds(version string, known int, current func() string) bool {
	if version == "" {
		return false
	}
	endpoints, digest, counted := parseVersion(version)
	if counted {
		return endpoints > known
	}
	_, now, _ := parseVersion(current())
	return digest == "" || digest != now
}

// holdBack reports whether a stream in state of the world must not be answered, since its
// client has more endpoints than are known of all its names.
func (c *cache) holdBack(w *watcher, now time.Time) bool {
	current := func() string { // of several names it would take long, with the cache locked
		if len(w.claimed) == 1 && !w.all {
			return c.current(w.claimed[0].Value()).version()
		}
		return ""
	}
	if w.claim != "" && c.claims.open(now) && exceeds(w.claim, c.claims.known.of(w), current) {
		c.await(w)
		return true
	}
	w.claim, w.claimed = "", nil
	return false
}

// holdBackName is holdBack for one name of a delta stream.
func (c *cache) holdBackName(w *watcher, name, version string, now time.Time) bool {
	return w.claims && c.claims.open(now) &&
		exceeds(version, c.claims.known.services[name], func() string { return c.current(name).version() })
}

// holdBackPoll is holdBack for a poll.
func (c *cache) holdBackPoll(names []string, version string, now time.Time) bool {
	if version == "" || !c.claims.open(now) {
		return false
	}
	known := 0
	for _, name := range names {
		known += c.claims.known.services[name]
	}
	current := func() string {
		if len(names) == 1 {
			return c.current(names[0]).version()
		}
		return ""
	}
	if !exceeds(version, known, current) {
		return false
	}
	if key := strings.Join(names, "\xff"); len(c.claims.polls) < maxPollClaims {
		c.claims.polls[key] = claimOf(names, version)
	}
	c.schedule()
	return true
}

// await adds w to the watchers that review checks.
func (c *cache) await(w *watcher) {
	c.claims.waiting[w] = struct{}{}
	c.schedule()
}

func (c *cache) schedule() {
	if c.claims.timer == nil && !c.claims.closed {
		c.claims.timer = time.AfterFunc(reviewEvery, c.review)
	}
}

// review answers the clients whose claims are met by now, and all clients once claims end.
func (c *cache) review() {
	c.mu.Lock()
	now := time.Now()
	open := c.claims.open(now)
	waiting := make([]*watcher, 0, len(c.claims.waiting))
	for w := range c.claims.waiting {
		waiting = append(waiting, w)
	}
	c.mu.Unlock()
	short := make(map[claim]shortfall)
	for _, w := range waiting {
		c.reviewOne(w, short)
	}
	c.mu.Lock()
	for names, cl := range c.claims.polls {
		known := 0
		for name := range strings.SplitSeq(names, "\xff") {
			known += c.claims.known.services[name]
		}
		if cl.endpoints == 0 || cl.endpoints > known {
			note(short, cl, known)
		} else {
			delete(c.claims.polls, names)
		}
	}
	news := !open || !c.claims.logged
	c.claims.logged = c.claims.logged || len(short) > 0
	if c.claims.timer = nil; open && len(c.claims.waiting)+len(c.claims.polls) > 0 {
		c.schedule()
	} else if !open {
		clear(c.claims.polls)
	}
	until := c.claims.until
	c.mu.Unlock()
	if news {
		c.claims.report(short, open, until)
	}
}

// reviewOne checks one stream; it notes in short what its client claims and is not known
// here.
func (c *cache) reviewOne(w *watcher, short map[claim]shortfall) {
	c.encode(c.initialNames(w))
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.claims.waiting[w]; !ok {
		return
	}
	before, names, withheld := w.claim, w.claimed.few(), maps.Clone(w.withheld)
	known := c.claims.known.of(w)
	delete(c.claims.waiting, w)
	c.fire(w)
	open := c.claims.open(time.Now())
	if before != "" && (w.claim != "" || !open) {
		note(short, claimOf(names, before), known)
	}
	for name, version := range withheld {
		if _, still := w.withheld[name]; still || !open {
			note(short, claimOf([]string{name}, version), c.claims.known.services[name])
		}
	}
}

func claimOf(names []string, version string) claim {
	held, _, _ := parseVersion(version)
	return claim{strings.Join(firstFew(names), ", "), held}
}

// few returns as many names as are logged, and one more if there are more.
func (l nameList) few() []string {
	names := make([]string, 0, maxLogged+1)
	for _, name := range l[:min(len(l), maxLogged+1)] {
		names = append(names, name.Value())
	}
	return names
}

// shortfall is how a claim stands.
type shortfall struct{ known, clients int }

func note(short map[claim]shortfall, cl claim, known int) {
	if cl.endpoints > 0 && cl.endpoints <= known { // met at the last moment
		return
	}
	short[cl] = shortfall{known, short[cl].clients + 1}
}

// report logs which claims keep clients unanswered or, once they end, which were not met.
func (c *claims) report(short map[claim]shortfall, open bool, until time.Time) {
	level, message := slog.LevelWarn, "clients held more endpoints than this server has found since it started: sending the known ones"
	if open {
		level, message = slog.LevelInfo, "clients hold more endpoints than this server knows yet: not answering until it knows as many"
	}
	lines := 0
	for cl, s := range short {
		if lines++; lines > maxLogged {
			c.logger.Log(context.Background(), level, message, "further", len(short)-maxLogged)
			return
		}
		attrs := []any{"services", cl.services, "before", cl.endpoints, "now", s.known, "clients", s.clients}
		if open {
			attrs = append(attrs, "until", until.Format(time.RFC3339))
		}
		c.logger.Log(context.Background(), level, message, attrs...)
	}
}

// endClaims stops the reviews.
func (c *cache) endClaims() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claims.closed = true
	if c.claims.timer != nil {
		c.claims.timer.Stop()
	}
}
