package xds

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// polls polls from one address under n node ids, and returns how many were accepted.
func polls(cs *clients, host string, n int) (in int) {
	for i := range n {
		if _, ok := cs.poll(poller{transport: TransportREST, node: fmt.Sprint("node-", i), host: host}, host+":1", time.Now()); ok {
			in++
		}
	}
	return in
}

func TestPollersLeaveRoomForStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newClients(1000, 0)
		if in := polls(cs, "10.0.0.1", 1000); in != 100 {
			t.Errorf("%d from one address, want 100", in)
		}
		in := 100
		for i := range 20 {
			in += polls(cs, fmt.Sprint("10.0.1.", i), 100)
		}
		if in != 500 {
			t.Errorf("%d from all addresses, want 500", in)
		}
		for range 500 {
			if _, ok := cs.open(TransportADS, "10.0.0.1:2", time.Now()); !ok {
				t.Fatal("no room for a stream")
			}
		}
		if polls(cs, "10.0.0.1", 100) != 100 {
			t.Error("those that are in are not let in again")
		}
		time.Sleep(2 * minPollLife)
		if in := polls(cs, "10.0.2.1", 1); in != 1 || len(cs.hosts) != 1 {
			t.Errorf("those of long ago take up room: %d of %v", in, cs.hosts)
		}
		if in := polls(cs, "10.0.0.1", 200); in != 100 {
			t.Errorf("%d from the first address, want 100 again", in)
		}
	})
}

func TestSmallServerAllowsSeveralPollersPerAddress(t *testing.T) {
	if in := polls(newClients(60, 0), "10.0.0.1", 100); in != minPollersAHost {
		t.Errorf("%d", in)
	}
}

func TestCountsEqualTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := abrupt(Options{})
		s.Update(settled(service("web", hostA)))
		same := func(what string, nacking int, transports map[string]int) {
			t.Helper()
			maps.DeleteFunc(transports, func(_ string, n int) bool { return n == 0 })
			got := s.Count()
			maps.DeleteFunc(got.Transports, func(_ string, n int) bool { return n == 0 })
			listed := Count{Transports: make(map[string]int)}
			for _, c := range s.Clients() {
				listed.Transports[c.Transport]++
				if c.NACK != nil {
					listed.NACKing++
				}
			}
			if got.NACKing != nacking || !maps.Equal(got.Transports, transports) || listed.NACKing != nacking || !maps.Equal(listed.Transports, transports) {
				t.Errorf("%s: counted %+v, listed %+v", what, got, listed)
			}
		}
		same("nobody", 0, map[string]int{})
		post(s.ServeRESTv3, pollBody("", "web"))
		c := opened(t, s.clients, "a", 0)
		same("both", 0, map[string]int{TransportREST: 1, TransportADS: 1})
		for range 2 {
			post(s.ServeRESTv3, `{"node":{"id":"envoy-1"},"resource_names":["web"],"error_detail":{"message":"no"}}`)
		}
		same("one refused, twice", 1, map[string]int{TransportREST: 1, TransportADS: 1})
		s.clients.close(c, true, time.Now())
		same("the stream broke", 1, map[string]int{TransportREST: 1})
		time.Sleep(2 * minPollLife)
		same("the other stopped", 0, map[string]int{})
	})
}

// A poller that stops is waited for like a stream that broke, once it is known how often
// it polled; until then its next poll may be far away.
func TestPollerIsGoneAfterItsOwnInterval(t *testing.T) {
	for name, tc := range map[string]struct {
		polls, burst int // each time, so many at once
		every, most  time.Duration
	}{
		"one poll":                   {1, 1, 0, minPollLife},
		"a burst of several":         {1, 9, 0, minPollLife},
		"quick ones, not for long":   {60, 1, time.Second, minPollLife},
		"quick ones":                 {61, 1, time.Second, 3*time.Second + comeBack},
		"very quick ones":            {601, 1, 100 * time.Millisecond, 300*time.Millisecond + comeBack},
		"slow ones, not for long":    {2, 1, 50 * time.Second, 150 * time.Second},
		"slow ones":                  {3, 1, 30 * time.Second, 90*time.Second + comeBack},
		"slow ones, several at once": {4, 2, 32 * time.Second, 90*time.Second + comeBack},
	} {
		synctest.Test(t, func(t *testing.T) {
			cs := newClients(100, 0)
			for i := range tc.polls * tc.burst {
				if i > 0 && i%tc.burst == 0 {
					time.Sleep(tc.every)
				}
				c, ok := cs.poll(poller{transport: TransportREST, node: "n"}, "10.0.0.1:1", time.Now())
				if !ok {
					t.Fatal("it is not let in")
				}
				cs.heard(c, request{node: "n"}, time.Now())
			}
			here := func() int { return len(cs.list(time.Now())) }
			if time.Sleep(tc.most); here() != 1 {
				t.Errorf("%s: after %s it is gone", name, tc.most)
			}
			if time.Sleep(time.Nanosecond); here() != 0 {
				t.Errorf("%s: after more than %s it is still there", name, tc.most)
			}
		})
	}
}
