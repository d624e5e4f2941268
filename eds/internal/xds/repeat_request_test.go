package xds

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Envoy repeats a request, with the nonce that it acknowledged, when a cluster needs its
// endpoints again.
func TestRepeatedRequestIsAnsweredAndAVerdictIsNot(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *running) *sotwClient{
		TransportEDS: func(t *testing.T, s *running) *sotwClient { return openEDS(t, s.conn) },
		TransportADS: func(t *testing.T, s *running) *sotwClient { return openADS(t, s.conn) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{})
			s.Update(settled(service("api", hostA), service("web", hostB)))
			c := open(t, s)
			both := []string{"api: " + hostA, "web: " + hostB}

			c.subscribe("api", "web")
			first := next(t, c, "1", both...)
			c.ack(first)
			c.ack(first) // no ACK any more: it repeats the nonce
			second := next(t, c, "2", both...)
			if second.version != first.version {
				t.Errorf("the same content has version %q, and %q before", second.version, first.version)
			}
			c.ack(second)
			c.subscribe("api", "web")
			c.ack(next(t, c, "3", both...))
			c.subscribe("web") // a cluster removed, and maybe another one updated in the same breath
			c.ack(next(t, c, "4", both[1]))
			c.subscribe("api", "web")
			third := next(t, c, "5", both...)
			c.nack(third, "no")
			c.nack(third, "no") // not answered
			c.subscribe("api", "web")
			c.ack(next(t, c, "6", both...))

			s.Update(settled(service("api", hostC), service("web", hostB)))
			c.ack(next(t, c, "7", "api: "+hostC, "web: "+hostB))
			s.eventually(t, "acknowledged", acked("api"))
		})
	}
}

// A client that leaves version_info out would otherwise be answered for ever.
func TestVerdictWithoutAVersionIsNotAnswered(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))
	c := openADS(t, s.conn)
	c.subscribe("web")
	first := next(t, c, "1", "web: "+hostA)
	for range 3 {
		c.send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"web"}, ResponseNonce: first.nonce})
	}
	c.ack(first)
	s.eventually(t, "acknowledged", acked("web"))
	s.Update(settled(service("web", hostB)))
	next(t, c, "2", "web: "+hostB)
}

func TestRequestWithoutNamesAsksForNothing(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		c.subscribe()
		s.eventually(t, "heard", func(c Client) bool { return c.Node == node.GetId() })
		s.Update(settled(service("web", hostB)))
		if st := s.Standings("web").At(host(hostA).Addr); st.Of != 0 {
			t.Errorf("the removal of a host waits for %d clients that ask for nothing", st.Of)
		}
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostB)) // the first response: nothing was sent before
		s.eventually(t, "acknowledged", acked("web"))
	})
}

// What a wildcard client has received no longer counts once it asks for one service.
func TestClientThatUnsubscribesTheWildcardIsNoLongerWaitedFor(t *testing.T) {
	give := map[string]func(subscriber){
		TransportADS: func(c subscriber) { c.subscribe("web") },
		TransportDeltaADS: func(c subscriber) {
			c.(*deltaClient).send(&discoveryv3.DeltaDiscoveryRequest{
				ResourceNamesUnsubscribe: []string{"*"}, ResourceNamesSubscribe: []string{"web"},
			})
		},
	}
	for transport, up := range give {
		t.Run(transport, func(t *testing.T) {
			s := start(t, Options{})
			s.Update(settled(service("api", hostA), service("web", hostB)))
			c := transports[transport](t, s.conn)
			c.subscribe("*")
			c.ack(next(t, c, "1", "api: "+hostA, "web: "+hostB))
			up(c)
			c.ack(next(t, c, "2", "web: "+hostB))
			s.eventually(t, "client of one service", subscribed("web"))
			s.Update(settled(service("web", hostB)))
			if st := s.Standings("api").At(host(hostA).Addr); st.Of != 0 {
				t.Errorf("the removal of a host waits for %d clients", st.Of)
			}
		})
	}
}

// Unsubscribing from a name that was never subscribed is not an error.
func TestUnknownNamesMayBeUnsubscribed(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))
	c := openDeltaADS(t, s.conn)
	c.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, ResourceNamesSubscribe: []string{"web"}, ResourceNamesUnsubscribe: []string{"never", "*"}})
	c.ack(next(t, c, "1", "web: "+hostA))
	s.Update(settled(service("web", hostB)))
	next(t, c, "2", "web: "+hostB)
}

// The first request of a stream may be about a response of an older stream.
func TestFirstRequestWithANACKIsAnswered(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		if sotw, ok := c.(*sotwClient); ok {
			sotw.names = []string{"web"}
			sotw.nack(reply{nonce: "17"}, "no")
		} else {
			c.nack(reply{nonce: "17"}, "no")
			c.subscribe("web")
		}
		c.ack(next(t, c, "1", "web: "+hostA))
		s.eventually(t, "acknowledged", acked("web"))
	})
}
