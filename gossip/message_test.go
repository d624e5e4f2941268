package gossip

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/text"
)

func TestReceiptsComeBackAsTheyWereSent(t *testing.T) {
	for _, r := range []fleet.Receipt{
		{State: fleet.ReceiptPending, Revision: 1, Clients: 3, Behind: "envoy-1, envoy-2"},
		{State: fleet.ReceiptServing, Revision: 1<<64 - 1, Clients: 1},
		{State: fleet.ReceiptGone},
		{State: fleet.ReceiptDenied, Revision: 2, Behind: "its address is not its own"},
		{State: fleet.ReceiptPending, Behind: strings.Repeat("x", 400)},
	} {
		m, err := message.Decode(message.Message{Kind: message.Receipt, Member: uuid.New(), Sender: uuid.New(), Body: fleet.EncodeReceipt(r)}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fleet.DecodeReceipt(m.Body); err != nil || got != r {
			t.Errorf("%+v comes back as %+v, %v", r, got, err)
		}
	}
	long := fleet.Receipt{State: fleet.ReceiptPending, Clients: -1, Behind: strings.Repeat("x", 400+1)}
	if got, err := fleet.DecodeReceipt(fleet.EncodeReceipt(long)); err != nil || len(got.Behind) != 400 || got.Clients != 0 {
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
	word := message.Message{Kind: message.Word, Member: m.ID, Sender: m.ID, Body: meta}
	if got, err := decodeWord(word); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("it comes back as %+v, %v, want %+v", got, err, m)
	}
	word.Sender = uuid.New()
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
	f.Add(message.Message{Kind: message.Word, Member: id, Sender: id, Body: meta}.Encode())
	f.Add(message.Message{Kind: message.Receipt, Member: id, Sender: id, Body: fleet.EncodeReceipt(fleet.Receipt{State: fleet.ReceiptGone, Clients: 2})}.Encode())
	f.Add(message.Message{Kind: message.Receipt, Body: fleet.EncodeReceipt(fleet.Receipt{State: fleet.ReceiptPending, Behind: "envoy"})}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := message.Decode(b)
		if err != nil {
			return
		}
		if r, err := fleet.DecodeReceipt(m.Body); err == nil && text.Clean(string(m.Body[13:])) == string(m.Body[13:]) && !bytes.Equal(fleet.EncodeReceipt(r), m.Body) {
			t.Errorf("%x is read as %+v, which is written %x", m.Body, r, fleet.EncodeReceipt(r))
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
	r, err := readReceipt(message.Message{Body: fleet.EncodeReceipt(fleet.Receipt{State: fleet.ReceiptDenied, Behind: "x\xc3\x1b"})})
	if want := "x\ufffd\ufffd"; err != nil || r.Behind != want {
		t.Errorf("a reason is %q, %v, want %q", r.Behind, err, want)
	}
}
