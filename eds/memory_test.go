package eds

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/rollcall-fleet/rollcall/eds/internal/follow"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/gossip"
)

func TestServedEndpointIsRememberedFromTheFirstMoment(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		at := make(chan int, 100) // how many are on disk when something is published
		w.published = func(snap *registry.Snapshot) {
			if served(snap) == 1 {
				members, err := follow.NewMemory(db, uuid.Nil, func(string) {}, slog.New(slog.DiscardHandler)).Recall()
				if err != nil {
					t.Error(err)
				}
				at <- len(members)
			}
		}
		s := w.eds(gossip.Options{}, db)
		w.upstream(s.pool)
		w.within(10*time.Second, "it is served", func() bool { return served(s.Snapshot()) == 1 })
		synctest.Wait()
		if n := <-at; n != 1 {
			t.Errorf("%d members are on disk when the first endpoint is published, want 1", n)
		}
	})
}
