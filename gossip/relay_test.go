package gossip

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

func TestFreshReportsOfOthers(t *testing.T) {
	t.Parallel()
	server := open(t, Options{Member: fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now()}})
	relay := open(t, Options{Seeds: seedOf(server)})
	q := open(t, Options{Seeds: seedOf(server)})
	var members []*fleet.Member
	for _, p := range []*Pool{relay, q} {
		m := sees(t, server, p.id, is(fleet.Alive))
		members = append(members, &m)
		sees(t, p, server.id, is(fleet.Alive))
	}
	sees(t, relay, q.id, is(fleet.Alive))
	sees(t, q, relay.id, is(fleet.Alive))
	asked, subject := members[0], members[1]
	unreachable := *subject // from the server; a relay has an address of its own for it
	unreachable.Gossip = fleet.Member{}.Gossip
	if !server.Elsewhere(t.Context(), &unreachable, []*fleet.Member{asked}) {
		t.Error("a member that answers a relay is not reported")
	}
	if server.Elsewhere(t.Context(), subject, nil) {
		t.Error("a report without a relay")
	}
	stranger := fleet.Member{ID: uuid.New(), Gossip: subject.Gossip}
	if server.Elsewhere(t.Context(), &stranger, []*fleet.Member{asked}) {
		t.Error("a member that no relay knows is reported")
	}
	self := sees(t, q, relay.id, is(fleet.Alive))
	if q.Elsewhere(t.Context(), asked, []*fleet.Member{&self}) {
		t.Error("an upstream's question is answered")
	}
	_ = q.Close()
	if server.Elsewhere(t.Context(), subject, []*fleet.Member{asked}) {
		t.Error("a member that died is reported, though gossip may still call it alive")
	}
	eventually(t, func() bool {
		relay.relaying.mu.Lock()
		defer relay.relaying.mu.Unlock()
		return len(relay.relaying.open) == 0
	}, "questions stay open")
	if n := len(server.challenges.open); n != 0 {
		t.Errorf("%d questions are left", n)
	}
}

// A question that is repeated is worked on once, and many are not worked on all.
func TestQuestionsAreBounded(t *testing.T) {
	var r relaying
	begun := 0
	for i := range 2 * relaysAtOnce {
		for range 3 {
			if r.begin([nonceSize]byte{byte(i)}) {
				begun++
			}
		}
	}
	if begun != relaysAtOnce {
		t.Errorf("%d questions are worked on at once", begun)
	}
	r.end([nonceSize]byte{0})
	if !r.begin([nonceSize]byte{200}) {
		t.Error("no further question is worked on")
	}
}

// Where EDS servers have a key, no other member may ask.
func TestOnlyEDSServersMayAsk(t *testing.T) {
	if !message.Question.ByEDS() || message.Report.ByEDS() {
		t.Error("questions are an EDS server's, reports any member's")
	}
}
