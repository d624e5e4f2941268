package gossip

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	rejoinEvery   = 5 * time.Second        // between rounds; up to half as much again is added
	rejoinAlone   = 250 * time.Millisecond // the same while nobody else is there; doubles up to rejoinEvery
	lookupTimeout = 3 * time.Second
	joinAtOnce    = 8  // attempts that run side by side
	rememberedTry = 16 // remembered members tried in one round
	deadTry       = 4  // dead members tried in one round: one that answers heals all
)

// rejoiner joins the seeds and finds back what the pool lost; memberlist does
// neither by itself once a member was dead for half a minute. All of it is owned
// by run.
type rejoiner struct {
	seeds      []seed
	remembered []netip.AddrPort
	fleet      string

	members *members
	join    func(netip.AddrPort) error // bounded by memberlist's TCPTimeout
	lookup  lookupFunc
	log     *slog.Logger

	outcome map[string]string // what the last round said of each seed, as logged
}

// target is an address worth joining.
type target struct {
	addr netip.AddrPort
	seed string // as the operator wrote it; "" for a remembered or dead member
}

// run tries until ctx is done.
func (r *rejoiner) run(ctx context.Context) {
	alone := 0
	for {
		r.round(ctx)
		delay := rejoinEvery
		if r.members.others() == 0 {
			delay = min(rejoinEvery, rejoinAlone<<min(alone, 10))
			alone++
		} else {
			alone = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay + rand.N(delay/2)):
		}
	}
}

// round joins what is missing.
func (r *rejoiner) round(ctx context.Context) {
	r.members.sweep(time.Now())
	outcome := make(map[string]string)
	targets := r.targets(ctx, outcome)
	errs := make([]error, len(targets))
	var g errgroup.Group
	g.SetLimit(joinAtOnce)
	for i, t := range targets {
		g.Go(func() error {
			if ctx.Err() == nil {
				errs[i] = r.join(t.addr)
			}
			return nil
		})
	}
	_ = g.Wait() // each attempt has its own error
	if ctx.Err() != nil {
		return
	}
	for i, t := range targets {
		r.report(t, errs[i], outcome)
	}
	r.outcome = outcome // what was not tried this time is news the next time
}

// targets returns every seed that is not in the pool, some dead members and,
// until somebody was met, some remembered ones.
func (r *rejoiner) targets(ctx context.Context, outcome map[string]string) []target {
	targets := r.resolve(ctx, outcome)
	alive, dead := r.members.addresses()
	for _, a := range sample(dead, deadTry) {
		targets = append(targets, target{addr: a})
	}
	select {
	case <-r.members.joined:
		r.remembered = nil
	default:
		for _, a := range sample(r.remembered, rememberedTry) {
			targets = append(targets, target{addr: a})
		}
	}
	missing := targets[:0]
	for _, t := range targets {
		if !alive[t.addr] {
			alive[t.addr] = true // once is enough
			missing = append(missing, t)
		}
	}
	return missing
}

// resolve returns the addresses of all seeds, whose names it looks up side by side.
func (r *rejoiner) resolve(ctx context.Context, outcome map[string]string) []target {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found := make([][]netip.AddrPort, len(r.seeds))
	errs := make([]error, len(r.seeds))
	var wg sync.WaitGroup
	for i, s := range r.seeds {
		wg.Go(func() { found[i], errs[i] = s.resolve(ctx, r.lookup) })
	}
	wg.Wait()
	var targets []target
	for i, s := range r.seeds {
		if errs[i] != nil && ctx.Err() != context.Canceled {
			r.say(s.text, slog.LevelWarn, "its name cannot be resolved: "+cause(errs[i].Error()), outcome)
		}
		for _, a := range found[i] {
			targets = append(targets, target{addr: a, seed: s.text})
		}
	}
	return targets
}

// sample picks at most n of addrs at random.
func sample(addrs []netip.AddrPort, n int) []netip.AddrPort {
	picked := make([]netip.AddrPort, 0, n)
	for _, i := range rand.Perm(len(addrs))[:min(n, len(addrs))] {
		picked = append(picked, addrs[i])
	}
	return picked
}
