package gossip

import (
	"bytes"
	"log/slog"
	"net/netip"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

// taped is three members with a gossip key, of which what the last one sends is kept,
// and an outsider without a key.
type taped struct {
	*testing.T
	pools    []*Pool // the last one is recorded
	tape     *memnet.Tape
	stranger memberlist.Transport
}

func playTape(t *testing.T, f func(*taped)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the race detector of Go 1.26 crashes in bubbles with many timers
	synctest.Test(t, func(t *testing.T) {
		network, keys := memnet.New(1), [][]byte{bytes.Repeat([]byte{1}, 32)}
		at := func(n byte) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), DefaultPort)
		}
		w := &taped{T: t, stranger: network.Transport(at(9)), tape: memnet.NewTape(network.Transport(at(3)))}
		for i, transport := range []memberlist.Transport{network.Transport(at(1)), network.Transport(at(2)), w.tape} {
			member := upstreamMember()
			if i == 0 {
				member = edsMember() // which receives each change directly, too
			}
			p, err := Start(Options{Member: member, Bind: at(byte(i + 1)), Transport: transport, Keys: keys,
				Seeds: []string{at(1).String()}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			w.pools = append(w.pools, p)
		}
		for weight := uint32(2); weight < 6; weight++ {
			m := w.last().Self()
			m.Endpoint.Weight = weight
			if _, err := w.last().Announce(m); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second) // so that it exchanges its state now and then
		}
		f(w)
		for _, p := range w.pools {
			_ = p.Close()
		}
		time.Sleep(time.Minute) // memberlist's last probes end
	})
}

func (w *taped) last() *Pool { return w.pools[len(w.pools)-1] }

func (w *taped) replay() {
	w.Helper()
	if packets, streams := w.tape.Replay(w.stranger); packets == 0 || streams == 0 {
		w.Fatalf("%d packets and %d streams were recorded", packets, streams)
	}
}

// seen is the recorded member as another one has it.
func (w *taped) seen(by *Pool) fleet.Member {
	w.Helper()
	m, ok := find(by, w.last().id)
	if !ok {
		w.Fatal("it is not known")
	}
	return m
}

func TestAReplayChangesNothingOfAMemberThatIsThere(t *testing.T) {
	playTape(t, func(w *taped) {
		var before []fleet.Member
		for _, p := range w.pools[:2] {
			before = append(before, w.seen(p))
		}
		w.replay()
		time.Sleep(10 * time.Second)
		for i, p := range w.pools[:2] {
			if m := w.seen(p); !reflect.DeepEqual(m, before[i]) || m.Endpoint.Weight != 5 {
				w.Errorf("after the replay the member is seen as %+v, before as %+v", m, before[i])
			}
		}
	})
}

func TestAReplayBringsNobodyBackWhoLeft(t *testing.T) {
	playTape(t, func(w *taped) {
		w.tape.Stop() // its last words are what an attacker leaves out
		if err := w.last().Leave(w.Context()); err != nil {
			w.Fatal(err)
		}
		for _, later := range []time.Duration{time.Second, 20 * time.Second, 2 * time.Minute, 50 * time.Minute} { // memberlist forgets after half a minute
			time.Sleep(later)
			w.replay()
			for i := range 600 {
				time.Sleep(100 * time.Millisecond)
				for _, p := range w.pools[:2] {
					if m := w.seen(p); m.Liveness == fleet.Alive && (m.Endpoint.Health != fleet.Draining || i > 300) {
						w.Errorf("%s after the replay it is seen as %+v", time.Duration(i)*100*time.Millisecond, m)
						return
					}
				}
			}
		}
	})
}
