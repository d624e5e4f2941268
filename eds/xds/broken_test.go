package xds

import (
	"fmt"
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
		c.acks.hold(seq, []item{{"web", "v"}})
	}
	return c
}

func TestABrokenStreamCountsUntilItsNodeIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newClients(10)
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

func TestNotMoreBrokenStreamsThanFitAreKept(t *testing.T) {
	cs := newClients(2 * maxBroken)
	for i := range maxBroken + 10 {
		cs.close(opened(t, cs, fmt.Sprint(i), 1), true, time.Now())
	}
	if len(cs.broken) > maxBroken {
		t.Errorf("%d are kept", len(cs.broken))
	}
}
