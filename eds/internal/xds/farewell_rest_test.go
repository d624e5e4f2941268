package xds

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// poll asks for web over REST and compares the answer, "" for not modified, with want. It
// returns the version that the poller has then.
func (s *Server) poll(t *testing.T, version, want string) string {
	t.Helper()
	w := post(s.ServeRESTv3, pollBody(version, "web"))
	got := ""
	if w.Code == http.StatusOK {
		version, got = toldBy(t, w)
	}
	if got != want {
		t.Fatalf("the answer is %q, want %q", got, want)
	}
	return version
}

// toldBy is what a poll was answered with.
func toldBy(t *testing.T, w *httptest.ResponseRecorder) (version, lines string) {
	t.Helper()
	r := reply{hosts: map[string][]string{}}
	version, clas := decodeV3(t, w)
	for _, cla := range clas {
		r.addAssignment(cla)
	}
	return version, strings.Join(r.lines(), "; ")
}

// In virtual time, after the server's second update: web has lost hostA.
func withPoller(t *testing.T, test func(t *testing.T, s *Server, version string)) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		s.Update(settled(service("web", hostA, hostB)))
		version := s.poll(t, "", "web: "+hostA+", "+hostB)
		s.Update(settled(service("web", hostB)))
		test(t, s, version)
	})
}

func TestPollerReceivesAnEndpointThatLeftLongAgoAsUnhealthy(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, version string) {
		s.assigns(t, "with only a poller", hostB)
		time.Sleep(goneFor / 2)
		version = s.poll(t, version, "web: "+hostA+" leaves, "+hostB)
		version = s.poll(t, version, "web: "+hostB)
		s.poll(t, version, "")
	})
}

func TestPollerReceivesADepartureUntilItAccepts(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, version string) {
		for range 3 {
			s.poll(t, version, "web: "+hostA+" leaves, "+hostB)
		}
		time.Sleep(goneFor + 2*farewellMost)
		s.poll(t, version, "web: "+hostB)
	})
}

func TestPollerReceivesALaterChangeWithTheDeparture(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, version string) {
		s.Update(settled(service("web", hostB, hostC)))
		version = s.poll(t, version, "web: "+hostA+" leaves, "+hostB+", "+hostC)
		s.Update(settled(service("web", hostC)))
		version = s.poll(t, version, "web: "+hostB+" leaves, "+hostC)
		s.poll(t, version, "web: "+hostC)
	})
}

func TestPollerDoesNotReceiveTheDepartureOfAnEndpointThatReturned(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, version string) {
		s.Update(settled(service("web", hostA, hostB, hostC)))
		version = s.poll(t, version, "web: "+hostA+", "+hostB+", "+hostC)
		s.poll(t, version, "")
	})
}

func TestPollerReceivesTheDepartureOfAWholeService(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, version string) {
		s.Update(settled())
		s.Update(settled())
		version = s.poll(t, version, "web: "+hostA+" leaves, "+hostB+" leaves")
		version = s.poll(t, version, "web:")
		s.poll(t, version, "")
	})
}

func TestNewPollerReceivesNoDeparture(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, _ string) {
		s.poll(t, "", "web: "+hostB)
	})
}

// The version of the poller is unknown here, and may be older.
func TestPollerOfAnotherServerReceivesADeparture(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, _ string) {
		version := s.poll(t, "0123456789abcdef", "web: "+hostA+" leaves, "+hostB)
		s.poll(t, version, "web: "+hostB)
	})
}

func TestOnePollDuringADepartureIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA, hostB)))
		version := s.poll(t, "", "web: "+hostA+", "+hostB)
		s.Update(settled(service("web", hostB)))
		version = s.poll(t, version, "web: "+hostA+" leaves, "+hostB)
		version = s.poll(t, version, "web: "+hostB)
		s.assigns(t, "for others", hostA+" leaves, "+hostB)
		time.Sleep(farewellMost)
		s.assigns(t, "after a second", hostB)
		s.poll(t, version, "")
	})
}

func TestStreamsDoNotWaitForAPoller(t *testing.T) {
	onEachFarewell(t, func(t *testing.T, s *running, open func() subscriber) {
		s.Update(settled(service("web", hostA, hostB)))
		s.poll(t, "", "web: "+hostA+", "+hostB)
		c := open()
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
		s.Update(settled(service("web", hostB)))
		c.ack(next(t, c, "2", "web: "+hostA+" leaves, "+hostB))
		next(t, c, "3", "web: "+hostB)
	})
}

func TestAcknowledgingPollIsSignaledAtOnce(t *testing.T) {
	withPoller(t, func(t *testing.T, s *Server, version string) {
		heard := func() bool {
			select {
			case <-s.Acked():
				return true
			default:
				return false
			}
		}
		heard() // drains the signals so far
		version = s.poll(t, version, "web: "+hostA+" leaves, "+hostB)
		heard()
		version = s.poll(t, version, "web: "+hostB)
		if !heard() {
			t.Error("no signal that it has what it was sent")
		}
		s.poll(t, version, "")
		heard()
		if s.poll(t, version, ""); heard() {
			t.Error("a repeated poll is signaled")
		}
		s.Update(settled(service("web", hostB), service("other", hostA)))
		heard()
		if s.poll(t, version, ""); heard() {
			t.Error("it is once another service has changed")
		}
	})
}
