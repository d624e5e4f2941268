package run

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Register registers an endpoint of a program that is running already, once its health check
// passes, and publishes its health until ctx ends. Then it drains, leaves the pool and
// returns nil. It returns an error when no check passes within StartTimeout, when the
// endpoint cannot be registered, or when the registration fails.
func Register(ctx context.Context, e Endpoint) error {
	if err := e.prepare(); err != nil {
		return err
	}
	return e.follow(ctx, &membership{endpoint: &e, register: e.register})
}

func (e *Endpoint) follow(ctx context.Context, p *membership) (err error) {
	watched, unwatch := context.WithCancel(ctx)
	results, over := make(chan error), make(chan struct{})
	go func() {
		defer close(over)
		e.watch(watched, results, p.servers)
	}()
	defer func() {
		unwatch()
		<-over
		err = errors.Join(err, p.leave())
	}()
	e.Logger.Info("waiting for the health check to pass", "service", e.Service.Name, "address", e.Address)
	starting := time.NewTimer(e.StartTimeout)
	defer starting.Stop()
	var health tally
	last := errors.New("no health check has finished yet")
	for {
		select {
		case result := <-results:
			if last = result; result == nil {
				starting.Stop()
			}
			if health.observe(result) {
				if err := p.update(context.WithoutCancel(ctx), health.healthy, result); err != nil {
					return err
				}
			}
		case <-starting.C:
			return fmt.Errorf("the health check has not passed within %s: %w", e.StartTimeout, last)
		case err := <-p.failed():
			return err
		case <-ctx.Done():
			if p.member == nil {
				return nil
			}
			e.Logger.Info("draining", "service", e.Service.Name)
			if err := p.member.Drain(context.WithoutCancel(ctx)); err != nil {
				e.Logger.Warn("drain incomplete: stopping anyway", "err", err)
				return nil
			}
			e.Logger.Info("drained", "service", e.Service.Name)
			return nil
		}
	}
}
