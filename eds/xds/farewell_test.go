package xds

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/registry"
)

// onEachFarewell runs a test over each stream of a server that says farewell for
// as long as the test may take, so that only an acknowledgement ends it.
func onEachFarewell(t *testing.T, test func(t *testing.T, s *running, open func() subscriber)) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			server := New(Options{})
			server.farewell = 10 * patience
			s := serve(t, server)
			test(t, s, func() subscriber { return open(t, s.conn) })
		})
	}
}

func TestAHostLeavesOnceItsFarewellIsAcknowledged(t *testing.T) {
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

func TestAllHostsAndTheServiceMayLeaveAtOnce(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		c := open()
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.eventually(t, "the first is acknowledged", acked("web"))
		s.Update(settled())
		c.ack(next(t, c, "2", "web: "+hostA+" leaves, "+hostB+" leaves"))
		next(t, c, "3", "web:")
	})
}

func TestAHostThatComesBackDoesNotLeave(t *testing.T) {
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

func TestEveryClientOfTheServiceIsWaitedFor(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB), service("api", hostC)))
		quick, slow, other := open(), open(), open()
		for _, c := range []subscriber{quick, slow} {
			c.subscribe("web")
			c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		}
		other.subscribe("api") // and never acknowledges anything
		next(t, other, "1", "api: "+hostC)
		s.Update(settled(service("web", hostB), service("api", hostC)))
		quick.ack(next(t, quick, "2", "web: "+hostA+" leaves, "+hostB))
		last := next(t, slow, "2", "web: "+hostA+" leaves, "+hostB)
		time.Sleep(20 * ackedTogether)
		if lines := s.lines("web"); !strings.Contains(lines, "leaves") {
			t.Fatalf("with a client that has not acknowledged, the assignment is %q", lines)
		}
		slow.ack(last)
		next(t, quick, "3", "web: "+hostB)
		next(t, slow, "3", "web: "+hostB)
	})
}

// lines is the current assignment of a service.
func (s *Server) lines(name string) string {
	p, _ := s.cache.lookup([]string{name})
	var lines []string
	for _, h := range p.assignments[0].hosts {
		line := h.Addr.String()
		if h.leaving {
			line += " leaves"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func TestAClientThatGoesIsNotWaitedFor(t *testing.T) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			server := New(Options{})
			server.farewell = 10 * patience
			s := serve(t, server)
			s.Update(settled(service("web", hostA, hostB)))
			stays := open(t, s.conn)
			stays.subscribe("web")
			stays.ack(next(t, stays, "1", "web: "+hostA+", "+hostB))
			goes, hangUp := s.stranger(t, open)
			goes.subscribe("web")
			next(t, goes, "1", "web: "+hostA+", "+hostB)
			s.Update(settled(service("web", hostB)))
			hangUp()
			stays.ack(next(t, stays, "2", "web: "+hostA+" leaves, "+hostB))
			next(t, stays, "3", "web: "+hostB)
		})
	}
}

// stranger opens a stream on a connection of its own.
func (s *running) stranger(t *testing.T, open func(*testing.T, *grpc.ClientConn) subscriber) (subscriber, func()) {
	conn, err := grpc.NewClient(s.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return open(t, conn), func() { must(t, conn.Close()) }
}

// silent is a server in virtual time with one client that asked for web and
// acknowledges nothing.
func silent() *Server {
	s := New(Options{})
	c, _ := s.clients.open(TransportEDS, "peer", time.Now())
	c.acks.subscribe([]string{"web"})
	return s
}

func TestAFarewellThatNobodyAcknowledgesLastsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostB)))
		time.Sleep(farewellMost / 2)
		s.Update(settled(service("web"))) // the second one has a second of its own
		time.Sleep(farewellMost/2 - time.Millisecond)
		if got, want := s.lines("web"), hostA+" leaves, "+hostB+" leaves"; got != want {
			t.Errorf("before a second is over: %q, want %q", got, want)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got, want := s.lines("web"), hostB+" leaves"; got != want {
			t.Errorf("after a second: %q, want %q", got, want)
		}
		time.Sleep(farewellMost / 2)
		synctest.Wait()
		if got := s.lines("web"); got != "" {
			t.Errorf("after both: %q", got)
		}
	})
}

func TestNobodyIsToldFarewellWhereNobodyAsked(t *testing.T) {
	s := New(Options{})
	s.Update(settled(service("web", hostA, hostB)))
	s.Update(settled(service("web", hostB)))
	if got := s.lines("web"); got != hostB {
		t.Errorf("the assignment is %q, want %q", got, hostB)
	}
}

func TestAPollAcknowledgesAFarewell(t *testing.T) {
	s := New(Options{})
	s.farewell = 10 * patience
	poll := func(version string) string {
		w := httptest.NewRecorder()
		body := `{"node":{"id":"n"},"resource_names":["web"],"version_info":"` + version + `"}`
		s.ServeRESTv3(w, httptest.NewRequest(http.MethodPost, "/v3/discovery:endpoints", strings.NewReader(body)))
		p, _ := s.cache.lookup([]string{"web"})
		return p.version
	}
	s.Update(settled(service("web", hostA, hostB)))
	first := poll("")
	s.Update(settled(service("web", hostB)))
	told := poll(first)
	if got, want := s.lines("web"), hostA+" leaves, "+hostB; got != want {
		t.Fatalf("the assignment is %q, want %q", got, want)
	}
	poll(told)
	for deadline := time.Now().Add(patience); s.lines("web") != hostB; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the assignment is still %q", s.lines("web"))
		}
	}
}

func TestV1ListsNobodyWhoLeaves(t *testing.T) {
	s := silent()
	s.Update(settled(service("web", hostA, hostB)))
	s.Update(settled(service("web", hostB)))
	w := httptest.NewRecorder()
	s.ServeRegistration(w, httptest.NewRequest(http.MethodGet, "/v1/registration/web", nil), "web")
	if a, _, _ := strings.Cut(hostA, ":"); strings.Contains(w.Body.String(), `"`+a+`"`) {
		t.Errorf("v1 lists %s", w.Body)
	}
	s.close()
}

// However hosts come and go, when all is quiet the assignment is what is wanted.
func TestFarewellsEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		updates := rapid.SliceOf(rapid.SliceOfDistinct(rapid.SampledFrom([]string{hostA, hostB, hostC}), rapid.ID)).Draw(rt, "updates")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 1500), len(updates), len(updates)).Draw(rt, "pauses")
		synctest.Test(t, func(*testing.T) {
			s := silent()
			s.Update(settled())
			want := ""
			for i, hosts := range updates {
				slices.Sort(hosts)
				want = strings.Join(hosts, ", ")
				services := []registry.Service{service("web", hosts...)}
				if len(hosts) == 0 {
					services = nil
				}
				s.Update(settled(services...))
				time.Sleep(time.Duration(pauses[i]) * time.Millisecond)
			}
			time.Sleep(farewellMost)
			synctest.Wait()
			if got := s.lines("web"); got != want {
				rt.Fatalf("the assignment is %q, want %q", got, want)
			}
		})
	})
}
