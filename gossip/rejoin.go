package gossip

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	rejoinEvery   = 5 * time.Second        // between rounds; up to half as much again is added
	rejoinAlone   = 250 * time.Millisecond // the same without another member; doubles up to rejoinEvery
	lookupSlow    = 3 * time.Second        // a look-up that takes longer is logged
	joinAtOnce    = 8                      // attempts that run side by side
	rememberedTry = 16                     // remembered members tried in one round
	deadTry       = 4                      // dead members tried in one round: one that answers heals all
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
	names   *names
	log     *slog.Logger

	rests   rests
	outcome map[string]string // what the last round said of each seed, as logged
}

// target is an address worth joining.
type target struct {
	addr netip.AddrPort
	seed string // as the operator wrote it; "" for a remembered or dead member
}

// run tries until ctx is done.
func (r *rejoiner) run(ctx context.Context) {
	defer r.names.wg.Wait()
	alone := 0
	for lookUp := true; ; {
		r.round(ctx, lookUp)
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
		case <-r.names.news:
			lookUp = false // a nameserver may answer with a few of many addresses, others each time
		case <-time.After(delay + rand.N(delay/2)):
			lookUp = true
		}
	}
}

// round joins what is missing.
func (r *rejoiner) round(ctx context.Context, lookUp bool) {
	r.members.sweep(time.Now())
	if lookUp {
		r.lookUp(ctx)
	}
	outcome := make(map[string]string)
	targets := r.targets(outcome)
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
	r.rest(targets, errs)
	r.outcome = outcome // what was not tried this time is news the next time
}

// rest has those seeds rest that let this process in, once the pool is there, and are
// the address of no member.
func (r *rejoiner) rest(targets []target, errs []error) {
	alive, _ := r.members.addresses()
	for i, t := range targets {
		switch {
		case t.seed == "":
		case errs[i] != nil || alive[t.addr] || r.members.others() == 0:
			delete(r.rests, t.addr)
		default:
			r.rests.joined(t.addr, time.Now())
		}
	}
}

// targets returns every seed that is not in the pool and does not rest, some dead
// members and, until another member was met, some remembered ones.
func (r *rejoiner) targets(outcome map[string]string) []target {
	now, unsettled := time.Now(), r.members.unsettledAt()
	targets := slices.DeleteFunc(r.resolve(outcome), func(t target) bool { return !r.rests.due(t.addr, now, unsettled) })
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

// lookUp has the names among the seeds looked up. One that has turned out to be another
// address than before ends the wait for the next round.
func (r *rejoiner) lookUp(ctx context.Context) {
	for _, s := range r.seeds {
		if s.host != "" {
			r.names.start(ctx, s.host)
		}
	}
}

// resolve returns the addresses of all seeds as far as they are known.
func (r *rejoiner) resolve(outcome map[string]string) []target {
	var targets []target
	for _, s := range r.seeds {
		if s.host == "" {
			targets = append(targets, target{addr: s.addr, seed: s.text})
			continue
		}
		known := r.names.known(s.host)
		switch {
		case known.err != nil:
			r.say(s.text, slog.LevelWarn, "its name cannot be resolved: "+cause(known.err.Error()), outcome)
		case !known.ended && time.Since(known.since) > lookupSlow:
			r.say(s.text, slog.LevelWarn, "no nameserver has answered yet", outcome)
		}
		for _, addr := range known.addrs {
			targets = append(targets, target{addr: netip.AddrPortFrom(addr.Unmap(), s.addr.Port()), seed: s.text})
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
