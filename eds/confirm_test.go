package eds

import (
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/gossip"
)

// Once the confirmation that silent endpoints are dead is answered, they are removed.
func TestConfirmedGuardHasEndedWhenTheAnswerArrives(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, db)
		var fleet []*gossip.Pool
		for range 10 {
			fleet = append(fleet, w.upstream(s.pool))
		}
		w.within(10*time.Second, "all 10 are served", func() bool { return served(s.Snapshot()) == 10 })
		for _, p := range fleet[:6] {
			at := p.Self().Gossip
			w.net.Cut(at)
			w.endpoints.set(func() { w.endpoints.silent[at.Addr()] = true })
		}
		time.Sleep(time.Minute)
		if held, err := s.Confirm(t.Context(), service); !held || err != nil {
			t.Errorf("confirmed: %v, %v", held, err)
		}
		if n := served(s.Snapshot()); n != 4 {
			t.Errorf("%d are served when the answer comes, want 4", n)
		}
		if held, err := s.Confirm(t.Context(), service); held || err != nil {
			t.Errorf("confirmed again: %v, %v", held, err)
		}
	})
}
