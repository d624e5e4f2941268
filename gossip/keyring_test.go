package gossip

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func edsMember() fleet.Member {
	return fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: upstreamMember().Started}
}

func ask(t *testing.T, p *Pool, q KeyQuery, want int) []KeyAnswer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answers := p.AskKeys(ctx, q)
	if len(answers) != want {
		t.Fatalf("%d answers, want %d: %+v", len(answers), want, answers)
	}
	for _, a := range answers {
		if a.Problem != "" {
			t.Fatalf("%s of %s: %s", q.Op, a.Member, a.Problem)
		}
	}
	return answers
}

func TestAKeyIsRotatedUnderLoadAndNoMemberIsLost(t *testing.T) {
	t.Parallel()
	old, next := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	key, pub := newKey(1)
	file := filepath.Join(t.TempDir(), "gossip.key")
	server := open(t, Options{Member: edsMember(), Keys: [][]byte{old}, KeyFile: file, SigningKey: key, EDSKeys: keysOf(pub)})
	const n = 6
	var ups []*Pool
	for range n {
		ups = append(ups, open(t, Options{Keys: [][]byte{old}, EDSKeys: keysOf(pub), Seeds: seedOf(server)}))
	}
	for _, u := range ups {
		sees(t, server, u.Self().ID, is(fleet.Alive))
		sees(t, u, server.Self().ID, is(fleet.Alive))
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // the load
		defer close(done)
		for weight := uint32(1); ctx.Err() == nil; weight = weight%100 + 1 {
			for _, u := range ups {
				m := u.Self()
				m.Endpoint.Weight = weight
				_, _ = u.Announce(m)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	ask(t, server, KeyQuery{Op: AddKey, Key: next}, n+1)
	ask(t, server, KeyQuery{Op: UseKey, Fingerprint: FingerprintOf(next)}, n+1)
	ask(t, server, KeyQuery{Op: RemoveKey, Fingerprint: FingerprintOf(old)}, n+1)
	for _, a := range ask(t, server, KeyQuery{Op: ListKeys}, n+1) {
		if len(a.Keys) != 1 || a.Keys[0] != FingerprintOf(next) {
			t.Errorf("%s has keys %v", a.Member, a.Keys)
		}
	}
	time.Sleep(3 * time.Second) // longer than a false death takes
	stop()
	<-done
	for _, m := range server.Members() {
		if m.Liveness != fleet.Alive {
			t.Errorf("lost a member: %+v", m)
		}
	}
	keys, err := ReadKeyFile(file)
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0], next) {
		t.Errorf("the file holds %d keys, %v", len(keys), err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v, %v", info.Mode(), err)
	}
	late := open(t, Options{Keys: [][]byte{next}, EDSKeys: keysOf(pub), Seeds: seedOf(server)})
	sees(t, server, late.Self().ID, is(fleet.Alive))
}

func TestOnlyAnEDSServerAsksForKeys(t *testing.T) {
	t.Parallel()
	old := bytes.Repeat([]byte{1}, 32)
	_, pub := newKey(1)
	forged, _ := newKey(2)
	for name, c := range map[string]struct {
		member fleet.Member
		key    ed25519.PrivateKey
		trust  []ed25519.PublicKey
	}{
		"an upstream":                    {upstreamMember(), nil, nil},
		"an EDS server without a key":    {edsMember(), nil, keysOf(pub)},
		"an EDS server with another key": {edsMember(), forged, keysOf(pub)},
	} {
		p := open(t, Options{Keys: [][]byte{old}, EDSKeys: c.trust})
		thief := open(t, Options{Member: c.member, Keys: [][]byte{old}, SigningKey: c.key, Seeds: seedOf(p)})
		sees(t, thief, p.Self().ID, is(fleet.Alive))
		sees(t, p, thief.Self().ID, is(fleet.Alive))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if answers := thief.AskKeys(ctx, KeyQuery{Op: AddKey, Key: bytes.Repeat([]byte{9}, 32)}); len(answers) != 1 {
			t.Errorf("%s is answered: %+v", name, answers)
		}
		cancel()
		if n := len(p.keyring.fingerprints()); n != 1 {
			t.Errorf("%s changed the keys: there are %d", name, n)
		}
	}
}

func TestAKeyringRefusesWhatWouldLockItOut(t *testing.T) {
	t.Parallel()
	old := bytes.Repeat([]byte{1}, 32)
	p := open(t, Options{Keys: [][]byte{old}, KeyFile: filepath.Join(t.TempDir(), "no", "such", "folder")})
	if a := p.carryOut(KeyQuery{Op: RemoveKey, Fingerprint: FingerprintOf(old)}); a.Problem == "" || len(a.Keys) != 1 {
		t.Errorf("the key in use is removed: %+v", a)
	}
	if a := p.carryOut(KeyQuery{Op: UseKey, Fingerprint: Fingerprint{1}}); a.Problem == "" {
		t.Errorf("a key that is not there is used: %+v", a)
	}
	for i := range maxKeysHeld + 2 {
		a := p.carryOut(KeyQuery{Op: AddKey, Key: bytes.Repeat([]byte{byte(i + 1)}, 32)})
		if i == 1 && (a.Saved != NotSaved || a.Problem == "" || len(a.Keys) != 2) {
			t.Errorf("a key that is added and not saved: %+v", a)
		}
		if len(a.Keys) > maxKeysHeld {
			t.Fatalf("there are %d keys", len(a.Keys))
		}
	}
	plain := open(t, Options{})
	if a := plain.carryOut(KeyQuery{Op: AddKey, Key: old}); a.Problem == "" {
		t.Errorf("a pool without encryption takes a key: %+v", a)
	}
}

func FuzzMessages(f *testing.F) {
	key, pub := newKey(1)
	self, server := uuid.New(), uuid.New()
	e := &envelopes{fleet: "rollcall", sign: key}
	for _, m := range []message{
		{kind: messageMissing, member: self, sender: server},
		{kind: messageReceipt, member: self, sender: server, body: Receipt{Revision: 1, State: Gone, Behind: "envoy-1"}.encode()},
		{kind: messageChallenge, member: self, sender: server, body: make([]byte, nonceSize)},
		{kind: messageKeyQuery, member: self, sender: server, body: KeyQuery{Op: UseKey}.encode()},
		{kind: messageKeyAnswer, member: self, sender: server, body: KeyAnswer{Keys: []Fingerprint{{1}}, Problem: "no"}.encode(uuid.New())},
	} {
		f.Add(m.encode())
		f.Add(e.seal(self, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range []*envelopes{{self: self}, {fleet: "rollcall", self: self, trust: keysOf(pub)}} {
			m, err := e.open(b)
			if err != nil {
				continue
			}
			_, _ = decodeWord(m)
			_, _ = decodeReceipt(m.body)
			if q, err := decodeKeyQuery(m.body); err == nil && !bytes.Equal(q.encode(), m.body) {
				t.Fatalf("query %x is written as %x", m.body, q.encode())
			}
			if a, nonce, err := decodeKeyAnswer(m.body); err == nil && !bytes.Equal(a.encode(nonce), m.body) {
				t.Fatalf("answer %x is written as %x", m.body, a.encode(nonce))
			}
		}
	})
}

// FuzzKeyFile reads files of keys: what is taken is some keys of a good length.
func FuzzKeyFile(f *testing.F) {
	for _, seed := range []string{"", "# none", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA== # new\n\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", "AAAA", "not base64"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys(text)
		if err == nil && len(keys) == 0 {
			t.Errorf("%q holds no key, and is taken", text)
		}
		for _, key := range keys {
			if n := len(key); err == nil && n != 16 && n != 24 && n != 32 {
				t.Errorf("%q: a key of %d bytes is taken", text, n)
			}
		}
	})
}
