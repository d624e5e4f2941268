package xds

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// silent is a server with one client that asked for web and acknowledges nothing.
func silent() *Server {
	s := New(Options{})
	c, _ := s.clients.open(TransportEDS, "peer", time.Now())
	c.acks.subscribe([]string{"web"})
	return s
}

// assigns compares the assignment of web with want.
func (s *Server) assigns(t *testing.T, when, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.lines("web"); got != want {
		t.Errorf("%s: the assignment is %q, want %q", when, got, want)
	}
}

func TestUnacknowledgedDepartureTakesOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostB)))
		time.Sleep(farewellMost / 2)
		s.Update(settled(service("web"))) // the second one has a second of its own
		time.Sleep(farewellMost/2 - time.Millisecond)
		s.assigns(t, "before a second is over", hostA+" leaves, "+hostB+" leaves")
		time.Sleep(time.Millisecond)
		s.assigns(t, "after a second", hostB+" leaves")
		time.Sleep(farewellMost / 2)
		s.assigns(t, "after both", "")
	})
}

func TestLaterDepartureDoesNotDelayAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		c, _ := s.clients.open(TransportEDS, "peer", time.Now())
		c.acks.subscribe([]string{"web"})
		s.Update(settled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostB)))
		told, _ := s.cache.lookup([]string{"web"}, "")
		s.Update(settled(service("web")))
		c.acks.pushed(told.as("1"), true)
		c.acks.ack("1")
		s.lookSoon()
		time.Sleep(ackedTogether)
		s.assigns(t, "with the first acknowledged", hostB+" leaves")
	})
}

func TestRemovedServiceIsForgottenAfterItsDepartures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA)))
		s.Update(settled())
		s.Update(settled())
		s.assigns(t, "at once", hostA+" leaves")
		time.Sleep(farewellMost)
		s.assigns(t, "after a second", "")
		time.Sleep(goneFor + time.Nanosecond)
		s.Update(settled())
		if len(s.services) != 0 || len(s.leaving) != 0 {
			t.Errorf("%d services are kept, %d with hosts that leave", len(s.services), len(s.leaving))
		}
	})
}

func TestServiceThatReturnsHasOnlyItsNewEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA, hostB)))
		s.Update(settled())
		s.Update(settled(service("web", hostB)))
		s.assigns(t, "at once", hostA+" leaves, "+hostB)
		s.Update(settled(service("web", hostB, hostC)))
		s.assigns(t, "after another change", hostA+" leaves, "+hostB+", "+hostC)
		time.Sleep(farewellMost)
		s.assigns(t, "after a second", hostB+", "+hostC)
	})
}

func TestDepartureWithoutClientsIsImmediate(t *testing.T) {
	s := New(Options{})
	s.Update(settled(service("web", hostA, hostB)))
	s.Update(settled(service("web", hostB)))
	if got := s.lines("web"); got != hostB {
		t.Errorf("the assignment is %q, want %q", got, hostB)
	}
}

func TestNoDepartureIsSentBeforeThePoolHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(unsettled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostB)))
		s.assigns(t, "at once", hostB)
	})
}

func TestEndpointThatIsLeavingWhenTheServerEndsStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostB)))
		s.lookSoon()
		s.close()
		s.Update(settled(service("web")))
		time.Sleep(2 * farewellMost)
		s.assigns(t, "after the end", hostA+" leaves, "+hostB+" leaves")
	})
}

func TestV1ListsNoLeavingEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent()
		s.Update(settled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostB)))
		s.assigns(t, "at once", hostA+" leaves, "+hostB)
		w := httptest.NewRecorder()
		s.ServeRegistration(w, httptest.NewRequest(http.MethodGet, "/v1/registration/web", nil), "web")
		if got := w.Body.String(); strings.Contains(got, `"10.0.0.1"`) || !strings.Contains(got, `"10.0.0.2"`) {
			t.Errorf("v1 lists %s", got)
		}
	})
}
