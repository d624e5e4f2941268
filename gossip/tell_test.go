package gossip

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

func TestPingIsAnsweredByTheMemberItIsFor(t *testing.T) {
	t.Parallel()
	p, q := open(t, Options{}), open(t, Options{}) // they have not met, and need not
	if !p.Ping(t.Context(), q.id.String(), q.Self().Gossip) {
		t.Error("a member does not answer")
	}
	if p.Ping(t.Context(), uuid.NewString(), q.Self().Gossip) {
		t.Error("a member answers for another one")
	}
	addr := q.Self().Gossip
	_ = q.Close()
	if p.Ping(t.Context(), q.id.String(), addr) {
		t.Error("a member that is gone answers")
	}
	_ = p.Close()
	if p.Ping(t.Context(), p.id.String(), addr) {
		t.Error("a closed pool pings")
	}
}

func TestPingWaitsForTheProbeTimeoutOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20)
		for _, profile := range []Profile{LAN, WAN, Fast} {
			p := w.open(Options{Profile: profile})
			start := time.Now()
			if p.Ping(t.Context(), uuid.NewString(), w.addr()) {
				t.Error("nobody answers, but the ping is answered")
			}
			if took := time.Since(start); took != profile.Config().ProbeTimeout {
				t.Errorf("%s: it took %s", profile, took)
			}
			start = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			p.Ping(ctx, uuid.NewString(), w.addr())
			cancel()
			if took := time.Since(start); took != 20*time.Millisecond {
				t.Errorf("%s: with a deadline in 20 ms it took %s", profile, took)
			}
		}
		p := w.pools[0]
		if p.Ping(t.Context(), uuid.NewString(), netip.AddrPort{}) {
			t.Error("no address, but an answer")
		}
	})
}

func TestPingGetsThroughALossOfThirtyPercent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 21)
		p, q := w.open(Options{}), w.open(Options{})
		w.net.Loss(p.Self().Gossip, 0.3)
		w.net.Loss(q.Self().Gossip, 0.3)
		answered := 0
		for range 1000 {
			if p.Ping(t.Context(), q.id.String(), q.Self().Gossip) {
				answered++
			}
		}
		if answered < 840 || answered > 890 { // 1 - (1 - 0.7²)³ = 0.867
			t.Errorf("%d of 1000 are answered", answered)
		}
	})
}

// spoof has an outsider tell each of pools that victim is dead.
func (w *world) spoof(victim uuid.UUID, incarnation uint32, pools ...*Pool) {
	stranger := w.net.Transport(w.addr())
	for _, p := range pools {
		packet := memnet.Death(DefaultFleet, victim.String(), uuid.NewString(), incarnation)
		if _, err := stranger.WriteTo(packet, p.Self().Gossip.String()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func signalled(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAMemberIsToldThatItIsMissingAndIsBackWhenAnnouncedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 22)
		pools := w.fleet(3)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 3))
		observer, victim := pools[0], pools[1]
		w.net.Loss(victim.Self().Gossip, 1) // it does not hear that it is dead, and so does not object
		w.spoof(victim.id, 7, observer)
		w.within(time.Second, "the observer holds it for dead", func() bool { return count(observer, fleet.Dead) == 1 })
		m, _ := find(observer, victim.id)
		if signalled(victim.Missing()) {
			t.Error("it was told before")
		}
		if err := observer.TellMissing(&m); err != nil {
			t.Fatal(err)
		}
		w.within(100*time.Millisecond, "it is told", func() bool { return signalled(victim.Missing()) })
		w.net.Loss(victim.Self().Gossip, 0)
		for range 10 { // until its incarnation is above the spoofed one
			if err := victim.Reannounce(); err != nil {
				t.Fatal(err)
			}
		}
		w.within(time.Second, "it is back", func() bool {
			m, _ := find(observer, victim.id)
			return m.Liveness == fleet.Alive
		})
	})
}

func TestADeathOfTheHighestIncarnationNeedsANewID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 23)
		pools := w.fleet(4)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 4))
		rest, victim := pools[:3], pools[3]
		w.spoof(victim.id, math.MaxUint32, rest...)
		w.within(time.Second, "all hold it for dead", all(rest, fleet.Dead, 1))
		if err := victim.Reannounce(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if !all(rest, fleet.Dead, 1)() {
			t.Fatal("it came back by itself: a new id is not needed")
		}
		m := victim.Self()
		m.ID = uuid.New()
		again := w.open(Options{Member: m, Remembered: addrs(rest)})
		_ = victim.Close()
		w.within(2*time.Second, "it is back under a new id", all(append(rest, again), fleet.Alive, 4))
	})
}

func TestTellMissingSaysWhyItCannotTell(t *testing.T) {
	t.Parallel()
	p, q := open(t, Options{}), open(t, Options{})
	gone := q.Self()
	_ = q.Close()
	if err := p.TellMissing(&gone); err == nil {
		t.Error("nobody was there to be told, and no error")
	}
	gone.Gossip = netip.AddrPort{}
	if err := p.TellMissing(&gone); err == nil {
		t.Error("nowhere to tell, and no error")
	}
	_ = p.Close()
	if err := p.TellMissing(&gone); !errors.Is(err, ErrClosed) {
		t.Errorf("TellMissing after Close = %v", err)
	}
	if err := p.Reannounce(); !errors.Is(err, ErrClosed) {
		t.Errorf("Reannounce after Close = %v", err)
	}
}

func TestMessagesForOthersAndUnknownOnesAreIgnored(t *testing.T) {
	t.Parallel()
	log := newBook(slog.LevelDebug)
	p := open(t, Options{Logger: log.logger()})
	for _, m := range [][]byte{
		{}, {0}, {99, 1, 2, 3}, {byte(message.Missing)}, bytes.Repeat([]byte{byte(message.Missing)}, 100), bytes.Repeat([]byte{7}, 5000),
		message.Message{Kind: message.Missing, Member: uuid.New(), Sender: uuid.New()}.Encode(),
	} {
		p.receive(m)
	}
	log.wait(t, "level=WARN", "ignored a message that cannot be read")
	if signalled(p.Missing()) {
		t.Error("it takes itself for missing")
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(message.Message{Kind: message.Missing, Member: uuid.New(), Sender: uuid.New()}.Encode())
	f.Add([]byte{})
	f.Add([]byte{2, 1})
	f.Add(append(message.Message{Kind: message.Missing}.Encode(), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := message.Decode(b)
		if err == nil && !bytes.Equal(m.Encode(), b) {
			t.Errorf("%x is read as %+v, which is written %x", b, m, m.Encode())
		}
	})
}
