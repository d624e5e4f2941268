package fleet

import (
	"crypto/ed25519"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func signedMember(t *testing.T) (Member, ed25519.PrivateKey, ed25519.PublicKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Sign("rollcall", Member{
		ID: uuid.New(), Role: RoleUpstream, Version: FormatVersion, Started: time.UnixMilli(1_700_000_000_000), Revision: 3, Service: "payments",
		Endpoint: Endpoint{Addr: netip.MustParseAddrPort("10.0.0.7:8080"), Weight: 1, Health: Healthy},
		Probe:    Probe{Kind: ProbeTCP},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return m, key, pub
}

func TestASignatureCoversAllThatAMemberSays(t *testing.T) {
	m, _, pub := signedMember(t)
	meta, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(meta)
	if err != nil {
		t.Fatal(err)
	}
	got.ID = m.ID
	got.Gossip, got.Liveness, got.Since = netip.MustParseAddrPort("10.0.0.7:7946"), Alive, time.Now() // set by observers
	other, _, _ := ed25519.GenerateKey(nil)
	if !Verify("rollcall", got, []ed25519.PublicKey{other, pub}) {
		t.Error("a good signature is refused after a round trip")
	}
	for name, change := range map[string]func(*Member){
		"another id":             func(m *Member) { m.ID = uuid.New() },
		"another address":        func(m *Member) { m.Endpoint.Addr = netip.MustParseAddrPort("10.0.0.9:5432") },
		"another service":        func(m *Member) { m.Service = "users" },
		"another weight":         func(m *Member) { m.Endpoint.Weight = 100 },
		"another revision":       func(m *Member) { m.Revision++ },
		"another health":         func(m *Member) { m.Endpoint.Health = Draining },
		"another role":           func(m *Member) { *m = Member{ID: m.ID, Role: RoleEDS, Started: m.Started, Signature: m.Signature} },
		"none":                   func(m *Member) { m.Signature = "" },
		"a cut one":              func(m *Member) { m.Signature = m.Signature[:80] },
		"a changed one":          func(m *Member) { m.Signature = strings.Repeat("A", 86) },
		"one that is not base64": func(m *Member) { m.Signature = strings.Repeat("!", 86) },
	} {
		changed := got
		change(&changed)
		if Verify("rollcall", changed, []ed25519.PublicKey{pub}) {
			t.Errorf("%s: the signature still holds", name)
		}
	}
	if Verify("blue", got, []ed25519.PublicKey{pub}) {
		t.Error("the signature holds in another fleet")
	}
	if Verify("rollcall", got, []ed25519.PublicKey{other}) || Verify("rollcall", got, nil) {
		t.Error("the signature holds with another key, or with none")
	}
}

func TestSignatureCoversUnknownFields(t *testing.T) {
	m, key, pub := signedMember(t)
	later := m
	later.Signature, later.Unknown = "", `"i":5000,"later":{"a":[1, 2]}` // as a later version of rollcall writes them
	b, err := later.signed("rollcall")
	if err != nil {
		t.Fatal(err)
	}
	later.Signature = signatureCoding.EncodeToString(ed25519.Sign(key, b))
	meta, err := Encode(later)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(meta)
	if err != nil {
		t.Fatalf("Decode(%s): %v", meta, err)
	}
	got.ID = m.ID
	if !Verify("rollcall", got, []ed25519.PublicKey{pub}) {
		t.Errorf("a later version's signature is refused: %s", meta)
	}
	got.Unknown = `"i":6000`
	if Verify("rollcall", got, []ed25519.PublicKey{pub}) {
		t.Error("a changed field does not break the signature")
	}
}
