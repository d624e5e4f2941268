package upstream

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// Two EDS servers, of which the first dies without a word as the drain begins. A count is
// of Envoys: served by each before, and by the second one after so long.
func TestDrainAccountsForTheEnvoysOfALostServer(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second int
		liveness      fleet.Liveness
		came          []int // of the second server's receipts, a second apart
		want          time.Duration
		known         bool
	}{
		{name: "they came to the other one", first: 2, second: 1, liveness: fleet.Dead, came: []int{1, 3}, want: orphaned, known: true},
		{name: "they come late", first: 1, second: 1, liveness: fleet.Dead, came: []int{1, 1, 1, 1, 1, 1, 2}, want: 6 * time.Second, known: true},
		{name: "one never comes", first: 2, second: 1, liveness: fleet.Dead, came: []int{2}, want: unaccounted},
		{name: "it had none", second: 1, liveness: fleet.Dead, came: []int{1}, want: orphaned, known: true},
		{name: "it said that it goes", first: 2, second: 1, liveness: fleet.Left, came: []int{1}, want: orphaned, known: true},
		{name: "none is lost", first: 2, second: 1, liveness: fleet.Alive, came: []int{1}, want: 0, known: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, a, b := newLedger(), uuid.New(), uuid.New()
				note := func(server uuid.UUID, state gossip.ReceiptState, revision uint64, clients int) {
					l.note(gossip.Receipt{Server: server, State: state, Revision: revision, Clients: clients})
				}
				note(a, gossip.Serving, 1, tt.first)
				note(b, gossip.Serving, 1, tt.second)
				members := []*fleet.Member{
					{ID: a, Role: fleet.RoleEDS, Liveness: tt.liveness, Since: time.Now()},
					{ID: b, Role: fleet.RoleEDS, Liveness: fleet.Alive, Since: time.Now()},
				}
				if tt.liveness == fleet.Alive {
					note(a, gossip.Gone, 2, tt.first)
				}
				began := time.Now()
				var st standing
				for i := 0; ; i++ {
					if i < len(tt.came) {
						note(b, gossip.Gone, 2, tt.came[i])
					}
					if st = l.standing(members, 2, began); len(st.behind) == 0 {
						break
					}
					time.Sleep(time.Second)
				}
				if took := time.Since(began); took != tt.want {
					t.Errorf("it took %v, want %v", took, tt.want)
				}
				if (st.unknown == nil) != tt.known || !tt.known && (!errors.Is(st.unknown, ErrNotDrained) || !strings.Contains(st.unknown.Error(), "1 of its Envoys")) {
					t.Errorf("unknown is %v", st.unknown)
				}
			})
		})
	}
}

func TestServersThatWereLostLongAgoAreForgotten(t *testing.T) {
	now := time.Now()
	s := serversOf([]*fleet.Member{{ID: uuid.New(), Role: fleet.RoleEDS, Liveness: fleet.Dead, Since: now.Add(-unaccounted)}}, now)
	if len(s.lost) != 0 || s.until.After(now) {
		t.Errorf("%+v", s)
	}
}
