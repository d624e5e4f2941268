package xds

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// opened is a stream of a node that asked for "web" and acknowledged it as of seq.
func opened(t *testing.T, cs *clients, node string, seq uint64) *client {
	t.Helper()
	c, ok := cs.open(TransportADS, "127.0.0.1:1", time.Now())
	if !ok {
		t.Fatal("no room")
	}
	c.node = node
	c.acks.subscribe([]string{"web"})
	if seq > 0 {
		c.acks.hasCurrent(seq, []item{{name: "web", version: "v"}})
	}
	return c
}

func TestBrokenStreamCountsUntilItsNodeReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newClients(10, 0)
		want := func(what string, seqs ...uint64) {
			t.Helper()
			var got []uint64
			for _, s := range cs.standings("web") {
				got = append(got, s.seq)
			}
			if fmt.Sprint(got) != fmt.Sprint(seqs) {
				t.Errorf("%s: %v, want %v", what, got, seqs)
			}
		}
		cs.close(opened(t, cs, "a", 4), true, time.Now())
		want("it broke", 4)
		time.Sleep(comeBack - 1)
		want("it may still come back", 4)
		again := opened(t, cs, "a", 0)
		want("it is back and has acknowledged nothing", 0)
		cs.close(again, false, time.Now())
		want("its new stream was closed, the old one is not back", 4)
		time.Sleep(time.Nanosecond)
		want("it does not come back")

		cs.close(opened(t, cs, "b", 7), false, time.Now())
		want("it closed its stream itself")

		cs.close(opened(t, cs, "c", 7), true, time.Now())
		cs.close(opened(t, cs, "d", 7), true, time.Now())
		time.Sleep(comeBack)
		cs.close(opened(t, cs, "e", 7), false, time.Now())
		if len(cs.broken) != 0 {
			t.Errorf("%d streams of long ago are kept", len(cs.broken))
		}
	})
}

// goneFrom returns what clients have acknowledged of hostA having left, as receipts see it.
func goneFrom(s *Server) string {
	return describe(s.Standings("web").At(netip.MustParseAddrPort(hostA)))
}

// left is a server whose one client, of the node "a", has hostA and hostB, or only
// hostB, when hostA has left.
func left(t *testing.T, knows bool) (*Server, *client) {
	t.Helper()
	s := abrupt(Options{})
	s.Update(settled(service("web", hostA, hostB)))
	c := opened(t, s.clients, "a", s.cache.seq)
	s.Update(settled(service("web", hostB)))
	if knows {
		c.acks.hasCurrent(s.cache.seq, []item{{name: "web", version: "v"}})
	}
	return s, c
}

func TestStreamThatBreaksDuringADepartureIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := func(s *Server, what, want string) {
			t.Helper()
			if got := goneFrom(s); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		s, c := left(t, false)
		is(s, "it was sent the departure", "out 0/1")
		s.clients.close(c, true, time.Now())
		is(s, "it broke", "out 0/1")
		time.Sleep(comeBack / 2)
		again := opened(t, s.clients, "a", 0)
		is(s, "it is back", "out 0/1")
		again.acks.hasCurrent(s.cache.seq, []item{{name: "web", version: "v"}})
		is(s, "it has acknowledged on its new stream", "out 1/1")

		s, c = left(t, false)
		s.clients.close(c, true, time.Now())
		time.Sleep(comeBack - 1)
		is(s, "it may still come back", "out 0/1")
		time.Sleep(time.Nanosecond)
		is(s, "it never came back", "out 0/0")

		s, c = left(t, true)
		s.clients.close(c, true, time.Now())
		is(s, "it had acknowledged, it is not waited for", "out 1/1")
		s.Update(settled(service("web", hostC)))
		if st := s.Standings("web").At(netip.MustParseAddrPort(hostB)); st.Acked() {
			t.Error("what left after it broke is not known to it")
		}
	})
}

func TestReconnectReplacesOneBrokenStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newClients(10, 0)
		want := func(what string, seqs ...uint64) {
			t.Helper()
			got := make([]uint64, 0)
			for _, s := range cs.standings("web") {
				got = append(got, s.seq)
			}
			slices.Sort(got)
			if !slices.Equal(got, seqs) {
				t.Errorf("%s: %v, want %v", what, got, seqs)
			}
		}
		first, second := opened(t, cs, "same", 3), opened(t, cs, "same", 4)
		time.Sleep(time.Millisecond)
		cs.close(first, true, time.Now())
		want("another of the same node id is there for long", 3, 4)
		cs.close(second, true, time.Now())
		want("both broke", 3, 4)
		time.Sleep(time.Millisecond)
		again := opened(t, cs, "same", 5)
		want("one of them is back", 3, 5)
		time.Sleep(time.Millisecond)
		cs.close(again, true, time.Now())
		want("it broke once more", 4, 5)
		opened(t, cs, "same", 6)
		opened(t, cs, "same", 7)
		want("both are back", 6, 7)

		opened(t, cs, "other", 8)
		want("one that never broke", 6, 7, 8)
	})
}

func TestBrokenStreamsAreBounded(t *testing.T) {
	cs := newClients(2*maxBroken, 0)
	for i := range maxBroken + 10 {
		cs.close(opened(t, cs, fmt.Sprint(i), 1), true, time.Now())
	}
	if len(cs.broken) > maxBroken {
		t.Errorf("%d are kept", len(cs.broken))
	}
}
