package eds

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/follow"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// report opens a stream to the member of a target, which reports for the endpoint.
func (s *server) report(ctx context.Context, t probe.Target) (probe.Stream, error) {
	id, err := uuid.Parse(t.ID)
	if err != nil {
		return nil, probe.ErrNoStream
	}
	give, err := s.files.Take()
	if err != nil {
		return nil, err
	}
	l, err := s.members.Link(ctx, &fleet.Member{ID: id, Gossip: t.Gossip})
	switch {
	case errors.Is(err, gossip.ErrNoLink):
		give()
		return nil, probe.ErrNoStream
	case err != nil:
		give()
		return nil, err
	}
	return &reports{link: l, first: true, give: give}, nil
}

// reports are what a member says over a stream about its endpoint.
type reports struct {
	link  *gossip.Link
	first bool // nothing was read yet
	give  func()
}

// Ask implements probe.Stream.
func (r *reports) Ask() error { return r.link.Ask() }

// Read implements probe.Stream. An endpoint that drains still answers.
func (r *reports) Read() (healthy bool, err error) {
	report := r.link.First
	if !r.first {
		report, err = r.link.Read()
	}
	r.first = false
	return report.Health != fleet.Unhealthy, err
}

// Close implements probe.Stream.
func (r *reports) Close() error {
	defer r.give()
	return r.link.Close()
}

// link opens a stream to a member, while probes can spare the file descriptor.
func (s *server) link(ctx context.Context, m *fleet.Member) (follow.Stream, error) {
	give, err := s.files.TakeSpare()
	if err != nil {
		return nil, err
	}
	l, err := s.members.Link(ctx, m)
	if err != nil {
		give()
		return nil, err
	}
	return sparing{l, give}, nil
}

// sparing is a stream that has a file descriptor which it gives back.
type sparing struct {
	follow.Stream
	give func()
}

// Close implements follow.Stream.
func (s sparing) Close() error {
	defer s.give()
	return s.Stream.Close()
}
