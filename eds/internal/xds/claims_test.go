package xds

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

const claimsTest = 10 * time.Second

// five is a service of n of its five hosts.
func five(n int) registry.Service {
	s := registry.Service{Name: "web"}
	for i := range n {
		s.Hosts = append(s.Hosts, host(fmt.Sprintf("10.0.0.%d:80", i+1)))
	}
	return s
}

// held is the version of five(n).
func held(t *testing.T, n int) string { return mustEncodeService(t, five(n)).version() }

// remembering runs a test in virtual time, with a server that has just started.
func remembering(t *testing.T, f func(s *Server, log *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := abrupt(Options{Claims: claimsTest, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer s.close()
		f(s, &log)
	})
}

// arrive opens a stream with a claim, and counts its answers.
func arrive(s *Server, ch change, names ...string) *atomic.Int32 {
	w, _, _, _ := counted(false, names...)
	n := new(atomic.Int32)
	ch.add = names
	s.cache.watch(w, ch, func() { n.Add(1) })
	return n
}

// claimed are the ways in which a stream says what it has of "web".
var claimed = map[string]func(version string) change{
	"state of the world": func(v string) change { return change{due: true, claim: v} },
	"delta":              func(v string) change { return change{claims: true, initial: map[string]string{"web": v}} },
}

func TestClientWithMoreEndpointsIsNotAnsweredUntilAsManyAreKnown(t *testing.T) {
	for name, claim := range claimed {
		t.Run(name, func(t *testing.T) {
			remembering(t, func(s *Server, _ *bytes.Buffer) {
				s.Update(settled())
				answers := arrive(s, claim(held(t, 5)), "web")
				for n := range 5 {
					s.Update(settled(five(n)))
					time.Sleep(time.Second)
					if answers.Load() != 0 {
						t.Fatalf("answered with %d of 5 endpoints", n)
					}
				}
				more := five(5)
				more.Hosts[0].Weight = 7 // else there is nothing to send over delta
				s.Update(settled(more))
				time.Sleep(2 * reviewEvery)
				if answers.Load() != 1 {
					t.Errorf("answered %d times once all are known, want once", answers.Load())
				}
			})
		})
	}
}

func TestClaimEndsTenSecondsAfterTheStart(t *testing.T) {
	for name, claim := range claimed {
		for _, version := range []string{held(t, 5), "1-999999999-0123456789abcdef", "0123456789abcdef", "of another server"} {
			t.Run(name+" "+version, func(t *testing.T) {
				remembering(t, func(s *Server, log *bytes.Buffer) {
					s.Update(settled(five(2)))
					time.Sleep(4 * time.Second)
					first := arrive(s, claim(version), "web")
					time.Sleep(5900 * time.Millisecond)
					again := arrive(s, claim(version), "web") // its stream broke
					synctest.Wait()
					if first.Load()+again.Load() != 0 {
						t.Error("answered too early")
					}
					time.Sleep(200 * time.Millisecond)
					late := arrive(s, claim(version), "web")
					synctest.Wait()
					if first.Load() != 1 || again.Load() != 1 || late.Load() != 1 {
						t.Errorf("answered %d, %d and %d times, want each once", first.Load(), again.Load(), late.Load())
					}
					if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "services=web") || !strings.Contains(log.String(), "now=2 ") {
						t.Errorf("no warning with the counts:\n%s", log)
					}
				})
			})
		}
	}
}

func TestClientIsAnsweredAtOnce(t *testing.T) {
	fewer := five(5)
	fewer.Hosts[4].Served, fewer.Hosts[4].State = false, registry.StateDead
	left := five(4)
	left.Departed = 1
	for _, tt := range []struct {
		name    string
		version string
		known   registry.Service
	}{
		{"that holds nothing", "", five(2)},
		{"that holds as much", held(t, 2), five(2)},
		{"that holds less", held(t, 1), five(2)},
		{"that holds the same by an older version", "0123456789abcdef", registry.Service{}},
		{"that holds one that is proven dead", held(t, 5), fewer},
		{"that holds one that has left", held(t, 5), left},
		{"that an operator's pin decides about", held(t, 5), registry.Service{Name: "web", Mode: "pin", Hosts: five(1).Hosts}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			remembering(t, func(s *Server, _ *bytes.Buffer) {
				if tt.known.Name == "" {
					tt.known = five(2)
					_, tt.version, _ = parseVersion(held(t, 2))
				}
				s.Update(settled(tt.known))
				answers := arrive(s, claimed["state of the world"](tt.version), "web")
				synctest.Wait()
				if answers.Load() != 1 {
					t.Errorf("answered %d times, want once", answers.Load())
				}
			})
		})
	}
}

// The version that a stream came with does not cover the names that it adds later.
func TestNamesAddedLaterAreNotPartOfAClaim(t *testing.T) {
	remembering(t, func(s *Server, _ *bytes.Buffer) {
		w, _, notify, answers := counted(false, "web")
		s.cache.watch(w, change{add: []string{"web"}, due: true, claim: held(t, 5)}, notify)
		other := five(5)
		other.Name = "other"
		w.names = listOf([]string{"other", "web"})
		s.cache.watch(w, change{add: []string{"other"}}, notify) // before gossip has settled
		s.Update(settled(five(1), other))
		time.Sleep(time.Second)
		synctest.Wait()
		if *answers != 0 {
			t.Fatal("answered with 1 of the 5 endpoints that it holds of web")
		}
		s.Update(settled(five(5), other))
		time.Sleep(2 * reviewEvery)
		synctest.Wait()
		if *answers != 1 {
			t.Errorf("answered %d times once all are known, want once", *answers)
		}
	})
}

// A client that unsubscribed from a service and subscribes again has nothing of it.
func TestServiceThatIsSubscribedAgainIsSentAgain(t *testing.T) {
	remembering(t, func(s *Server, _ *bytes.Buffer) {
		w, _, notify, answers := counted(false, "web")
		s.cache.watch(w, change{add: []string{"web"}, claims: true, initial: map[string]string{"web": held(t, 5)}}, notify)
		s.cache.watch(w, change{remove: []string{"web"}}, notify)
		s.cache.watch(w, change{add: []string{"web"}}, notify)
		s.Update(settled(five(5)))
		synctest.Wait()
		if *answers != 1 {
			t.Errorf("answered %d times, want once", *answers)
		}
	})
}

func TestDeltaClientIsAnsweredAboutItsOtherServices(t *testing.T) {
	remembering(t, func(s *Server, _ *bytes.Buffer) {
		other := five(1)
		other.Name = "other"
		s.Update(settled(other))
		w, _, notify, answers := counted(false, "other", "web")
		s.cache.watch(w, change{add: []string{"other", "web"}, claims: true, initial: map[string]string{"web": held(t, 5)}}, notify)
		if *answers != 1 {
			t.Fatal("not answered about a service that it holds nothing of")
		}
		if p := s.cache.collect(w, false); len(p.assignments) != 1 || p.assignments[0].name != "other" {
			t.Errorf("answered with %v", p.assignments)
		}
		s.cache.watch(w, change{}, notify)
		more := five(5)
		more.Hosts[0].Weight = 7
		s.Update(settled(more, other))
		time.Sleep(2 * reviewEvery)
		synctest.Wait()
		if p := s.cache.collect(w, false); *answers != 2 || len(p.assignments) != 1 || p.assignments[0].name != "web" {
			t.Errorf("answered %d times, at last with %v", *answers, p.assignments)
		}
	})
}

func TestPollOfAClientWithMoreEndpointsIsRefusedUntilAsManyAreKnown(t *testing.T) {
	remembering(t, func(s *Server, log *bytes.Buffer) {
		poll := func(version string) int {
			w := httptest.NewRecorder()
			body := fmt.Sprintf(`{"version_info":%q,"node":{"id":"a"},"resource_names":["web"]}`, version)
			s.ServeRESTv3(w, httptest.NewRequest(http.MethodPost, "/v3/discovery:endpoints", strings.NewReader(body)))
			return w.Code
		}
		s.Update(settled(five(4)))
		if got := poll(held(t, 5)); got != http.StatusServiceUnavailable {
			t.Errorf("status %d with 4 of 5 known, want 503", got)
		}
		if got := poll(""); got != http.StatusOK {
			t.Errorf("status %d without a version, want 200", got)
		}
		s.Update(settled(five(5)))
		if got := poll(held(t, 4)); got != http.StatusOK {
			t.Errorf("status %d with all known, want 200", got)
		}
		s.Update(settled(five(3))) // this server itself has sent the five: they are not from another one
		if got := poll(held(t, 5)); got != http.StatusOK {
			t.Errorf("status %d of a poll with a version of this server, want 200", got)
		}
		if got := poll("0123456789abcdef"); got != http.StatusServiceUnavailable {
			t.Errorf("status %d with an older version, want 503", got)
		}
		time.Sleep(claimsTest + reviewEvery)
		synctest.Wait()
		if got := poll("0123456789abcdef"); got != http.StatusOK {
			t.Errorf("status %d after the bound, want 200", got)
		}
		if !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("no warning:\n%s", log)
		}
	})
}

func TestVersionContainsTheNumberOfEndpoints(t *testing.T) {
	for version, want := range map[string]struct {
		endpoints int
		digest    string
		counted   bool
	}{
		"1-12-0123456789abcdef":          {12, "0123456789abcdef", true},
		"2-0-0123456789abcdef":           {0, "0123456789abcdef", true},
		"0123456789abcdef":               {0, "0123456789abcdef", false},
		"":                               {},
		"1":                              {},
		"1-12-0123":                      {},
		"1--0123456789abcdef":            {0, "0123456789abcdef", false},
		"1-+2-0123456789abcdef":          {0, "0123456789abcdef", false},
		"1-9999999999-0123456789abcdef":  {0, "0123456789abcdef", false},
		"1-1-1-0123456789abcdef":         {0, "0123456789abcdef", false},
		"1-1-0123456789abcdeg":           {},
		strings.Repeat("1-", 100) + "12": {},
	} {
		endpoints, digest, counted := parseVersion(version)
		if endpoints != want.endpoints || digest != want.digest || counted != want.counted {
			t.Errorf("%q tells %d, %q, %v", version, endpoints, digest, counted)
		}
	}
	if v := held(t, 5); !strings.HasPrefix(v, "1-5-") {
		t.Errorf("the version of five endpoints is %s", v)
	}
}
