package xds

import (
	"slices"
	"time"
)

// An Envoy whose stream broke continues to route by what it received last, and reconnects
// by itself: half a second later by its own defaults, within two seconds by our bootstrap,
// later if the network is at fault. Until then nothing is known of it, so what it had
// acknowledged still counts. It may never reconnect, hence the limit, which is below a
// drain's timeout.
const (
	comeBack  = 5 * time.Second
	maxBroken = 10_000
)

// close removes a stream. One that broke counts for a while longer. It then replaces an
// older broken stream of its node, if it was itself the reconnect of that one.
func (t *clients) close(c *client, broke bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.streams, c)
	if t.from[c.from]--; t.from[c.from] <= 0 {
		delete(t.from, c.from)
	}
	t.counted(c, -1)
	for len(t.broken) > 0 && t.broken[0].past(now) { // oldest first
		t.broken[0], t.broken = nil, t.broken[1:]
	}
	if !broke {
		return
	}
	before := func(b *client) bool {
		return b.node == c.node && !c.connected.Before(b.broke) && b.acks.shares(&c.acks)
	}
	if i := slices.IndexFunc(t.broken, before); i >= 0 {
		t.broken = slices.Delete(t.broken, i, i+1)
	}
	if len(t.broken) < maxBroken {
		c.broke = now
		t.broken = append(t.broken, c)
	}
}

// away returns what the clients have acknowledged whose stream for name broke and that
// have not reconnected. here has the times at which clients of name connected, by node: a
// client that connected after a stream of its node broke replaces that one stream, and no
// other one, since Envoys may share a node id. The caller holds mu.
func (t *clients) away(name string, here map[string][]time.Time, now time.Time) (list []clientSeq) {
	for _, b := range slices.Backward(t.broken) { // a client that connected after the latest may replace any of them
		seq, asked := b.acks.seq(name)
		if !asked || b.past(now) {
			continue
		}
		came := here[b.node]
		if i := slices.IndexFunc(came, func(at time.Time) bool { return !at.Before(b.broke) }); i >= 0 {
			here[b.node] = slices.Delete(came, i, i+1)
			continue
		}
		list = append(list, clientSeq{seq, b.node})
	}
	return list
}

// past reports whether a client whose stream broke is no longer waited for.
func (c *client) past(now time.Time) bool { return now.Sub(c.broke) >= comeBack }

// shares reports whether a client has asked for something that another one asks for.
func (a *acks) shares(other *acks) bool {
	names, _ := a.list()
	return slices.ContainsFunc(names, func(s ClientService) bool {
		_, asked := other.seq(s.Name)
		return asked
	})
}

// expire notes that a client's certificate ended, and returns its node id.
func (t *clients) expire(c *client, end time.Time) (node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.streams[c]; ok && c.expired.IsZero() {
		t.counted(c, -1)
		c.expired = end
		t.counted(c, 1)
	}
	return c.node
}
