// Package rates limits how often something happens, by party: a token bucket for each, in
// a table of bounded size.
package rates

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// MaxParties bounds how many parties have a bucket of their own; further ones share one.
const MaxParties = 10_000

// Table has the buckets of all parties. Any goroutine may call its methods.
type Table struct {
	perSecond rate.Limit // 0 or less: no limit
	burst     int

	mu     sync.Mutex
	swept  time.Time
	by     map[netip.Addr]*bucket
	others *bucket
}

type bucket struct {
	*rate.Limiter
	refused int // since it allowed something last
}

// New returns a Table that allows each party so much per second, and burst at a time.
// Where perSecond is 0 or less there is no limit.
func New(perSecond, burst int) *Table {
	t := &Table{perSecond: rate.Limit(perSecond), burst: max(burst, 0), by: make(map[netip.Addr]*bucket)}
	t.others = t.full()
	return t
}

func (t *Table) full() *bucket { return &bucket{Limiter: rate.NewLimiter(t.perSecond, t.burst)} }

// Allow reports whether the party may do something now, and if so, how often it was refused
// since it was allowed to last.
func (t *Table) Allow(party netip.Addr, now time.Time) (ok bool, refused int) {
	if t.perSecond <= 0 {
		return true, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.of(party, now)
	if !b.AllowN(now, 1) {
		b.refused++
		return false, 0
	}
	refused, b.refused = b.refused, 0
	return true, refused
}

// Len is how many parties have a bucket of their own.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.by)
}

// of returns the bucket of a party. Once there are too many, those that are as good as new
// are removed, once a second at most: it takes a look at all of them. The caller holds mu.
func (t *Table) of(party netip.Addr, now time.Time) *bucket {
	if b, ok := t.by[party]; ok {
		return b
	}
	if len(t.by) >= MaxParties && now.Sub(t.swept) >= time.Second {
		t.swept = now
		maps.DeleteFunc(t.by, func(_ netip.Addr, b *bucket) bool { return b.TokensAt(now) >= float64(t.burst) })
	}
	if len(t.by) >= MaxParties {
		return t.others
	}
	b := t.full()
	t.by[party] = b
	return b
}
