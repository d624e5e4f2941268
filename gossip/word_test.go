package gossip

import (
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// said is n's node with another word of its own, and that word.
func said(t *testing.T, n *memberlist.Node, revision uint64, change func(*fleet.Member)) (*memberlist.Node, fleet.Member) {
	t.Helper()
	m := newTestMembers(t).read(n)
	m.Revision = revision
	change(&m)
	meta, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	next := *n
	next.Meta = meta
	return &next, m
}

func weighs(w uint32) func(*fleet.Member) {
	return func(m *fleet.Member) { m.Endpoint.Weight = w }
}

func drains(m *fleet.Member) { m.Endpoint.Health = fleet.Draining }

func TestALaterWordOutranksAnEarlierOneWhicheverWayItCame(t *testing.T) {
	first := node(t, 2, fleet.Healthy)
	second, word2 := said(t, first, 2, weighs(2))
	third, word3 := said(t, first, 3, weighs(3))
	_, eds := said(t, first, 9, func(m *fleet.Member) {
		*m = fleet.Member{ID: m.ID, Role: fleet.RoleEDS, Version: m.Version, Started: m.Started, Revision: m.Revision}
	})
	for name, c := range map[string]struct {
		play   func(ms *members)
		weight uint32
		is     fleet.Liveness
	}{
		"a word is taken":                    {func(ms *members) { ms.hear(word2) }, 2, fleet.Alive},
		"older gossip does not undo it":      {func(ms *members) { ms.hear(word2); ms.NotifyUpdate(first) }, 2, fleet.Alive},
		"nor does an older word":             {func(ms *members) { ms.hear(word3); ms.hear(word2) }, 3, fleet.Alive},
		"nor an older word newer gossip":     {func(ms *members) { ms.NotifyUpdate(third); ms.hear(word2) }, 3, fleet.Alive},
		"newer gossip does":                  {func(ms *members) { ms.hear(word2); ms.NotifyUpdate(third) }, 3, fleet.Alive},
		"the same by gossip changes nothing": {func(ms *members) { ms.hear(word2); ms.NotifyUpdate(second) }, 2, fleet.Alive},
		"a role does not change":             {func(ms *members) { ms.hear(eds) }, 1, fleet.Alive},
		"the dead say nothing":               {func(ms *members) { ms.NotifyLeave(first); ms.hear(word2) }, 1, fleet.Dead},
		"a death keeps the last word":        {func(ms *members) { ms.hear(word2); ms.NotifyLeave(first) }, 2, fleet.Dead},
		"nothing is heard after the end":     {func(ms *members) { ms.close(); ms.hear(word2) }, 1, fleet.Alive},
	} {
		ms := newTestMembers(t)
		ms.NotifyJoin(first)
		c.play(ms)
		got := ms.byName[first.Name].Member
		if got.Endpoint.Weight != c.weight || got.Liveness != c.is || got.Gossip != address(first) || got.Role != fleet.RoleUpstream {
			t.Errorf("%s: it is %+v, want weight %d, %s", name, got, c.weight, c.is)
		}
	}
}

func TestWhoSaidThatItDrainsHasLeftAlthoughGossipHasNotSaidSo(t *testing.T) {
	ms := newTestMembers(t)
	n := node(t, 2, fleet.Healthy)
	ms.NotifyJoin(n)
	_, word := said(t, n, 1, drains)
	ms.hear(word)
	ms.NotifyLeave(n) // with the metadata from before
	if got := ms.byName[n.Name].Liveness; got != fleet.Left || ms.gone != 1 {
		t.Errorf("it is %s, %d gone, want left and one", got, ms.gone)
	}
}

func TestAWordOfAStrangerIsIgnored(t *testing.T) {
	ms := newTestMembers(t)
	ms.hear(ms.read(node(t, 2, fleet.Healthy)))
	if n := len(ms.list()); n != 1 {
		t.Errorf("%d members are listed", n)
	}
}

// An announcement by gossip alone takes up to half a second, a word milliseconds.
func TestEDSServersHearAChangeAtOnceAndAnswerIt(t *testing.T) {
	t.Parallel()
	server := fleet.Member{ID: upstreamMember().ID, Role: fleet.RoleEDS, Version: fleet.FormatVersion, Started: time.Now()}
	a := open(t, Options{Member: server})
	b := open(t, Options{Seeds: seedOf(a)})
	sees(t, a, b.id, is(fleet.Alive))
	sees(t, b, a.id, is(fleet.Alive))
	best := time.Hour
	var revision uint64
	for range 5 {
		m := change(b.Self())
		began := time.Now()
		var err error
		if revision, err = b.Announce(m); err != nil {
			t.Fatal(err)
		}
		sees(t, a, b.id, func(seen fleet.Member) bool { return seen.Revision == revision })
		best = min(best, time.Since(began))
		sees(t, b, b.id, func(self fleet.Member) bool { return self.Revision == revision })
	}
	if best > 100*time.Millisecond {
		t.Errorf("the quickest of five took %s", best)
	}
	m, _ := find(a, b.id)
	if err := a.SendReceipt(&m, fleet.Receipt{Revision: revision, State: fleet.ReceiptServing, Clients: 2}); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-b.Receipts():
		if want := (fleet.Receipt{Server: a.id, Revision: revision, State: fleet.ReceiptServing, Clients: 2}); r != want {
			t.Errorf("the receipt is %+v, want %+v", r, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no receipt")
	}
	for range 2 * keepReceipts { // without a reader: it must not block
		b.receive(message.Message{Kind: message.Receipt, Member: b.id, Sender: a.id, Body: fleet.EncodeReceipt(fleet.Receipt{State: fleet.ReceiptGone})}.Encode())
	}
	if n := len(b.Receipts()); n != keepReceipts {
		t.Errorf("%d receipts are kept, want %d", n, keepReceipts)
	}
}

func TestAWordAgainstItselfIsUrgent(t *testing.T) {
	ms := newTestMembers(t)
	n := node(t, 2, fleet.Healthy)
	ms.NotifyJoin(n)
	for revision, c := range []struct {
		change func(*fleet.Member)
		urgent bool
	}{
		{weighs(2), false}, {drains, true}, {drains, false}, {weighs(2), false},
		{func(m *fleet.Member) { m.Endpoint.Health = fleet.Unhealthy }, true},
	} {
		_, word := said(t, n, uint64(revision+2), c.change)
		ms.hear(word)
		urgent := false
		select {
		case <-ms.urgent:
			urgent = true
		default:
		}
		if urgent != c.urgent {
			t.Errorf("word %d: urgent %v", revision, urgent)
		}
	}
}
