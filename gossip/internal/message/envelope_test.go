package message

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
	receipt := Message{Kind: Receipt, Member: self, Sender: server, Body: []byte("a receipt")}
	word := Message{Kind: Word, Member: server, Sender: server}
	seal := func(e *Envelopes, receiver uuid.UUID, m Message) []byte { return e.Seal(receiver, m) }
	changed := seal(&Envelopes{Fleet: "rollcall", Sign: key}, self, receipt)
	changed[len(changed)-5]++
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"signed", seal(&Envelopes{Fleet: "rollcall", Sign: key}, self, receipt), nil},
		{"not signed", seal(&Envelopes{Fleet: "rollcall"}, self, receipt), ErrUnsigned},
		{"signed with another key", seal(&Envelopes{Fleet: "rollcall", Sign: forged}, self, receipt), ErrUnsigned},
		{"signed for another member", seal(&Envelopes{Fleet: "rollcall", Sign: key}, uuid.New(), receipt), ErrUnsigned},
		{"signed for another fleet", seal(&Envelopes{Fleet: "blue", Sign: key}, self, receipt), ErrUnsigned},
		{"changed on the way", changed, ErrUnsigned},
		{"a member's own word", seal(&Envelopes{Fleet: "rollcall"}, self, word), nil},
	} {
		e := Envelopes{Fleet: "rollcall", Self: self, Trust: []ed25519.PublicKey{pub}}
		m, err := e.Open(c.b)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error is %v, want %v", c.name, err, c.want)
		}
		if err == nil && m.Sender != server {
			t.Errorf("%s: message is %+v", c.name, m)
		}
	}
	trusting := Envelopes{Fleet: "rollcall", Self: self}
	if _, err := trusting.Open(seal(&Envelopes{Fleet: "rollcall", Sign: key}, self, receipt)); err != nil {
		t.Errorf("who knows no key reads a signed message all the same: %v", err)
	}
}

func TestAMessageIsBelievedOnce(t *testing.T) {
	t.Parallel()
	key, pub := newKey(1)
	self, server := uuid.New(), uuid.New()
	from := Envelopes{Fleet: "rollcall", Sign: key}
	to := Envelopes{Fleet: "rollcall", Self: self, Trust: []ed25519.PublicKey{pub}}
	var sent [][]byte
	for range replayWindow + 10 {
		sent = append(sent, from.Seal(self, Message{Kind: Missing, Member: self, Sender: server}))
	}
	for _, i := range []int{1, 0, 2} { // they may overtake each other
		if _, err := to.Open(sent[i]); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	for _, i := range []int{0, 1, 2} {
		if _, err := to.Open(sent[i]); !errors.Is(err, ErrReplayed) {
			t.Errorf("message %d is believed twice: %v", i, err)
		}
	}
	for _, b := range sent[4:] {
		if _, err := to.Open(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := to.Open(sent[3]); !errors.Is(err, ErrReplayed) {
		t.Errorf("what is older than the window is believed: %v", err)
	}
	if n := len(to.seen[server]); n != replayWindow {
		t.Errorf("%d counts are kept, want %d", n, replayWindow)
	}
}
