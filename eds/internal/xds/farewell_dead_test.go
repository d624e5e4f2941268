package xds

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// without is a service whose endpoints at addrs are no longer served, in a state.
func without(s registry.Service, state string, addrs ...string) registry.Service {
	out := registry.Service{Name: s.Name}
	for _, h := range s.Hosts {
		for _, addr := range addrs {
			if h.Addr.String() == addr {
				h = new(*h)
				h.Served, h.State = false, state
			}
		}
		out.Hosts = append(out.Hosts, h)
	}
	return out
}

// Where half of its endpoints or fewer are healthy, Envoy sends requests to the others
// too: the dead must not be among them.
func TestDeadEndpointsAreSentOnlyBesideAHealthyMajority(t *testing.T) {
	const hostD = "10.0.0.4:80"
	all := service("web", hostA, hostB, hostC, hostD)
	for _, tt := range []struct {
		name string
		now  registry.Service
		want string
	}{
		{"one of four dies", without(all, registry.StateDead, hostA), hostA + " leaves, " + hostB + ", " + hostC + ", " + hostD},
		{"half die", without(all, registry.StateDead, hostA, hostB), hostC + ", " + hostD},
		{"half hang", without(all, registry.StateHanging, hostA, hostB), hostC + ", " + hostD},
		{"half are unhealthy", without(all, registry.StateUnhealthy, hostA, hostB), hostC + ", " + hostD},
		{"all die", without(all, registry.StateDead, hostA, hostB, hostC, hostD), ""},
		{"half drain", without(all, registry.StateDraining, hostA, hostB), hostA + " leaves, " + hostB + " leaves, " + hostC + ", " + hostD},
		{"half are excluded", without(all, registry.StateHealthy, hostA, hostB), hostA + " leaves, " + hostB + " leaves, " + hostC + ", " + hostD},
		{"one dies, two drain", without(without(all, registry.StateDraining, hostA, hostB), registry.StateDead, hostC), hostA + " leaves, " + hostB + " leaves, " + hostD},
	} {
		t.Run(tt.name, func(t *testing.T) {
			web := "web: " + tt.want
			if tt.want == "" {
				web = "web:"
			}
			synctest.Test(t, func(t *testing.T) { // a poller, which may poll rarely
				s := New(Options{})
				s.Update(settled(all))
				version := s.poll(t, "", "web: "+hostA+", "+hostB+", "+hostC+", "+hostD)
				s.Update(settled(tt.now))
				time.Sleep(farewellMost + 3*time.Second)
				s.poll(t, version, web)
			})
			onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
				s.Update(settled(all))
				c, stalls := open(), open()
				for _, c := range []subscriber{c, stalls} {
					c.subscribe("web")
					c.ack(next(t, c, "1", "web: "+hostA+", "+hostB+", "+hostC+", "+hostD))
				}
				s.Update(settled(tt.now))
				next(t, c, "2", web)
				next(t, stalls, "2", web)
			})
		})
	}
}

// How many are healthy depends on what this client has, not on what another one has.
func TestHealthyMajorityIsComputedForEachClient(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		all := service("web", hostA, hostB, hostC, "10.0.0.4:80")
		s.Update(settled(all))
		quick, slow := open(), open()
		for _, c := range []subscriber{quick, slow} {
			c.subscribe("web")
			c.ack(next(t, c, "1", "web: "+hostA+", "+hostB+", "+hostC+", 10.0.0.4:80"))
		}
		first := without(all, registry.StateDead, hostA)
		s.Update(settled(first))
		quick.ack(next(t, quick, "2", "web: "+hostA+" leaves, "+hostB+", "+hostC+", 10.0.0.4:80"))
		slow.nack(next(t, slow, "2", "web: "+hostA+" leaves, "+hostB+", "+hostC+", 10.0.0.4:80"), "no")
		quick.ack(next(t, quick, "3", "web: "+hostB+", "+hostC+", 10.0.0.4:80"))
		s.eventuallyAcked(t, "web", 1)

		s.Update(settled(without(first, registry.StateDead, hostB)))
		quick.ack(next(t, quick, "4", "web: "+hostB+" leaves, "+hostC+", 10.0.0.4:80"))
		next(t, slow, "3", "web: "+hostC+", 10.0.0.4:80")
		quick.ack(next(t, quick, "5", "web: "+hostC+", 10.0.0.4:80"))
	})
}

// eventuallyAcked waits until so many clients have acknowledged what they were sent.
func (s *running) eventuallyAcked(t *testing.T, name string, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		have := 0
		for _, c := range s.Clients() {
			if acked(name)(c) {
				have++
			}
		}
		if have >= want {
			return
		}
	}
	t.Fatalf("fewer than %d clients have acknowledged all", want)
}
