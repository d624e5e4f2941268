package admit

import (
	"crypto/ed25519"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// holders are keys by service.
type holders struct {
	of map[string][]ed25519.PublicKey
}

func ownedBy(service string, keys ...ed25519.PublicKey) *holders {
	return &holders{map[string][]ed25519.PublicKey{service: keys}}
}

func (o *holders) Owned(service string) ([]ed25519.PublicKey, bool) {
	keys := o.of[service]
	return keys, len(keys) > 0
}

func member(n byte, change ...func(*fleet.Member)) fleet.Member {
	m := fleet.Member{
		ID: uuid.UUID{n}, Role: fleet.RoleUpstream, Version: fleet.FormatVersion, Started: time.UnixMilli(1_700_000_000_000), Revision: 1, Service: "payments",
		Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort("10.0.0.7:8080"), Weight: 1, Health: fleet.Healthy},
		Probe:    fleet.Probe{Kind: fleet.ProbeTCP},
		Gossip:   netip.MustParseAddrPort("10.0.0.7:7946"), Liveness: fleet.Alive,
	}
	for _, f := range change {
		f(&m)
	}
	return m
}

func at(gossip, endpoint string) func(*fleet.Member) {
	return func(m *fleet.Member) {
		m.Gossip, m.Endpoint.Addr = netip.MustParseAddrPort(gossip), netip.MustParseAddrPort(endpoint)
	}
}

// proofs are what is known of everybody.
type proofs struct {
	state    vouch.State
	revision uint64
}

func (p *proofs) State(*fleet.Member) vouch.State { return p.state }
func (p *proofs) Revision() uint64                { return p.revision }

func gate(opts Options) *Gate {
	if opts.Proofs == nil {
		opts.Proofs = &proofs{state: vouch.Proven}
	}
	if opts.Owners == nil {
		none := &holders{}
		opts.Owners = func() Owners { return none }
	}
	opts.Fleet = "rollcall"
	return New(opts)
}

func TestMemberRegistersItsOwnAddressOnly(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}
	for _, c := range []struct {
		name             string
		gossip, endpoint string
		state            vouch.State
		allow            []netip.Prefix
		want             string
		cause            Cause
	}{
		{"its own", "10.0.0.7:7946", "10.0.0.7:8080", vouch.Proven, nil, "", ""},
		{"a database's", "10.0.0.7:7946", "10.0.9.9:5432", vouch.Proven, nil, "--allow-address 10.0.9.9/32", Address},
		{"another's that is allowed", "10.0.0.7:7946", "10.0.9.9:5432", vouch.Unasked, allow, "", ""},
		{"another's beside what is allowed", "10.0.0.7:7946", "10.0.8.9:5432", vouch.Proven, allow, "--allow-address 10.0.8.9/32", Address},
		{"said to be its own, and silent", "10.0.9.9:7946", "10.0.9.9:5432", vouch.Silent, nil, "has not answered this server at its gossip address 10.0.9.9:7946", Unproven},
		{"not asked yet", "10.0.0.7:7946", "10.0.0.7:8080", vouch.Unasked, nil, "has not answered", Unproven},
		{"on loopback", "127.0.0.1:7946", "127.0.0.5:8080", vouch.Proven, nil, "", ""},
		{"loopback of whoever asks", "127.0.0.1:7946", "10.0.9.9:5432", vouch.Proven, allow, "an address of every machine", Address},
		{"this machine's from elsewhere", "10.0.0.7:7946", "127.0.0.1:5432", vouch.Proven, nil, "--allow-address 127.0.0.1/32", Address},
	} {
		g := gate(Options{Allow: c.allow, Proofs: &proofs{state: c.state}})
		r := g.Admit([]*fleet.Member{new(member(1, at(c.gossip, c.endpoint)))})
		if got := r.Members[0].Quarantine; (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: the reason is %q, want %q", c.name, got, c.want)
		}
		if c.cause != "" && r.Refused[c.cause] != 1 {
			t.Errorf("%s: refused are %v", c.name, r.Refused)
		}
		if news := len(r.News) == 1; news != (c.cause != "" && c.state != vouch.Unasked) {
			t.Errorf("%s: news are %v", c.name, r.News)
		}
		if pending := r.Pending == 1; pending != (c.cause == Unproven) {
			t.Errorf("%s: pending are %d", c.name, r.Pending)
		}
	}
}

// Whoever is locked out by the removal of a key is dead to gossip, and may answer probes
// as before.
func TestWhoHasNoKeyAnyMoreIsRefusedOnceGossipHasLostIt(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}
	for _, c := range []struct {
		state    vouch.State
		liveness fleet.Liveness
		refused  bool
	}{
		{vouch.Proven, fleet.Dead, false},
		{vouch.Stale, fleet.Alive, false}, {vouch.Stale, fleet.Dead, false}, // it was not asked often enough
		{vouch.Lapsed, fleet.Alive, false}, {vouch.Lapsed, fleet.Dead, true},
	} {
		for _, endpoint := range []string{"10.0.0.7:8080", "10.0.9.9:8080"} {
			m := member(1, at("10.0.0.7:7946", endpoint))
			m.Liveness = c.liveness
			r := gate(Options{Allow: allow, Proofs: &proofs{state: c.state}}).Admit([]*fleet.Member{&m})
			if refused := r.Refused[Unproven] == 1; refused != c.refused {
				t.Errorf("state %d, %s, endpoint %s: refused is %t", c.state, c.liveness, endpoint, refused)
			}
			if len(r.Prove) != 1 {
				t.Errorf("state %d, endpoint %s: it is not challenged", c.state, endpoint)
			}
		}
	}
}

func TestServiceWithAKeyIsServedFromItsHoldersOnly(t *testing.T) {
	pub, key, _ := ed25519.GenerateKey(nil)
	next, nextKey, _ := ed25519.GenerateKey(nil)
	_, stranger, _ := ed25519.GenerateKey(nil)
	known := ownedBy("payments", pub, next)
	sign := func(m fleet.Member, key ed25519.PrivateKey) fleet.Member {
		signed, err := fleet.Sign("rollcall", m, key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := sign(member(1), key)
	stolen := good
	stolen.ID = uuid.UUID{9}
	changed := good
	changed.Endpoint.Weight = 1000
	g := gate(Options{Owners: func() Owners { return known }})
	for _, c := range []struct {
		name string
		m    fleet.Member
		want string
	}{
		{"signed", good, ""},
		{"changed after it was signed", changed, "by none of its 2 keys"},
		{"signed again", good, ""},
		{"signed with the next key", sign(member(2), nextKey), ""},
		{"not signed", member(3), "--service-key"},
		{"signed by a stranger", sign(member(4), stranger), "by none of its 2 keys"},
		{"another's signature", stolen, "by none of its 2 keys"},
		{"another service, which is free", member(5, func(m *fleet.Member) { m.Service = "users" }), ""},
	} {
		r := g.Admit([]*fleet.Member{new(c.m)})
		if got := r.Members[0].Quarantine; (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: the reason is %q, want %q", c.name, got, c.want)
		}
	}
	known = ownedBy("payments", next) // the old key is taken away
	if r := g.Admit([]*fleet.Member{new(good)}); r.Refused[Signature] != 1 {
		t.Error("a member is admitted by a key that was taken away")
	}
}

func TestAdmissionIsBoundedAndAdmittedMembersStay(t *testing.T) {
	g := gate(Options{MaxServices: 2, MaxEndpoints: 2})
	of := func(n byte, service string) fleet.Member {
		return member(n, func(m *fleet.Member) { m.Service = service })
	}
	r := g.Admit([]*fleet.Member{new(of(5, "a")), new(of(6, "b")), new(of(7, "b"))})
	if len(r.Refused) != 0 {
		t.Fatalf("refused are %v", r.Refused)
	}
	flood := []*fleet.Member{new(of(1, "b")), new(of(2, "c")), new(of(5, "a")), new(of(6, "b")), new(of(7, "b")), new(of(8, "a")), new(of(9, "a"))}
	r = g.Admit(flood)
	if r.Refused[Services] != 1 || r.Refused[Endpoints] != 2 {
		t.Errorf("refused are %v", r.Refused)
	}
	for i, refused := range []bool{true, true, false, false, false, false, true} {
		if got := r.Members[i].Quarantine; (got != "") != refused {
			t.Errorf("member %d is refused for %q", i, got)
		}
	}
	if len(r.News) != 3 {
		t.Errorf("news are %v", r.News)
	}
	again := []*fleet.Member{new(of(1, "b")), new(of(6, "b")), new(of(7, "b"))}
	again[1].Liveness = fleet.Dead
	r = g.Admit(again)
	if len(r.Refused) != 0 {
		t.Errorf("the place of one that is gone is not free: %v", r.Refused)
	}
}

func TestRefusalIsNewsOnce(t *testing.T) {
	g := gate(Options{})
	for i := range 3 {
		r := g.Admit([]*fleet.Member{new(member(1, at("10.0.0.7:7946", "10.0.9.9:5432")))})
		if want := i == 0; (len(r.News) == 1) != want {
			t.Errorf("turn %d: news are %v", i, r.News)
		}
	}
}
