package gossip

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/google/uuid"
)

// newKey makes a key from a byte, so that tests are alike each time.
func newKey(b byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
	return key, key.Public().(ed25519.PublicKey)
}

func TestOnlyWhatIsSignedForThisMemberIsBelieved(t *testing.T) {
	t.Parallel()
	key, pub := newKey(1)
	forged, _ := newKey(2)
	server, self := uuid.New(), uuid.New()
	receipt := message{kind: messageReceipt, member: self, sender: server, body: Receipt{Revision: 1, State: Gone}.encode()}
	word := message{kind: messageWord, member: server, sender: server}
	seal := func(e *envelopes, receiver uuid.UUID, m message) []byte { return e.seal(receiver, m) }
	changed := seal(&envelopes{fleet: "rollcall", sign: key}, self, receipt)
	changed[len(changed)-5]++
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"signed", seal(&envelopes{fleet: "rollcall", sign: key}, self, receipt), nil},
		{"not signed", seal(&envelopes{fleet: "rollcall"}, self, receipt), errUnsigned},
		{"signed with another key", seal(&envelopes{fleet: "rollcall", sign: forged}, self, receipt), errUnsigned},
		{"signed for another member", seal(&envelopes{fleet: "rollcall", sign: key}, uuid.New(), receipt), errUnsigned},
		{"signed for another fleet", seal(&envelopes{fleet: "blue", sign: key}, self, receipt), errUnsigned},
		{"changed on the way", changed, errUnsigned},
		{"a member's own word", seal(&envelopes{fleet: "rollcall"}, self, word), nil},
	} {
		e := envelopes{fleet: "rollcall", self: self, trust: []ed25519.PublicKey{pub}}
		m, err := e.open(c.b)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error is %v, want %v", c.name, err, c.want)
		}
		if err == nil && m.sender != server {
			t.Errorf("%s: message is %+v", c.name, m)
		}
	}
	trusting := envelopes{fleet: "rollcall", self: self}
	if _, err := trusting.open(seal(&envelopes{fleet: "rollcall", sign: key}, self, receipt)); err != nil {
		t.Errorf("who knows no key reads a signed message all the same: %v", err)
	}
}

func TestAMessageIsBelievedOnce(t *testing.T) {
	t.Parallel()
	key, pub := newKey(1)
	self, server := uuid.New(), uuid.New()
	from := envelopes{fleet: "rollcall", sign: key}
	to := envelopes{fleet: "rollcall", self: self, trust: []ed25519.PublicKey{pub}}
	var sent [][]byte
	for range replayWindow + 10 {
		sent = append(sent, from.seal(self, message{kind: messageMissing, member: self, sender: server}))
	}
	for _, i := range []int{1, 0, 2} { // they may overtake each other
		if _, err := to.open(sent[i]); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	for _, i := range []int{0, 1, 2} {
		if _, err := to.open(sent[i]); !errors.Is(err, errReplayed) {
			t.Errorf("message %d is believed twice: %v", i, err)
		}
	}
	for _, b := range sent[4:] {
		if _, err := to.open(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := to.open(sent[3]); !errors.Is(err, errReplayed) {
		t.Errorf("what is older than the window is believed: %v", err)
	}
	if n := len(to.seen[server]); n != replayWindow {
		t.Errorf("%d counts are kept, want %d", n, replayWindow)
	}
}
