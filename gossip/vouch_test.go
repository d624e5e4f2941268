package gossip

import (
	"net/netip"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

func TestAMemberIsVouchedForWhereItAnswers(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	q := open(t, Options{Seeds: seedOf(p)})
	r := open(t, Options{Seeds: seedOf(p)})
	m := sees(t, p, q.Self().ID, is(fleet.Alive))
	sees(t, p, r.Self().ID, is(fleet.Alive))
	sees(t, q, p.Self().ID, is(fleet.Alive))
	if !p.Vouch(t.Context(), &m) {
		t.Error("a member is not vouched for at its own address")
	}
	elsewhere := m
	elsewhere.Gossip = r.Self().Gossip
	if p.Vouch(t.Context(), &elsewhere) {
		t.Error("a member is vouched for at another one's address")
	}
	stranger := m
	stranger.ID = uuid.New()
	if p.Vouch(t.Context(), &stranger) {
		t.Error("an id is vouched for where another one gossips")
	}
	elsewhere.Gossip = netip.MustParseAddrPort("127.0.0.1:1")
	if p.Vouch(t.Context(), &elsewhere) {
		t.Error("a member is vouched for where nobody is")
	}
	if n := len(p.challenges.open); n != 0 {
		t.Errorf("%d challenges are left", n)
	}
}

func TestAnAnswerFromElsewhereVouchesForNobody(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	nonce, id := [nonceSize]byte{1}, uuid.New()
	answered := p.challenges.add(nonce, id)
	for _, m := range []message.Message{
		{Kind: message.Answer, Member: p.id, Sender: uuid.New(), Body: nonce[:]},        // another member that saw it
		{Kind: message.Answer, Member: p.id, Sender: id, Body: make([]byte, nonceSize)}, // a guess
		{Kind: message.Answer, Member: p.id, Sender: id},
	} {
		p.receive(m.Encode())
	}
	select {
	case <-answered:
		t.Error("a wrong answer is taken")
	default:
	}
	p.receive(message.Message{Kind: message.Answer, Member: p.id, Sender: id, Body: nonce[:]}.Encode())
	<-answered
}

func TestWhoSaysThatItIsAnEDSServerMustProveIt(t *testing.T) {
	t.Parallel()
	key, pub := newKey(1)
	forged, _ := newKey(2)
	server := func() fleet.Member {
		return fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: upstreamMember().Started}
	}
	p := open(t, Options{EDSKeys: keysOf(pub)})
	real := open(t, Options{Member: server(), SigningKey: key, EDSKeys: keysOf(pub), Seeds: seedOf(p)})
	thief := open(t, Options{Member: server(), SigningKey: forged, Seeds: seedOf(p)})
	plain := open(t, Options{Member: server(), Seeds: seedOf(p)})
	sees(t, p, real.Self().ID, func(m fleet.Member) bool { return m.Role == fleet.RoleEDS && m.Quarantine == "" })
	for _, q := range []*Pool{thief, plain} {
		m := sees(t, p, q.Self().ID, func(m fleet.Member) bool { return m.Quarantine != "" })
		if m.Role != "" {
			t.Errorf("it counts as an EDS server: %+v", m)
		}
	}
	if p.Refused().Forged < 2 {
		t.Errorf("refused: %+v", p.Refused())
	}
	changed := real.Self()
	changed.Endpoint.Health = fleet.Draining // each announcement has a signature of its own
	if _, err := real.Announce(changed); err != nil {
		t.Fatal(err)
	}
	sees(t, p, changed.ID, func(m fleet.Member) bool { return m.Endpoint.Health == fleet.Draining && m.Quarantine == "" })
	self := p.Self()
	for _, c := range []struct {
		from     *Pool
		received bool
	}{{thief, false}, {plain, false}, {real, true}} {
		sees(t, c.from, self.ID, is(fleet.Alive))
		before := p.Refused().Forged
		if err := c.from.SendReceipt(&self, fleet.Receipt{Revision: 1, State: fleet.ReceiptGone}); err != nil {
			t.Fatal(err)
		}
		if c.received {
			if r := <-p.Receipts(); r.Server != real.Self().ID {
				t.Errorf("receipt is of %s", r.Server)
			}
			continue
		}
		eventually(t, func() bool { return p.Refused().Forged > before }, "the forged receipt is not counted")
	}
	if len(p.Receipts()) != 0 {
		t.Error("a forged receipt is believed")
	}
}
