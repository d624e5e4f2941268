package xds

import (
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// onEachFarewell runs a test over each stream of a server that says farewell for
// longer than the test may take, so that only an acknowledgement ends it.
func onEachFarewell(t *testing.T, test func(t *testing.T, s *running, open func() subscriber)) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			s := serve(t, patient())
			test(t, s, func() subscriber { return open(t, s.conn) })
		})
	}
}

func patient() *Server {
	s := New(Options{})
	s.farewell = 10 * patience
	return s
}

func TestEndpointIsRemovedOnceItsDepartureIsAcknowledged(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c := open()
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.eventually(t, "the first is acknowledged", acked("web"))
		s.Update(settled(service("web", hostB)))
		c.ack(next(t, c, "2", "web: "+hostA+" leaves, "+hostB))
		next(t, c, "3", "web: "+hostB)
	})
}

func TestManyEndpointsOfManyServicesLeaveAtOnce(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(crowd(500, 1), service("web", hostA, hostB)))
		c := open()
		c.subscribe("crowd", "web")
		r, err := c.recv()
		must(t, err)
		c.ack(r)
		s.eventually(t, "the first is acknowledged", acked("crowd"))
		s.Update(settled(service("crowd", hostC)))
		r, err = c.recv()
		must(t, err)
		var leaving int
		for _, h := range slices.Concat(r.hosts["crowd"], r.hosts["web"]) {
			if strings.HasSuffix(h, " leaves") {
				leaving++
			}
		}
		if leaving != 502 {
			t.Fatalf("%d hosts leave, want 502", leaving)
		}
		c.ack(r)
		next(t, c, "3", "crowd: "+hostC, "web:")
	})
}

func TestEndpointThatReturnsIsNotRemoved(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c := open()
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.eventually(t, "the first is acknowledged", acked("web"))
		s.Update(settled(service("web", hostB)))
		r := next(t, c, "2", "web: "+hostA+" leaves, "+hostB)
		s.Update(settled(service("web", hostA, hostB)))
		c.ack(r)
		c.ack(next(t, c, "3", "web: "+hostA+", "+hostB))
		s.eventually(t, "the last is acknowledged", acked("web"))
	})
}

func TestSecondDepartureIsSentAgain(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c := open()
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.eventually(t, "the first is acknowledged", acked("web"))
		s.Update(settled(service("web", hostB)))
		c.ack(next(t, c, "2", "web: "+hostA+" leaves, "+hostB))
		c.ack(next(t, c, "3", "web: "+hostB))
		s.Update(settled(service("web", hostA, hostB)))
		c.ack(next(t, c, "4", "web: "+hostA+", "+hostB))
		s.Update(settled(service("web", hostB)))
		c.ack(next(t, c, "5", "web: "+hostA+" leaves, "+hostB))
		next(t, c, "6", "web: "+hostB)
	})
}

func TestDepartureWaitsForEveryClientOfTheService(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		quick, slow := open(), open()
		for _, c := range []subscriber{quick, slow} {
			c.subscribe("web")
			c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		}
		s.Update(settled(service("web", hostB)))
		quick.ack(next(t, quick, "2", "web: "+hostA+" leaves, "+hostB))
		last := next(t, slow, "2", "web: "+hostA+" leaves, "+hostB)
		quick.ack(next(t, quick, "3", "web: "+hostB)) // it need not wait
		s.stillLeaves(t, "web", hostA+" leaves, "+hostB)
		slow.ack(last)
		slow.ack(next(t, slow, "3", "web: "+hostB))
		s.leaves(t, "web", hostB)
		if st := s.Standings("web").At(host(hostA).Addr); !st.Out || !st.Acked() {
			t.Errorf("with all of it acknowledged the host stands at %+v", st)
		}
		s.Update(settled(service("web", hostB, hostC)))
		next(t, quick, "4", "web: "+hostB+", "+hostC) // nothing was sent to it in between
		next(t, slow, "4", "web: "+hostB+", "+hostC)
	})
}

func TestDeparturesOfServicesAreIndependent(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("api", hostC), service("web", hostA)))
		api, web := open(), open()
		api.subscribe("api")
		api.ack(next(t, api, "1", "api: "+hostC))
		web.subscribe("web")
		web.ack(next(t, web, "1", "web: "+hostA))
		s.Update(settled())
		last := next(t, web, "2", "web: "+hostA+" leaves")
		api.ack(next(t, api, "2", "api: "+hostC+" leaves"))
		next(t, api, "3", "api:")
		s.stillLeaves(t, "web", hostA+" leaves")
		web.ack(last)
		next(t, web, "3", "web:")
	})
}

func TestRejectedDepartureIsNotAcknowledged(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c := open()
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.eventually(t, "the first is acknowledged", acked("web"))
		s.Update(settled(service("web", hostB)))
		c.nack(next(t, c, "2", "web: "+hostA+" leaves, "+hostB), "no")
		s.eventually(t, "rejected", func(c Client) bool { return c.NACK != nil })
		s.stillLeaves(t, "web", hostA+" leaves, "+hostB)
	})
}

func TestDepartureWaitsForAClientThatConnectsMeanwhile(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		early, late := open(), open()
		early.subscribe("web")
		early.ack(next(t, early, "1", "web: "+hostA+", "+hostB))
		s.Update(settled(service("web", hostB)))
		told := next(t, early, "2", "web: "+hostA+" leaves, "+hostB)
		late.subscribe("web")
		last := next(t, late, "1", "web: "+hostA+" leaves, "+hostB)
		early.ack(told)
		s.stillLeaves(t, "web", hostA+" leaves, "+hostB)
		late.ack(last)
		next(t, early, "3", "web: "+hostB)
		next(t, late, "2", "web: "+hostB)
	})
}

// stillLeaves fails the test if a leaving endpoint is removed though some client has not
// acknowledged that it leaves.
func (s *Server) stillLeaves(t *testing.T, name, want string) {
	t.Helper()
	time.Sleep(10 * ackedTogether)
	if got := s.lines(name); got != want {
		t.Fatalf("with a client that has not acknowledged, the assignment is %q, want %q", got, want)
	}
}

// leaves waits until the assignment is want.
func (s *Server) leaves(t *testing.T, name, want string) {
	t.Helper()
	for deadline := time.Now().Add(patience); s.lines(name) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the assignment is %q, want %q", s.lines(name), want)
		}
	}
}

// lines is what a client of a service is sent that has acknowledged nothing.
func (s *Server) lines(name string) string {
	p, _ := s.cache.find([]string{name}, "")
	var lines []string
	for _, h := range p.resources[0].after(0).hosts {
		line := h.Addr.String()
		if h.leaving {
			line += " leaves"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func TestDepartureDoesNotWaitForADisconnectedClient(t *testing.T) {
	for name, open := range transports {
		for how, end := range map[string]func(t *testing.T, c subscriber, last reply, hangUp func()){
			"disconnects":  func(_ *testing.T, _ subscriber, _ reply, hangUp func()) { hangUp() },
			"unsubscribes": func(_ *testing.T, c subscriber, last reply, _ func()) { forsake(c, last) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				s := serve(t, patient())
				s.Update(settled(service("web", hostA, hostB)))
				stays := open(t, s.conn)
				stays.subscribe("web")
				stays.ack(next(t, stays, "1", "web: "+hostA+", "+hostB))
				goes, hangUp := s.stranger(t, open)
				goes.subscribe("web")
				goes.ack(next(t, goes, "1", "web: "+hostA+", "+hostB))
				s.Update(settled(service("web", hostB)))
				stays.ack(next(t, stays, "2", "web: "+hostA+" leaves, "+hostB))
				last := next(t, goes, "2", "web: "+hostA+" leaves, "+hostB)
				s.stillLeaves(t, "web", hostA+" leaves, "+hostB)
				end(t, goes, last, hangUp)
				next(t, stays, "3", "web: "+hostB)
			})
		}
	}
}

// forsake asks for another service in place of web, without acknowledging last.
func forsake(c subscriber, last reply) {
	switch c := c.(type) {
	case *sotwClient:
		c.send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"api"}, VersionInfo: c.last.version, ResponseNonce: last.nonce})
	case *deltaClient:
		c.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"api"}, ResourceNamesUnsubscribe: []string{"web"}})
	}
}

// stranger opens a stream on a connection of its own.
func (s *running) stranger(t *testing.T, open func(*testing.T, *grpc.ClientConn) subscriber) (subscriber, func()) {
	conn, err := grpc.NewClient(s.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return open(t, conn), func() { must(t, conn.Close()) }
}
