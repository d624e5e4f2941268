package upstream

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
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
				note := func(server uuid.UUID, state fleet.ReceiptState, revision uint64, clients int) {
					l.note(fleet.Receipt{Server: server, State: state, Revision: revision, Clients: clients})
				}
				note(a, fleet.ReceiptServing, 1, tt.first)
				note(b, fleet.ReceiptServing, 1, tt.second)
				members := []*fleet.Member{
					{ID: a, Role: fleet.RoleEDS, Liveness: tt.liveness, Since: time.Now()},
					{ID: b, Role: fleet.RoleEDS, Liveness: fleet.Alive, Since: time.Now()},
				}
				if tt.liveness == fleet.Alive {
					note(a, fleet.ReceiptGone, 2, tt.first)
				}
				began := time.Now()
				var st standing
				for i := 0; ; i++ {
					if i < len(tt.came) {
						note(b, fleet.ReceiptGone, 2, tt.came[i])
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

// An EDS server is killed and started again at its address, once and again, and its only
// Envoy follows it. Then the upstream drains.
func TestDrainCountsAnEnvoyOnceThatFollowsARestartedServer(t *testing.T) {
	for _, tt := range []struct {
		name     string
		address  string        // of the new server
		noticed  time.Duration // from the new server's first receipt until gossip notices the death
		restarts int
	}{
		{name: "gossip notices late", address: "127.0.0.1:7946", noticed: 3 * time.Second, restarts: 1},
		{name: "twice", address: "127.0.0.1:7946", noticed: 3 * time.Second, restarts: 2},
		{name: "at another address", address: "127.0.0.2:7946", noticed: -time.Second, restarts: 1},
		{name: "at another address, twice", address: "127.0.0.2:7946", noticed: -time.Second, restarts: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger()
				last := &fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Gossip: netip.MustParseAddrPort("127.0.0.1:7946"), Liveness: fleet.Alive}
				members := []*fleet.Member{last}
				l.note(fleet.Receipt{Server: last.ID, State: fleet.ReceiptServing, Revision: 1, Clients: 1})
				for range tt.restarts {
					time.Sleep(2 * time.Second)
					last.Liveness, last.Since = fleet.Dead, time.Now().Add(tt.noticed)
					last = &fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Gossip: netip.MustParseAddrPort(tt.address), Liveness: fleet.Alive}
					members = append(members, last)
					l.note(fleet.Receipt{Server: last.ID, State: fleet.ReceiptServing, Revision: 1, Clients: 1})
				}
				time.Sleep(orphaned + 3*time.Second) // until its Envoys are waited for no longer
				began := time.Now()
				l.note(fleet.Receipt{Server: last.ID, State: fleet.ReceiptGone, Revision: 2, Clients: 1})
				if st := l.standing(members, 2, began); len(st.behind) > 0 || st.unknown != nil {
					t.Errorf("waits for %q, %v: want none, the Envoy has let go", st.behind, st.unknown)
				}
			})
		})
	}
}

// A weight that changes after the death of another server has this one count again, with
// the Envoys that came from there.
func TestDrainGoesByTheCountBeforeTheDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := newLedger(), uuid.New(), uuid.New()
		l.note(fleet.Receipt{Server: a, State: fleet.ReceiptServing, Revision: 1, Clients: 2})
		l.note(fleet.Receipt{Server: b, State: fleet.ReceiptServing, Revision: 1, Clients: 1})
		members := []*fleet.Member{
			{ID: a, Role: fleet.RoleEDS, Liveness: fleet.Dead, Since: time.Now().Add(time.Second)},
			{ID: b, Role: fleet.RoleEDS, Liveness: fleet.Alive},
		}
		time.Sleep(2 * orphaned)
		l.note(fleet.Receipt{Server: b, State: fleet.ReceiptServing, Revision: 2, Clients: 3})
		began := time.Now()
		l.note(fleet.Receipt{Server: b, State: fleet.ReceiptGone, Revision: 3, Clients: 3})
		if st := l.standing(members, 3, began); len(st.behind) > 0 || st.unknown != nil {
			t.Errorf("waits for %q, %v: want none", st.behind, st.unknown)
		}
		l.note(fleet.Receipt{Server: b, State: fleet.ReceiptGone, Revision: 3, Clients: 2})
		if st := l.standing(members, 3, began); st.unknown == nil {
			t.Error("an Envoy that never came is not missed")
		}
	})
}
