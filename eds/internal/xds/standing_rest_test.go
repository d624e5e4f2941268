package xds

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestPollAcknowledgesTheAnswerBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := abrupt(Options{})
		is := func(what, want string) {
			t.Helper()
			if got := goneFrom(s); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		poll := func(version string) string {
			t.Helper()
			w := post(s.ServeRESTv3, pollBody(version, "web"))
			if w.Code == 304 {
				return version
			}
			next, _ := decodeV3(t, w)
			return next
		}
		s.Update(settled(service("web", hostA, hostB)))
		is("no client polls", "in 0/0")
		old := poll("")
		is("it was answered, and may not take it", "in 0/1")
		poll(old)
		is("it polls with that version", "in 1/1")

		s.Update(settled(service("web", hostB)))
		is("it has not polled since", "out 0/1")
		current := poll(old)
		is("it polled with the version of before", "out 0/1")
		if st := s.Standings("web").At(netip.MustParseAddrPort(hostA)); len(st.Behind) != 1 || st.Behind[0] != "envoy-1" {
			t.Errorf("behind are %q", st.Behind)
		}
		poll(old)
		is("it rejects what it is answered with, and polls as before", "out 0/1")
		poll(current)
		is("it polls with the new version", "out 1/1")

		s.Update(settled(service("web", hostC)))
		time.Sleep(minPollLife)
		if st := s.Standings("web").At(netip.MustParseAddrPort(hostB)); st.Have != 0 || st.Of != 1 {
			t.Errorf("it may still poll: %+v", st)
		}
		time.Sleep(time.Nanosecond)
		if st := s.Standings("web").At(netip.MustParseAddrPort(hostB)); st.Of != 0 {
			t.Errorf("it has stopped polling: %+v", st)
		}
	})
}
