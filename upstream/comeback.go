package upstream

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

const (
	// settle is how long a new announcement may take to reach a member that missed one.
	settle = 3 * time.Second

	// forget is the time after which a report of being missing is a new incident.
	forget = 2 * time.Minute

	// renewEvery limits how often a false report can cause a new id.
	renewEvery = 30 * time.Second

	// retryEvery is the interval between attempts to restart gossip.
	retryEvery = time.Second

	// firstJoins is how many members of the old pool a new one tries to join at once.
	firstJoins = 16
)

// remedy is the reaction to a report that this member is missing.
type remedy int

const (
	wait     remedy = iota
	announce        // again, under a higher incarnation
	renew           // rejoin under a new id
)

// comeback chooses the remedy for each report that this member is missing. A new
// announcement repairs a lost update, but cannot refute a death message with the highest
// possible incarnation.
type comeback struct {
	announced, renewed time.Time // when last; zero: never, or under another id
}

func (c *comeback) missing(now time.Time) remedy {
	since := now.Sub(c.announced)
	switch {
	case c.announced.IsZero() || since >= forget:
		c.announced = now
		return announce
	case since < settle || now.Sub(c.renewed) < renewEvery:
		return wait
	default:
		c.announced, c.renewed = time.Time{}, now
		return renew
	}
}

// watch owns the pool between Register and Close.
func (r *Registration) watch() {
	var c comeback
	joined := r.Joined() // of the first pool only
	for {
		pool := r.pool.Load() // only watch replaces it
		select {
		case <-r.done:
			return
		case err := <-pool.Failed():
			r.failed <- err
			return
		case <-joined:
			joined = nil
			m := r.Member()
			r.opts.log.Info("registered", "service", m.Service, "address", m.Endpoint.Addr, "id", m.ID, "gossip", m.Gossip)
		case receipt := <-pool.Receipts():
			r.received(receipt)
		case <-pool.Missing():
			r.comeBack(pool, c.missing(time.Now()))
		}
	}
}

func (r *Registration) comeBack(pool *gossip.Pool, what remedy) {
	switch what {
	case announce:
		r.opts.log.Warn("another member considers this one dead: announcing it again", "id", r.ID())
		if err := pool.Reannounce(); err != nil {
			r.opts.log.Warn("could not announce this member again", "err", err)
		}
	case renew:
		r.opts.log.Warn("another member still considers this one dead: rejoining under a new id", "id", r.ID())
		r.renew()
	}
}

// renew retries until there is a new pool or the registration is closed.
func (r *Registration) renew() {
	for {
		err := r.replace()
		switch {
		case err == nil:
			r.opts.log.Warn("rejoined under a new id", "id", r.ID(), "gossip", r.Member().Gossip)
			return
		case errors.Is(err, ErrClosed):
			return
		}
		r.opts.log.Error("could not restart gossip: retrying", "err", err)
		select {
		case <-r.done:
			return
		case <-time.After(retryEvery):
		}
	}
}

// replace starts a new pool under a new id, with everything else unchanged. It closes the old
// pool without announcing draining, which EDS servers would apply to the endpoint.
func (r *Registration) replace() error {
	r.announcing.Lock()
	defer r.announcing.Unlock()
	if r.closed {
		return ErrClosed
	}
	before, old := r.member.Load(), r.pool.Load()
	m := *before
	m.ID, m.Started = uuid.New(), now()
	remembered := neighbours(old)
	if r.opts.gossip.Port() != 0 {
		_ = old.Close() // it uses the port
	}
	r.member.Store(&m) // before joining: a server that learns the new id expects it in the next probe response
	joined := m
	pool, err := r.opts.join(&joined, remembered)
	if err != nil {
		r.member.Store(before)
		return err
	}
	r.ledger.clear()
	r.member.Store(&joined)
	r.pool.Store(pool)
	return old.Close()
}

// neighbours returns live members to join through, EDS servers first: they should learn the
// new id by gossip before they see it in a probe response.
func neighbours(p *gossip.Pool) []netip.AddrPort {
	self := p.Self().ID
	var servers, others []netip.AddrPort
	for _, m := range p.Members() {
		switch {
		case m.Liveness != fleet.Alive || m.ID == self:
		case m.Role == fleet.RoleEDS:
			servers = append(servers, m.Gossip)
		default:
			others = append(others, m.Gossip)
		}
	}
	all := append(servers, others...)
	return all[:min(len(all), firstJoins)]
}
