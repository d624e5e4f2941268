package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// registration is the part of [upstream.Registration] that this package uses.
type registration interface {
	SetHealthy(bool) error
	Drain(context.Context) error
	Failed() <-chan error
	EDSServers() int
	Close() error
}

// membership registers the endpoint once it is healthy, and publishes its health. Only its
// owner's goroutine may call its methods, except servers.
type membership struct {
	endpoint *Endpoint
	register func(context.Context) (registration, error)

	member     registration // nil until registered
	registered atomic.Pointer[registration]
	latest     chan bool // capacity one: the newest health, not yet announced
	publishing sync.WaitGroup
}

// update registers the endpoint when it is healthy for the first time, and publishes its
// health after that. why is the result of the check.
func (p *membership) update(ctx context.Context, healthy bool, why error) error {
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
	p.member, p.latest = member, make(chan bool, 1)
	p.registered.Store(&member)
	p.publishing.Go(func() {
		for healthy := range p.latest {
			if err := p.member.SetHealthy(healthy); err != nil && !errors.Is(err, upstream.ErrClosed) {
				log.Warn("could not announce the health", "err", err)
			}
		}
	})
	return nil
}

// publish does not wait for the announcement, unlike SetHealthy.
func (p *membership) publish(healthy bool) {
	if p.member == nil {
		return
	}
	select {
	case <-p.latest: // replaced by the newer value
	default:
	}
	p.latest <- healthy
}

// servers is the number of EDS servers that check the endpoint too: 0 if they may not, else
// at least 1, since one may not be known yet. Any goroutine may call it.
func (p *membership) servers() int {
	if k := p.endpoint.Health.Probe.Kind; k != fleet.ProbeHTTP && k != fleet.ProbeTCP {
		return 0
	}
	if r := p.registered.Load(); r != nil {
		return max((*r).EDSServers(), 1)
	}
	return 1
}

// failed receives an error when the registration has failed for good.
func (p *membership) failed() <-chan error {
	if p.member == nil {
		return nil
	}
	return p.member.Failed()
}

// leave closes the registration. No other method may be called after it.
func (p *membership) leave() error {
	if p.member == nil {
		return nil
	}
	close(p.latest)
	p.publishing.Wait()
	return p.member.Close()
}
