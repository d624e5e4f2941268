package eds

import (
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

// Who recorded what a member sent brings it back into service with none of it, however
// it went and however long ago.
func TestReplayPutsNoEndpointBackIntoService(t *testing.T) {
	for name, end := range map[string]func(*world, *gossip.Pool){
		"who left": func(w *world, p *gossip.Pool) {
			if err := p.Leave(w.t.Context()); err != nil {
				w.t.Error(err)
			}
		},
		"who was killed": (*world).kill,
		"whose machine is gone": func(w *world, p *gossip.Pool) {
			addr := p.Self().Gossip
			w.net.Cut(addr)
			w.endpoints.set(func() { w.endpoints.silent[addr.Addr()] = true })
			_ = p.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openTestDB(t)
			play(t, func(t *testing.T, w *world) {
				s := w.eds(gossip.Options{}, db)
				w.upstream(s.pool)
				w.upstream(s.pool)
				p, tape := w.taped(s.pool)
				w.within(10*time.Second, "all are served", func() bool { return served(s.Snapshot()) == 3 })
				time.Sleep(time.Minute) // so that it exchanges its state with others
				tape.Stop()             // its last words are what an attacker leaves out
				end(w, p)
				w.within(time.Minute, "it is not served", func() bool { return served(s.Snapshot()) == 2 })
				stranger := w.net.Transport(w.addr())
				for _, later := range []time.Duration{10 * time.Second, 2 * time.Minute, time.Hour} { // then it is not listed any more
					time.Sleep(later)
					s.forget()
					if packets, streams := tape.Replay(stranger); packets == 0 || streams == 0 {
						t.Fatalf("%d packets and %d streams were recorded", packets, streams)
					}
					time.Sleep(time.Minute)
					if n := s.most(served); n > 2 {
						t.Errorf("after %s more a replay has it served", later)
					}
					if n := s.most(alive); later > time.Minute && n < 4 { // memberlist remembers for half a minute
						t.Errorf("after %s more the replay does nothing: at most %d are alive", later, n)
					}
				}
			})
		})
	}
}

// Its proofs are kept; without them no endpoint would be in service until all are challenged again.
func TestPoolReturnsToServiceAfterALongPartition(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, db)
		for range 3 {
			w.upstream(s.pool)
		}
		w.within(10*time.Second, "all are served", func() bool { return served(s.Snapshot()) == 3 })
		w.net.Cut(s.pool.Self().Gossip)
		w.endpoints.set(func() { w.endpoints.deaf = true })
		time.Sleep(65 * time.Minute)
		s.forget()
		w.net.Heal(s.pool.Self().Gossip)
		w.endpoints.set(func() { w.endpoints.deaf = false })
		w.within(time.Minute, "all are back", func() bool { return alive(s.Snapshot()) == 4 })
		time.Sleep(10 * time.Second)
		if n := s.least(); n != 3 {
			t.Errorf("when it was back %d were served", n)
		}
	})
}

// taped is upstream of which everything is recorded that it sends.
func (w *world) taped(seed *gossip.Pool) (*gossip.Pool, *memnet.Tape) {
	bind := w.addr()
	tape := memnet.NewTape(w.net.Transport(bind))
	return w.join(w.serving(bind), gossip.Options{Bind: bind, Transport: tape, Seeds: []string{seed.Self().Gossip.String()}}), tape
}

// most is the largest count of all that was published.
func (s *node) most(count func(*registry.Snapshot) int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := count(s.Snapshot())
	for _, snap := range s.snapshot {
		most = max(most, count(snap))
	}
	return most
}
