package xds

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// A poll that finds nothing new waits for a change instead of being answered at once,
// where its client announces its timeout: Envoy does, with its request_timeout. Half of
// that is left for the network and for slow processes.
const (
	expectedHeader = "X-Envoy-Expected-Rq-Timeout-Ms"
	minExpected    = 100                   // ms; it makes no sense to hold for less
	maxHold        = 5 * time.Second       // within the time-outs of the HTTP server
	endTogether    = 50 * time.Millisecond // waking up is the largest cost of a poll
)

// holdTime is how long a poll with this header may be held; 0 for not at all.
func holdTime(h http.Header) time.Duration {
	ms, err := strconv.ParseInt(h.Get(expectedHeader), 10, 64)
	if err != nil || ms < minExpected {
		return 0
	}
	return time.Duration(min(ms, 2*maxHold.Milliseconds())) * time.Millisecond / 2
}

// hold holds a poll whose client has what is current, and reports whether that has
// changed. It does not hold a poll for several names, whose single versions are unknown,
// nor more than MaxHeld of one address.
func (s *Server) hold(ctx context.Context, c *client, names []string, version string, most time.Duration) bool {
	if most == 0 || len(names) != 1 || !s.clients.hold(c, s.opts.MaxHeld) {
		return false
	}
	defer func() { s.clients.release(c, time.Now()) }()
	return s.await(ctx, names, version, most)
}

// await waits until the one name has another version, the time is over, the client
// disconnects, or polls are no longer held. It reports whether the version is another one.
func (s *Server) await(ctx context.Context, names []string, version string, most time.Duration) bool {
	news := make(chan struct{})
	w := &watcher{names: listOf(names), hasCurrent: func(uint64, []item) {}, advance: func(string, string, uint64) bool { return true }, stale: make(map[string]struct{})}
	defer s.cache.forget(w)
	s.cache.watch(w, change{add: names, initial: map[string]string{names[0]: version}}, func() { close(news) })
	now := time.Now()
	end := time.NewTimer(now.Add(most).Truncate(endTogether).Sub(now))
	defer end.Stop()
	select {
	case <-news:
		return true
	case <-end.C:
	case <-s.holdless:
	case <-ctx.Done():
	}
	return false
}

// EndHolds makes the Server answer the polls that are held, and hold no further one: the
// HTTP server that serves them is about to stop. It may be called any number of times.
func (s *Server) EndHolds() { s.endHolds.Do(func() { close(s.holdless) }) }

// hold counts a held poll of c; false when its address has most of them already.
func (t *clients) hold(c *client, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[c.from] >= most {
		return false
	}
	t.held[c.from]++
	c.held++
	return true
}

// release ends that: the next poll of the client is expected from now on.
func (t *clients) release(c *client, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[c.from]--; t.held[c.from] == 0 {
		delete(t.held, c.from)
	}
	c.held--
	c.seen = now
}
