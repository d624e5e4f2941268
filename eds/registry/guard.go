package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/probe"
)

const (
	guardLeast  = 3                // endpoints that a service has at least for the guard to mind it
	guardWindow = 30 * time.Second // silences that belong together
	guardCalm   = 5 * time.Second  // without a majority missing, before the guard lets go
)

// Guard is the refusal to take most of a service out because nothing is heard of it.
type Guard struct {
	Since time.Time
	Until time.Time // when it lets go in any case; zero for never
	Held  int       // endpoints that are served although they are silent
}

// guard is the state of one service's guard. Its hosts are keys of the registry.
type guard struct {
	on        bool
	since     time.Time
	calmSince time.Time // zero while a majority is missing
	confirmed bool      // an operator said that the mute ones are dead
	released  map[probe.Key]bool
}

// muted is a host that would go by silence, or by a refusal that its gossip
// port contradicts.
type muted struct {
	key   probe.Key
	since time.Time
}

// decide says whether the hosts in mute are held. serving counts the others that
// are to be served, late those among them whose last probe timed out: silences
// that begin together are judged together. A deaf server, which could not have
// heard them, does not let go.
func (g *guard) decide(now time.Time, opts Options, deaf bool, serving, late int, mute []muted) bool {
	if opts.Guard <= 0 {
		return false
	}
	g.forget(mute)
	count := 0
	for _, m := range mute {
		if !g.released[m.key] && (g.on || now.Sub(m.since) < guardWindow) {
			count++
		}
	}
	all := serving + count
	majority := all >= guardLeast && float64(count+late) > opts.Guard*float64(all)
	switch {
	case !g.on && majority && count > 0:
		g.on, g.since, g.calmSince = true, now, time.Time{}
	case g.on && (count == 0 || g.confirmed):
		g.release(mute)
	case g.on && deaf:
		g.since, g.calmSince = now, time.Time{}
	case g.on && now.Sub(g.since) >= opts.GuardHold:
		g.release(mute)
	case g.on && majority:
		g.calmSince = time.Time{}
	case g.on && g.calmSince.IsZero():
		g.calmSince = now
	case g.on && now.Sub(g.calmSince) >= guardCalm:
		g.release(mute)
	}
	return g.on
}

// release lets go: whoever is mute now is not held again before it was heard.
func (g *guard) release(mute []muted) {
	g.on, g.confirmed = false, false
	for _, m := range mute {
		if g.released == nil {
			g.released = make(map[probe.Key]bool)
		}
		g.released[m.key] = true
	}
}

// forget drops the released ones that were heard since.
func (g *guard) forget(mute []muted) {
	if len(g.released) == 0 {
		return
	}
	still := make(map[probe.Key]bool, len(g.released))
	for _, m := range mute {
		if g.released[m.key] {
			still[m.key] = true
		}
	}
	g.released = still
}

// due is when decide may answer differently by time alone; zero for never.
func (g *guard) due(opts Options) time.Time {
	if !g.on {
		return time.Time{}
	}
	if calm := g.calmSince.Add(guardCalm); !g.calmSince.IsZero() && calm.Before(g.since.Add(opts.GuardHold)) {
		return calm
	}
	return g.since.Add(opts.GuardHold)
}
