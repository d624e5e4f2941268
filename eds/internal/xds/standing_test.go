package xds

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

const someID = "00000000-0000-4000-8000-000000000001" // of every host here

// stands waits until the standing of addr at web is as wanted: in, leaving or out,
// and how many clients have acknowledged that.
func (s *running) stands(t *testing.T, addr, want string) {
	t.Helper()
	s.standsAt(t, "web", addr, want)
}

func (s *running) standsAt(t *testing.T, service, addr, want string) {
	t.Helper()
	var have string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		st := s.Standings(service).At(netip.MustParseAddrPort(addr))
		if have = describe(st); have == want {
			return
		}
	}
	t.Fatalf("%s of %s is %q, want %q", addr, service, have, want)
}

func describe(st Standing) string {
	what := "leaving"
	switch {
	case st.In:
		what = "in"
	case st.Out:
		what = "out"
	}
	return fmt.Sprintf("%s %d/%d", what, st.Have, st.Of)
}

// stays fails when the standing of addr at web changes.
func (s *running) stays(t *testing.T, addr, want string) {
	t.Helper()
	s.stands(t, addr, want)
	time.Sleep(10 * ackedTogether)
	s.stands(t, addr, want)
}

func TestStandingOfAnEndpointThatJoinsAndLeaves(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostB)))
		c := open()
		c.subscribe("web")
		first := next(t, c, "1", "web: "+hostB)
		s.stands(t, hostA, "out 0/1") // it may have connected with any content
		c.ack(first)
		s.stands(t, hostA, "out 1/1")
		s.Update(settled(service("web", hostA, hostB)))
		second := next(t, c, "2", "web: "+hostA+", "+hostB)
		s.stays(t, hostA, "in 0/1")
		s.stands(t, hostB, "in 1/1")
		c.ack(second)
		s.stands(t, hostA, "in 1/1")
		if id := s.Standings("web").At(netip.MustParseAddrPort(hostA)).ID; id != someID {
			t.Errorf("it is of %q", id)
		}
		s.Update(settled(service("web", hostB)))
		third := next(t, c, "3", "web: "+hostA+" leaves, "+hostB)
		s.stays(t, hostA, "leaving 0/1")
		c.ack(third)
		fourth := next(t, c, "4", "web: "+hostB)
		s.stays(t, hostA, "out 0/1")
		c.ack(fourth)
		s.stands(t, hostA, "out 1/1")
	})
}

func TestNewWeightIsAcknowledgedSeparately(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.stands(t, hostA, "in 1/1")
		heavier := service("web", hostA, hostB)
		heavier.Hosts[0].Weight++
		s.Update(settled(heavier))
		second := next(t, c, "2", "web: "+hostA+", "+hostB)
		s.stays(t, hostA, "in 0/1")
		s.stands(t, hostB, "in 1/1") // it is unchanged
		c.ack(second)
		s.stands(t, hostA, "in 1/1")
	})
}

func TestNACKIsNotAnAcknowledgement(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.stands(t, hostA, "in 1/1")
		s.Update(settled(service("web", hostB)))
		c.nack(next(t, c, "2", "web: "+hostB), "no")
		s.eventually(t, "the NACK is noted", func(c Client) bool { return c.NACK != nil })
		s.stays(t, hostA, "out 0/1")
		if behind := s.Standings("web").At(netip.MustParseAddrPort(hostA)).Behind; len(behind) != 1 || behind[0] != node.Id {
			t.Errorf("behind are %q", behind)
		}
		s.Update(settled(service("web", hostB, hostC)))
		c.ack(next(t, c, "3", "web: "+hostB+", "+hostC))
		s.stands(t, hostA, "out 1/1") // a later push says it, too
	})
}

func TestOnlyAcknowledgedContentCountsWhenItReturns(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA))
		s.stands(t, hostA, "in 1/1")
		s.Update(settled(service("web", hostB)))
		second := next(t, c, "2", "web: "+hostB)
		s.Update(settled(service("web", hostA)))
		s.stays(t, hostA, "in 0/1") // the version is the one acknowledged before, the push is not
		c.ack(second)
		third := next(t, c, "3", "web: "+hostA)
		s.stays(t, hostB, "out 0/1")
		c.ack(third)
		s.stands(t, hostA, "in 1/1")
		s.stands(t, hostB, "out 1/1")
	})
}

func TestStandingsOfTwoServicesAreIndependent(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA), service("api", hostA)))
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA))
		s.stands(t, hostA, "in 1/1")
		s.standsAt(t, "api", hostA, "in 0/0")
		s.Update(settled(service("web", hostA), service("api", hostB)))
		s.standsAt(t, "api", hostA, "out 0/0")
		s.stays(t, hostA, "in 1/1")
		s.Update(settled(service("web", hostA), service("api", hostA)))
		s.stays(t, hostA, "in 1/1")
		s.standsAt(t, "none", hostA, "out 0/0")
	})
}

// The assignment stays the same when another process takes the address; what clients have
// acknowledged applies to it, too.
func TestNewProcessAtAnAddressIsInOnceAcknowledged(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA))
		s.stands(t, hostA, "in 1/1")
		again := service("web", hostA)
		again.Hosts[0].ID = "00000000-0000-4000-8000-000000000002"
		s.Update(settled(again, service("api", hostB))) // another service moves the count of pushes
		if r, came := soon(c); came {
			c.ack(r)
		}
		s.stands(t, hostA, "in 1/1")
		if id := s.Standings("web").At(netip.MustParseAddrPort(hostA)).ID; id != again.Hosts[0].ID {
			t.Errorf("it is of %q", id)
		}
	})
}

// soon receives a reply if there is one within moments; the stream is of no use
// afterwards if there was none.
func soon(c subscriber) (reply, bool) {
	got := make(chan reply, 1)
	go func() {
		if r, err := c.recv(); err == nil {
			got <- r
		}
	}()
	select {
	case r := <-got:
		return r, true
	case <-time.After(200 * time.Millisecond):
		return reply{}, false
	}
}

func TestStandingsWithClientsThatConnectAndLeave(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA, hostB)))
	stays := openDeltaADS(t, s.conn)
	stays.subscribe("web")
	stays.ack(next(t, stays, "1", "web: "+hostA+", "+hostB))
	s.stands(t, hostA, "in 1/1")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	goes := openDeltaADSWith(ctx, t, s)
	goes.subscribe("web")
	next(t, goes, "1", "web: "+hostA+", "+hostB) // and never acknowledges
	s.stays(t, hostA, "in 1/2")

	s.Update(settled(service("web", hostB)))
	stays.ack(next(t, stays, "2", "web: "+hostB))
	s.stays(t, hostA, "out 1/2")
	between := openDeltaADS(t, s.conn)
	between.subscribe("web")
	answer := next(t, between, "1", "web: "+hostB)
	s.stays(t, hostA, "out 1/3")
	between.ack(answer)
	s.stands(t, hostA, "out 2/3")
	cancel()                     // half-way
	s.stays(t, hostA, "out 2/3") // it may still route to hostA, and the others came before
	again := openDeltaADS(t, s.conn)
	again.subscribe("web")
	answer = next(t, again, "1", "web: "+hostB)
	s.stays(t, hostA, "out 2/3")
	again.ack(answer)
	s.stands(t, hostA, "out 3/3")
}

func openDeltaADSWith(ctx context.Context, t *testing.T, s *running) *deltaClient {
	t.Helper()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).DeltaAggregatedResources(ctx)
	must(t, err)
	return &deltaClient{t: t, stream: stream}
}

func TestOldPlacesAreForgotten(t *testing.T) {
	b, sv := &book{places: make(map[netip.AddrPort]place)}, &serving{}
	for i := range maxPlaces + 10 {
		h := host(fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255))
		sv.want([]*registry.Host{h}, time.Time{}, 0)
		b.note(sv, uint64(i+1))
	}
	if n := len(b.places); n > maxPlaces+2 {
		t.Errorf("%d places are kept", n)
	}
}
