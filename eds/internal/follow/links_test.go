package follow

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// linkStage counts the links that are open to each member.
type linkStage struct {
	mu    sync.Mutex
	open  map[uuid.UUID][]*fakeStream
	tries map[uuid.UUID]int
	deny  map[uuid.UUID]bool
}

type fakeStream struct {
	once   sync.Once
	closed chan struct{}
}

func (s *fakeStream) Read() (gossip.Report, error) {
	<-s.closed
	return gossip.Report{}, io.EOF
}

func (s *fakeStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *linkStage) link(_ context.Context, m *fleet.Member) (Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[m.ID]++
	if s.deny[m.ID] {
		return nil, errors.New("it takes none")
	}
	f := &fakeStream{closed: make(chan struct{})}
	s.open[m.ID] = append(s.open[m.ID], f)
	return f, nil
}

func (s *linkStage) standing(id uuid.UUID) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.open[id] {
		select {
		case <-f.closed:
		default:
			n++
		}
	}
	return n
}

func TestLinksAreHeldToLiveUpstreamsThatAreProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stage := &linkStage{open: make(map[uuid.UUID][]*fakeStream), tries: make(map[uuid.UUID]int), deny: make(map[uuid.UUID]bool)}
		l := NewLinks(stage.link, func(*fleet.Member) {}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx) })
		member := func(change func(*fleet.Member)) *fleet.Member {
			m := &fleet.Member{ID: uuid.New(), Role: fleet.RoleUpstream, Liveness: fleet.Alive, Gossip: netip.MustParseAddrPort("10.0.0.1:1"), Probe: fleet.Probe{Kind: fleet.ProbeHTTP}}
			change(m)
			return m
		}
		good := member(func(*fleet.Member) {})
		old := member(func(m *fleet.Member) { stage.deny[m.ID] = true })
		none := []*fleet.Member{
			member(func(m *fleet.Member) { m.Role = fleet.RoleEDS }),
			member(func(m *fleet.Member) { m.Quarantine = "it lies" }),
			member(func(m *fleet.Member) { m.Liveness = fleet.Dead }),
			member(func(m *fleet.Member) { m.Probe.Kind = fleet.ProbeNone }), // probed over its own
		}
		l.Update(&registry.Snapshot{Members: append([]*fleet.Member{good, old}, none...)})
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := stage.standing(good.ID); n != 1 || stage.tries[good.ID] != 1 {
			t.Errorf("%d links stand after %d tries", n, stage.tries[good.ID])
		}
		if n := stage.tries[old.ID]; n < 10 || n > 40 {
			t.Errorf("a member that takes none was tried %d times in 10 min", n)
		}
		for _, m := range none {
			if stage.tries[m.ID] > 0 {
				t.Errorf("a link to %+v was tried", m)
			}
		}

		stage.open[good.ID][0].Close() // it broke
		time.Sleep(time.Second)
		synctest.Wait()
		if n := stage.standing(good.ID); n != 1 {
			t.Errorf("%d links stand after one broke", n)
		}
		moved := *good
		moved.Gossip = netip.MustParseAddrPort("10.0.0.2:1")
		l.Update(&registry.Snapshot{Members: []*fleet.Member{&moved}})
		synctest.Wait()
		if n := stage.standing(good.ID); n != 1 || len(stage.open[good.ID]) != 3 {
			t.Errorf("%d links stand after the member moved, of %d", n, len(stage.open[good.ID]))
		}
		l.Update(&registry.Snapshot{})
		synctest.Wait()
		if n := stage.standing(good.ID); n != 0 {
			t.Errorf("%d links stand to a member that has gone", n)
		}
		cancel()
		wg.Wait()
	})
}
