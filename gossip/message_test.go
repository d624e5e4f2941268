package gossip

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/text"
)

func TestReceiptsComeBackAsTheyWereSent(t *testing.T) {
	for _, r := range []Receipt{
		{State: Pending, Revision: 1, Clients: 3, Behind: "envoy-1, envoy-2"},
		{State: Serving, Revision: 1<<64 - 1, Clients: 1},
		{State: Gone},
		{State: Denied, Revision: 2, Behind: "its address is not its own"},
		{State: Pending, Behind: strings.Repeat("x", maxBehind)},
	} {
		m, err := decodeMessage(message{kind: messageReceipt, member: uuid.New(), sender: uuid.New(), body: r.encode()}.encode())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeReceipt(m.body); err != nil || got != r {
			t.Errorf("%+v comes back as %+v, %v", r, got, err)
		}
	}
	long := Receipt{State: Pending, Clients: -1, Behind: strings.Repeat("x", maxBehind+1)}
	if got, err := decodeReceipt(long.encode()); err != nil || len(got.Behind) != maxBehind || got.Clients != 0 {
		t.Errorf("what is too long comes back as %+v, %v, want it shortened", got, err)
	}
}

func TestAWordComesBackAsItWasSentAndOnlyFromWhomItIsAbout(t *testing.T) {
	m := upstreamMember()
	m.Revision = 7
	meta, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	word := message{kind: messageWord, member: m.ID, sender: m.ID, body: meta}
	if got, err := decodeWord(word); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("it comes back as %+v, %v, want %+v", got, err, m)
	}
	word.sender = uuid.New()
	if _, err := decodeWord(word); err == nil {
		t.Error("a member speaks for another one")
	}
}

func FuzzReceiptsAndWords(f *testing.F) {
	meta, err := fleet.Encode(upstreamMember())
	if err != nil {
		f.Fatal(err)
	}
	id := uuid.New()
	f.Add(message{kind: messageWord, member: id, sender: id, body: meta}.encode())
	f.Add(message{kind: messageReceipt, member: id, sender: id, body: Receipt{State: Gone, Clients: 2}.encode()}.encode())
	f.Add(message{kind: messageReceipt, body: Receipt{State: Pending, Behind: "envoy"}.encode()}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		if r, err := decodeReceipt(m.body); err == nil && text.Clean(string(m.body[receiptSize:])) == string(m.body[receiptSize:]) && !bytes.Equal(r.encode(), m.body) {
			t.Errorf("%x is read as %+v, which is written %x", m.body, r, r.encode())
		}
		if word, err := decodeWord(m); err == nil {
			if _, err := fleet.Encode(word); err != nil {
				t.Errorf("a word was read that cannot be said: %v", err)
			}
		}
	})
}

func TestTextOfOthersIsCleanedAsItComes(t *testing.T) {
	a, _, err := decodeKeyAnswer(KeyAnswer{Problem: "a\xff\x1b[2J\u202e\nb"}.encode(uuid.New()))
	if want := "a\ufffd\ufffd[2J\ufffd b"; err != nil || a.Problem != want {
		t.Errorf("a problem is %q, %v, want %q", a.Problem, err, want)
	}
	r, err := decodeReceipt(Receipt{State: Denied, Behind: "x\xc3\x1b"}.encode())
	if want := "x\ufffd\ufffd"; err != nil || r.Behind != want {
		t.Errorf("a reason is %q, %v, want %q", r.Behind, err, want)
	}
}
