package xds

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// awaited is a poll that is under way.
type awaited struct {
	leave    context.CancelFunc // the client goes away
	answered chan struct{}      // closed
	recorder *httptest.ResponseRecorder
}

// sends polls as a client with this timeout does.
func sends(s *Server, expected, body string) *awaited {
	return sendsFrom("127.0.0.1:5000", s, expected, body)
}

func sendsFrom(address string, s *Server, expected, body string) *awaited {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.RemoteAddr = address
	if expected != "" {
		r.Header.Set("x-envoy-expected-rq-timeout-ms", expected)
	}
	ctx, leave := context.WithCancel(r.Context())
	a := &awaited{leave: leave, answered: make(chan struct{}), recorder: httptest.NewRecorder()}
	go func() {
		defer close(a.answered)
		defer leave()
		s.ServeRESTv3(a.recorder, r.WithContext(ctx))
	}()
	return a
}

// held reports whether the poll is unanswered once all goroutines wait.
func (a *awaited) held() bool {
	synctest.Wait()
	select {
	case <-a.answered:
		return false
	default:
		return true
	}
}

// says returns the answer, and when it came: at once, or after how long.
func (a *awaited) says() string {
	began := time.Now()
	<-a.answered
	at := "at once"
	if took := time.Since(began); took > 0 {
		at = "after " + took.String()
	}
	return fmt.Sprint(a.recorder.Code, " ", at)
}

func (s *Server) nobodyWaits(t *testing.T) {
	t.Helper()
	synctest.Wait()
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	watchers := 0
	for _, e := range s.cache.entries {
		watchers += len(e.watchers)
	}
	if len(s.cache.watchers) > 0 || watchers > 0 || len(s.clients.held) > 0 {
		t.Errorf("%d watchers, %d of names, held are %v", len(s.cache.watchers), watchers, s.clients.held)
	}
}

// holding runs a test in virtual time, with a server that serves web, and the version
// of that.
func holding(t *testing.T, opts Options, test func(t *testing.T, s *Server, version string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := abrupt(opts)
		s.Update(settled(service("web", hostA), service("other", hostA)))
		version, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web")))
		test(t, s, version)
		time.Sleep(maxHold) // at most
		s.nobodyWaits(t)
	})
}

// updates serves one after the other, faster than a held poll can look.
func (s *Server) updates(web ...registry.Service) {
	s.clients.mu.Lock() // of who was held and is about to look again
	defer s.clients.mu.Unlock()
	for _, sv := range web {
		s.Update(settled(service("other", hostB), sv))
	}
}

func TestHeldPollIsAnsweredWithAChange(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, version string) {
		a := sends(s, "1000", pollBody(version, "web"))
		if !a.held() {
			t.Fatal("it is answered at once")
		}
		s.Update(settled(service("web", hostA), service("other", hostB)))
		if !a.held() {
			t.Fatal("another service changed, and it is answered")
		}
		time.Sleep(499 * time.Millisecond)
		s.updates(service("web", hostB), service("web", hostB, hostC))
		if got := a.says(); got != "200 at once" {
			t.Error(got)
		}
		held, got := toldBy(t, a.recorder)
		if got != "web: "+hostB+", "+hostC {
			t.Errorf("it is answered with %q", got)
		}
		if got := goneFrom(s); got != "out 0/1" {
			t.Errorf("before it polls again: %q", got)
		}
		if !sends(s, "1000", pollBody(held, "web")).held() {
			t.Error("it holds what is current, and is answered at once")
		}
		if got := goneFrom(s); got != "out 1/1" {
			t.Errorf("its poll with the new version is held: %q", got)
		}
	})
}

func TestPollIsHeldForHalfOfItsClientsTimeout(t *testing.T) {
	for expected, want := range map[string]string{
		"1000": "304 after 500ms", "100": "304 after 50ms", "2001": "304 after 1s", "15000": "304 after 5s", "9223372036854775807": "304 after 5s",
		"": "304 at once", "99": "304 at once", "0": "304 at once", "-1000": "304 at once", "1000.5": "304 at once", "1s": "304 at once",
		" ": "304 at once", "0x1000": "304 at once", "9223372036854775808": "304 at once",
	} {
		t.Run(expected, func(t *testing.T) {
			holding(t, Options{}, func(t *testing.T, s *Server, version string) {
				if got := sends(s, expected, pollBody(version, "web")).says(); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			})
		})
	}
}

func TestHeldPollsEndTogether(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, version string) {
		first := sends(s, "1000", pollBody(version, "web"))
		time.Sleep(endTogether - time.Nanosecond)
		second := sends(s, "1000", pollBody(version, "web"))
		began := time.Now()
		<-second.answered
		if first.held() || time.Since(began) != 500*time.Millisecond-endTogether+time.Nanosecond {
			t.Errorf("the second is answered after %s, the first is not: %t", time.Since(began), first.held())
		}
	})
}

func TestPollsThatAreNotHeld(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, version string) {
		both, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web", "other")))
		for body, want := range map[string]string{
			pollBody("", "web"):            "200 at once",
			pollBody("older", "web"):       "200 at once",
			pollBody(both, "other", "web"): "304 at once",
			pollBody(version, "*"):         "400 at once",
		} {
			if got := sends(s, "1000", body).says(); got != want {
				t.Errorf("%s: %s, want %s", body, got, want)
			}
		}
		s.Update(unsettled(service("web", hostA)))
		for _, version := range []string{"", version} {
			if got := sends(s, "1000", pollBody(version, "web")).says(); got != "503 at once" {
				t.Errorf("unsettled: %s", got)
			}
		}
	})
}

func TestHeldPollIsLoggedOnce(t *testing.T) {
	var log lines
	holding(t, Options{Logger: log.logger()}, func(t *testing.T, s *Server, version string) {
		a := sends(s, "1000", pollBody(version, "web"))
		synctest.Wait()
		s.Update(settled(service("web", hostB)))
		a.says()
		if got := log.with("says=poll", "version="+version); len(got) != 1 {
			t.Errorf("logged %q", got)
		}
	})
}

// The service has no endpoint, and the client knows that.
func TestPollForAnEmptyServiceIsHeldUntilItHasAnEndpoint(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, _ string) {
		version, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "new")))
		a := sends(s, "1000", pollBody(version, "new"))
		if !a.held() {
			t.Error("it is answered at once")
		}
		s.Update(settled(service("new", hostA)))
		if got := a.says(); got != "200 at once" {
			t.Error(got)
		}
	})
}

func TestHeldPollEndsWithItsClient(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, version string) {
		a := sends(s, "10000", pollBody(version, "web"))
		if !a.held() {
			t.Fatal("it is answered at once")
		}
		a.leave()
		if a.held() {
			t.Fatal("it goes on")
		}
		s.nobodyWaits(t)
	})
}

func TestHeldPollsEndWithTheServer(t *testing.T) {
	for name, end := range map[string]func(*Server){"HTTP": (*Server).EndHolds, "gRPC": (*Server).close} {
		t.Run(name, func(t *testing.T) {
			holding(t, Options{}, func(t *testing.T, s *Server, version string) {
				a := sends(s, "10000", pollBody(version, "web"))
				if !a.held() {
					t.Fatal("it is answered at once")
				}
				end(s)
				end(s)
				for range 2 {
					if got := a.says(); got != "304 at once" {
						t.Error(got)
					}
					a = sends(s, "10000", pollBody(version, "web")) // not held any more
				}
			})
		})
	}
}

// A held poll is one of the requests that http.Server.Shutdown waits for.
func TestShutdownDoesNotWaitForHeldPolls(t *testing.T) {
	s := abrupt(Options{})
	s.Update(settled(service("web", hostA)))
	version, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web")))
	server := httptest.NewServer(http.HandlerFunc(s.ServeRESTv3))
	defer server.Close()
	server.Config.RegisterOnShutdown(s.EndHolds)
	status := make(chan int, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(pollBody(version, "web")))
		req.Header.Set(expectedHeader, "10000")
		resp, err := server.Client().Do(req)
		if err != nil {
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	s.eventuallyHolds(t, 1)
	began := time.Now()
	must(t, server.Config.Shutdown(t.Context()))
	if took := time.Since(began); took > maxHold/2 {
		t.Errorf("it took %s", took)
	}
	if got := <-status; got != http.StatusNotModified {
		t.Errorf("answered %d", got)
	}
}

// eventuallyHolds waits until so many polls are held.
func (s *Server) eventuallyHolds(t *testing.T, n int) {
	t.Helper()
	held := func() (n int) {
		s.clients.mu.Lock()
		defer s.clients.mu.Unlock()
		for _, of := range s.clients.held {
			n += of
		}
		return n
	}
	for deadline := time.Now().Add(patience); held() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d polls are held, want %d", held(), n)
		}
	}
}

func TestContentThatChangedBackIsNotModified(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, version string) {
		a := sends(s, "1000", pollBody(version, "web"))
		synctest.Wait()
		s.updates(service("web", hostB), service("web", hostA))
		if got := a.says(); got != "304 at once" {
			t.Error(got)
		}
	})
}

func TestHeldPollIsAnsweredWithADeparture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		s.Update(settled(service("web", hostA, hostB)))
		version := s.poll(t, "", "web: "+hostA+", "+hostB)
		a := sends(s, "1000", pollBody(version, "web"))
		synctest.Wait()
		s.Update(settled(service("web", hostB)))
		if got := a.says(); got != "200 at once" {
			t.Fatal(got)
		}
		version, got := toldBy(t, a.recorder)
		if got != "web: "+hostA+" leaves, "+hostB {
			t.Errorf("it is answered with %q", got)
		}
		s.poll(t, version, "web: "+hostB)
	})
}
