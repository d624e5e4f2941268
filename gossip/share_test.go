package gossip

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// server is a member that takes what others share with it.
func server(t *testing.T, got chan []byte, seeds ...*Pool) *Pool {
	t.Helper()
	return open(t, Options{
		Member: fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion}, Seeds: seedOf(seeds...),
		Shared: func(_ *fleet.Member, b []byte) {
			select {
			case got <- b:
			default:
			}
		},
	})
}

func TestAnEDSServerSharesWithAnotherUpToTheBound(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 1)
	p := server(t, got)
	q := server(t, nil, p)
	sees(t, p, q.id, is(fleet.Alive))
	to := sees(t, q, p.id, is(fleet.Alive))
	for _, size := range []int{0, 1, message.MaxSize, MaxShare} {
		want := bytes.Repeat([]byte{'x'}, size)
		if err := q.Share(&to, want); err != nil {
			t.Fatal(err)
		}
		if b := <-got; !bytes.Equal(b, want) {
			t.Errorf("of %d bytes %d came", size, len(b))
		}
	}
	if err := q.Share(&to, make([]byte, MaxShare+1)); err == nil {
		t.Error("more than the bound is sent")
	}
}

func TestWhatNoEDSServerSentIsNotTaken(t *testing.T) {
	got := make(chan []byte, 1)
	p := server(t, got)
	q := open(t, Options{Member: upstreamMember(), Seeds: seedOf(p)})
	sees(t, p, q.id, is(fleet.Alive))
	for who, sender := range map[string]uuid.UUID{"an upstream": q.id, "a stranger": uuid.New(), "the server itself": p.id} {
		err := p.accept(message.Message{Kind: message.Share, Member: p.id, Sender: sender, Body: []byte("x")})
		if err == nil || !strings.Contains(err.Error(), "only eds servers") {
			t.Errorf("%s: %v", who, err)
		}
	}
	if len(got) > 0 {
		t.Error("it was taken")
	}
}

// An EDS server that has just been started shares before it is known: no fault of anybody.
func TestShareOfAnUnknownMemberIsNoWarning(t *testing.T) {
	t.Parallel()
	log := newBook(slog.LevelDebug)
	p := open(t, Options{Logger: log.logger(), Shared: func(*fleet.Member, []byte) { t.Error("it was taken") }})
	p.receive(message.Message{Kind: message.Share, Member: p.id, Sender: uuid.New(), Body: []byte("x")}.Encode())
	log.wait(t, "level=DEBUG", "ignored a message of a member that is still unknown")
}

func TestOnlyWhatIsSharedMayBeLong(t *testing.T) {
	for kind := message.Missing; kind <= message.Share; kind++ {
		_, err := message.Decode(message.Message{Kind: kind, Body: make([]byte, message.MaxSize)}.Encode())
		if long := kind == message.Share; (err == nil) != long {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	if _, err := message.Decode(message.Message{Kind: message.Share, Body: make([]byte, MaxShare+1)}.Encode()); err == nil {
		t.Error("there is no bound")
	}
}
