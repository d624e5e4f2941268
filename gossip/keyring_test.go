package gossip

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/text"
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
	const n = 6
	var files []string
	for range n + 1 {
		files = append(files, keyFile(t, old))
	}
	file := files[n]
	server := open(t, Options{Member: edsMember(), Keys: [][]byte{old}, KeyFile: file, SigningKey: key, EDSKeys: keysOf(pub)})
	var ups []*Pool
	for i := range n {
		ups = append(ups, open(t, Options{Keys: [][]byte{old}, KeyFile: files[i], EDSKeys: keysOf(pub), Seeds: seedOf(server)}))
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
	for _, f := range files {
		writeKeys(t, f, old, next)
	}
	eventually(t, func() bool {
		return !slices.ContainsFunc(ask(t, server, KeyQuery{Op: ListKeys}, n+1), func(a KeyAnswer) bool { return len(a.Keys) != 2 || a.Keys[0] != FingerprintOf(old) })
	}, "the files are not followed")
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
			t.Errorf("lost a Member: %+v", m)
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
		if answers := thief.AskKeys(ctx, KeyQuery{Op: ListKeys}); len(answers) != 1 {
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
	if a := p.carryOut(KeyQuery{Op: AddKey}); !strings.Contains(a.Problem, "--gossip-key-file") || len(a.Keys) != 1 {
		t.Errorf("an older EDS server adds a key: %+v", a)
	}
	if a := p.carryOut(KeyQuery{Op: UseKey, Fingerprint: FingerprintOf(old)}); a.Saved != NotSaved || a.Problem == "" {
		t.Errorf("what cannot be saved: %+v", a)
	}
	plain := open(t, Options{})
	if a := plain.carryOut(KeyQuery{Op: UseKey, Fingerprint: FingerprintOf(old)}); a.Problem == "" {
		t.Errorf("a pool without encryption uses a key: %+v", a)
	}
}

// keyFile writes keys to a file of their own.
func keyFile(t *testing.T, keys ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gossip.key")
	writeKeys(t, path, keys...)
	return path
}

func writeKeys(t *testing.T, path string, keys ...[]byte) {
	t.Helper()
	var lines []byte
	for _, k := range keys {
		lines = append(base64.StdEncoding.AppendEncode(lines, k), '\n')
	}
	if err := os.WriteFile(path, lines, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A key that is gone from this member's file alone locks nobody out.
func TestOnlyAKeyThatAnOperatorRemovedIsTold(t *testing.T) {
	key := func(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }
	ring, err := memberlist.NewKeyring([][]byte{key(1), key(2), key(3)}, key(1))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	p := &Pool{log: quiet, removed: latest.NewSignal(), keyring: newKeyring(ring, keyFile(t, key(1), key(2)), quiet)}
	told := func() bool {
		select {
		case <-p.KeyRemoved():
			return true
		default:
			return false
		}
	}
	p.followKeys() // the third is gone
	for _, q := range []KeyQuery{{Op: ListKeys}, {Op: UseKey, Fingerprint: FingerprintOf(key(2))}, {Op: RemoveKey, Fingerprint: FingerprintOf(key(2))}, {Op: RemoveKey, Fingerprint: FingerprintOf(key(3))}} {
		if p.carryOut(q); told() {
			t.Errorf("%s of %s is told as a removal", q.Op, q.Fingerprint)
		}
	}
	if p.carryOut(KeyQuery{Op: RemoveKey, Fingerprint: FingerprintOf(key(1))}); !told() {
		t.Error("a removal is not told")
	}
}

func TestAKeyringFollowsItsFile(t *testing.T) {
	key := func(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }
	var many [][]byte
	for i := range maxKeysHeld + 1 {
		many = append(many, key(byte(i+1)))
	}
	for name, tt := range map[string]struct {
		file, want [][]byte
		err        bool
	}{
		"as it was":                       {[][]byte{key(1)}, [][]byte{key(1)}, false},
		"one more":                        {[][]byte{key(1), key(2)}, [][]byte{key(1), key(2)}, false},
		"one more, before it":             {[][]byte{key(2), key(1)}, [][]byte{key(1), key(2)}, false},
		"another one in its place":        {[][]byte{key(2), key(3)}, [][]byte{key(2), key(3)}, false},
		"none, which changes nothing":     {nil, [][]byte{key(1)}, true},
		"too many, as far as they fit in": {many, many[:maxKeysHeld], true},
	} {
		t.Run(name, func(t *testing.T) {
			path := keyFile(t, tt.file...)
			ring, err := memberlist.NewKeyring([][]byte{key(1)}, key(1))
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			k := newKeyring(ring, path, slog.New(slog.NewTextHandler(&said, nil)))
			if _, err := k.follow(); (err != nil || said.Len() > 0) != tt.err {
				t.Errorf("error %v, it says %s", err, &said)
			}
			var want []Fingerprint
			for _, key := range tt.want {
				want = append(want, FingerprintOf(key))
			}
			if got := k.fingerprints(); !slices.Equal(got, want) {
				t.Errorf("it has %v, want %v", got, want)
			}
			if changed, err := k.follow(); changed || err != nil {
				t.Errorf("nothing has changed: %v, %v", changed, err)
			}
		})
	}
}

func FuzzMessages(f *testing.F) {
	key, pub := newKey(1)
	self, server := uuid.New(), uuid.New()
	e := &message.Envelopes{Fleet: "rollcall", Sign: key}
	for _, m := range []message.Message{
		{Kind: message.Missing, Member: self, Sender: server},
		{Kind: message.Receipt, Member: self, Sender: server, Body: fleet.EncodeReceipt(fleet.Receipt{Revision: 1, State: fleet.ReceiptGone, Behind: "envoy-1"})},
		{Kind: message.Challenge, Member: self, Sender: server, Body: make([]byte, nonceSize)},
		{Kind: message.KeyQuery, Member: self, Sender: server, Body: KeyQuery{Op: UseKey}.encode()},
		{Kind: message.KeyAnswer, Member: self, Sender: server, Body: KeyAnswer{Keys: []Fingerprint{{1}}, Problem: "no"}.encode(uuid.New())},
	} {
		f.Add(m.Encode())
		f.Add(e.Seal(self, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range []*message.Envelopes{{Self: self}, {Fleet: "rollcall", Self: self, Trust: keysOf(pub)}} {
			m, err := e.Open(b)
			if err != nil {
				continue
			}
			_, _ = decodeWord(m)
			_, _ = fleet.DecodeReceipt(m.Body)
			if q, err := decodeKeyQuery(m.Body); err == nil && q.Op != AddKey && !bytes.Equal(q.encode(), m.Body) {
				t.Fatalf("query %x is written as %x", m.Body, q.encode())
			}
			if a, nonce, err := decodeKeyAnswer(m.Body); err == nil {
				if said := a.Problem; text.Clean(said) != said {
					t.Fatalf("problem %q is not clean", said)
				}
				if a.Problem = ""; !bytes.HasPrefix(m.Body, a.encode(nonce)) {
					t.Fatalf("answer %x is written as %x", m.Body, a.encode(nonce))
				}
			}
		}
	})
}

// FuzzKeyFile reads files of keys: what is taken is some keys of a good length.
func FuzzKeyFile(f *testing.F) {
	for _, seed := range []string{"", "# none", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA== # new\n\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", "AAAA", "not base64"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		keys, err := parseKeys(file)
		if err == nil && len(keys) == 0 {
			t.Errorf("%q holds no key, and is taken", file)
		}
		for _, key := range keys {
			if n := len(key); err == nil && n != 16 && n != 24 && n != 32 {
				t.Errorf("%q: a key of %d bytes is taken", file, n)
			}
		}
	})
}
