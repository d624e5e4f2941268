package middleware

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// maxAddresses bounds how many addresses are distinguished; further ones share one
// allowance.
const maxAddresses = 10_000

// rates bounds the requests of each address. Its methods may be called from any
// goroutine.
type rates struct {
	perSecond rate.Limit // 0 or less: no limit
	burst     int

	mu     sync.Mutex
	swept  time.Time
	by     map[netip.Addr]*rate.Limiter
	others *rate.Limiter
}

// newRates allows a second's worth of requests, and once another one, at a time.
func newRates(perSecond int) *rates {
	r := &rates{perSecond: rate.Limit(perSecond), burst: 2 * max(perSecond, 0), by: make(map[netip.Addr]*rate.Limiter)}
	r.others = rate.NewLimiter(r.perSecond, r.burst)
	return r
}

func (r *rates) allow(addr netip.Addr, now time.Time) bool {
	return r.perSecond <= 0 || r.of(fleet.Party(addr), now).AllowN(now, 1)
}

func (r *rates) of(addr netip.Addr, now time.Time) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.by[addr]; ok {
		return l
	}
	if len(r.by) >= maxAddresses && now.Sub(r.swept) >= time.Second {
		r.swept = now
		for addr, l := range r.by {
			if l.TokensAt(now) >= float64(r.burst) { // as good as new
				delete(r.by, addr)
			}
		}
	}
	if len(r.by) >= maxAddresses {
		return r.others
	}
	l := rate.NewLimiter(r.perSecond, r.burst)
	r.by[addr] = l
	return l
}
