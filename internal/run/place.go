package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// registration is what this package uses of an [upstream.Registration].
type registration interface {
	SetHealthy(bool) error
	Drain(context.Context) error
	Failed() <-chan error
	EDSServers() int
	Close() error
}

// place is the endpoint's place in the pool, which it has once it was healthy. Its
// methods are its owner's alone.
type place struct {
	endpoint *Endpoint
	register func(context.Context) (registration, error)

	member     registration // nil until there is one
	registered atomic.Pointer[registration]
	word       chan bool // capacity one: the latest word on its health
	publishing sync.WaitGroup
}

// tell registers the endpoint when it is first healthy, and publishes its health
// from then on. why is what the check said.
func (p *place) tell(ctx context.Context, healthy bool, why error) error {
	log := p.endpoint.Logger.With("service", p.endpoint.Service.Name, "address", p.endpoint.Address)
	if healthy {
		log.Info("healthy")
	} else {
		log.Warn("unhealthy", "err", why)
	}
	if p.member != nil {
		p.publish(healthy)
		return nil
	}
	member, err := p.register(ctx)
	if err != nil {
		return err
	}
	p.member, p.word = member, make(chan bool, 1)
	p.registered.Store(&member)
	p.publishing.Go(func() {
		for healthy := range p.word {
			if err := p.member.SetHealthy(healthy); err != nil && !errors.Is(err, upstream.ErrClosed) {
				log.Warn("could not announce the health", "err", err)
			}
		}
	})
	return nil
}

// publish does not wait for the announcement, as SetHealthy does.
func (p *place) publish(healthy bool) {
	if p.member == nil {
		return
	}
	select {
	case <-p.word: // overtaken
	default:
	}
	p.word <- healthy
}

// servers is how many EDS servers check the endpoint themselves: one at least, which may
// not be known yet. Any goroutine may call it.
func (p *place) servers() int {
	if k := p.endpoint.Health.Probe.Kind; k != fleet.ProbeHTTP && k != fleet.ProbeTCP {
		return 0
	}
	if r := p.registered.Load(); r != nil {
		return max((*r).EDSServers(), 1)
	}
	return 1
}

// failed receives an error when the registration cannot go on.
func (p *place) failed() <-chan error {
	if p.member == nil {
		return nil
	}
	return p.member.Failed()
}

// leave is the last call.
func (p *place) leave() error {
	if p.member == nil {
		return nil
	}
	close(p.word)
	p.publishing.Wait()
	return p.member.Close()
}
