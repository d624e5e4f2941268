package gossip

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func node(t *testing.T, host byte, health fleet.Health) *memberlist.Node {
	t.Helper()
	m := upstreamMember()
	m.Endpoint.Health = health
	meta, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return &memberlist.Node{Name: m.ID.String(), Addr: []byte{10, 0, 0, host}, Port: DefaultPort, Meta: meta}
}

func newTestMembers(t *testing.T) *members {
	t.Helper()
	self := node(t, 1, fleet.Healthy)
	ms := newMembers(self.Name, slog.New(slog.DiscardHandler), newThrottle(), noAdmission())
	ms.NotifyJoin(self)
	return ms
}

func TestDeadMembersAreTriedForHoursAndThoseThatLeftAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := newTestMembers(t)
		dead, left := node(t, 2, fleet.Healthy), node(t, 3, fleet.Draining)
		for _, n := range []*memberlist.Node{dead, left} {
			ms.NotifyJoin(n)
			ms.NotifyLeave(n)
		}
		for _, c := range []struct {
			after             time.Duration
			listed, kept, try int
		}{{0, 3, 3, 1}, {2 * time.Hour, 1, 2, 1}, {7 * time.Hour, 1, 1, 0}} {
			time.Sleep(c.after)
			ms.sweep(time.Now())
			if _, try := ms.addresses(); len(try) != c.try || len(ms.list()) != c.listed || len(ms.byName) != c.kept {
				t.Errorf("after %s: %d listed, %d kept, %v to try, want %+v", c.after, len(ms.list()), len(ms.byName), try, c)
			}
		}
	})
}

func TestAnAddressThatIsInUseAgainIsNotTried(t *testing.T) {
	ms := newTestMembers(t)
	old := node(t, 2, fleet.Healthy)
	ms.NotifyJoin(old)
	ms.NotifyJoin(node(t, 2, fleet.Healthy))
	ms.NotifyLeave(old)
	alive, dead := ms.addresses()
	if addr := netip.MustParseAddrPort("10.0.0.2:7946"); !alive[addr] || len(dead) != 0 {
		t.Errorf("alive are %v, to try are %v", alive, dead)
	}
	if n := ms.others(); n != 1 {
		t.Errorf("%d others, want the new one", n)
	}
}

func TestGoneMembersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := newTestMembers(t)
		first := node(t, 2, fleet.Healthy)
		for i := range maxGone + 10 {
			n := *first
			n.Name = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)).String()
			ms.NotifyJoin(&n)
			ms.NotifyLeave(&n)
			time.Sleep(time.Millisecond)
		}
		if len(ms.byName) != maxGone+1 || ms.gone != maxGone {
			t.Errorf("%d members are kept, %d of them gone, want this one and %d", len(ms.byName), ms.gone, maxGone)
		}
		oldest := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, 0)).String()
		if _, ok := ms.byName[oldest]; ok {
			t.Error("the one that is gone for longest was kept")
		}
	})
}

func TestAMemberOwnsWhatItWasTold(t *testing.T) {
	ms := newTestMembers(t)
	n := node(t, 2, fleet.Healthy)
	ms.NotifyJoin(n)
	clear(n.Meta)
	clear(n.Addr)
	for _, m := range ms.list() {
		if m.Service != "myservice" || m.Gossip.Addr() == netip.IPv4Unspecified() {
			t.Errorf("the member changed with memberlist's memory: %+v", m)
		}
	}
}

// A direct update is not signed: unless gossip confirms it, it is dropped.
func TestAWordThatGossipDoesNotBearOutIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := newTestMembers(t)
		n := node(t, 2, fleet.Healthy)
		ms.NotifyJoin(n)
		said, _ := ms.find(uuid.MustParse(n.Name))
		word := *said
		word.Revision, word.Endpoint.Health = math.MaxUint64-9, fleet.Draining
		ms.hear(word)
		for range 2 { // gossip repeats itself meanwhile
			if got, _ := ms.find(said.ID); got.Endpoint.Health != fleet.Draining {
				t.Fatalf("the word is not heeded: %+v", got)
			}
			ms.NotifyUpdate(n)
			time.Sleep(wordKeeps / 2) // and so does who made it up
			word.Revision++
			ms.hear(word)
		}
		ms.sweep(time.Now())
		if got, _ := ms.find(said.ID); got.Endpoint.Health != fleet.Healthy || got.Revision != said.Revision {
			t.Errorf("after %s it is %+v", wordKeeps, got)
		}
	})
}

// memberlist hands over old news of members that are gone, in every exchange.
func TestOldNewsOfKnownMembersTakesNoRoomFromNewOnes(t *testing.T) {
	ms := newTestMembers(t)
	ms.MaxMembers, ms.MaxMembersPerAddr, ms.room = 10, 10, 10
	gone := node(t, 2, fleet.Healthy)
	ms.NotifyJoin(gone)
	ms.NotifyLeave(gone)
	for range 100 {
		_ = ms.NotifyAlive(gone)
	}
	if err := ms.NotifyAlive(node(t, 3, fleet.Healthy)); err != nil {
		t.Errorf("a new member is refused: %v", err)
	}
}
