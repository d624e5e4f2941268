package probe

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// inVirtualTime plays with n endpoints that serve.
func inVirtualTime(t *testing.T, n int, play func(t *testing.T, s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, n, 0)
		defer s.stop()
		play(t, s)
	})
}

func TestFewEndpointsAreProbedAtOnce(t *testing.T) {
	inVirtualTime(t, 100, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		for i := range s.targets {
			s.want(i, Good)
			if e := s.evidence(i); !e.Tried || !e.Verified || e.Late || !e.Since.Equal(time.Now()) {
				t.Errorf("host %d: %+v", i, e)
			}
		}
	})
}

func TestProbesAreSpreadEvenly(t *testing.T) {
	const n, slots = 2000, 10
	inVirtualTime(t, n, func(t *testing.T, s *stage) {
		s.p.Watch(s.targets)
		asked := 0
		for round := range 3 {
			for slot := range slots {
				s.pass(DefaultInterval / slots)
				now := 0
				for i := range s.targets {
					now += s.port(i).get().asked
				}
				if got := now - asked; got < n/slots*7/10 || got > n/slots*13/10 {
					t.Errorf("%d probes in tenth %d of second %d, want about %d", got, slot, round, n/slots)
				}
				asked = now
			}
		}
		if asked != 3*n {
			t.Errorf("%d probes in 3 s, want %d", asked, 3*n)
		}
	})
}

func TestManyEndpointsAreConnectedGradually(t *testing.T) {
	for _, tt := range []struct {
		n        int
		interval time.Duration
		within   time.Duration
	}{
		{1, time.Second, 0}, {100, time.Second, 0}, {101, time.Second, time.Second}, {2000, time.Second, time.Second},
		{10_000, time.Second, 5 * time.Second}, {10_000, 10 * time.Second, 10 * time.Second}, {10_000, 100 * time.Millisecond, 5 * time.Second},
	} {
		began := time.Now()
		first := newLoop(t.Context(), New(Options{Interval: tt.interval})).firstProbe(tt.n)
		var last time.Duration
		for range tt.n {
			last = max(last, first().Sub(began))
		}
		if limit := tt.within + 50*time.Millisecond; last > limit || last < tt.within/2 {
			t.Errorf("%d endpoints: the last after %v, want %v", tt.n, last, tt.within)
		}
	}
}

func TestEachEndpointIsAskedOnceAnInterval(t *testing.T) {
	inVirtualTime(t, 10, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(30 * time.Minute)
		for i := range s.targets {
			if h := s.port(i).get(); h.asked != 1801 || len(h.dials) != 1 {
				t.Errorf("host %d was asked %d times over %d connections", i, h.asked, len(h.dials))
			}
		}
	})
}

// Neither may a server that misbehaves cost more than a few connections a second.
func TestConnectionsAreBounded(t *testing.T) {
	for _, words := range [][]string{
		{"idle/1ns"}, {"close"}, {"hangup"}, {"accepts/1000000"}, {"raw/junk"}, {"raw/HTTP/1.1_100_X"}, {"freeze"}, {"dark"}, {"quit"}, {"nofiles"},
	} {
		for _, kind := range []fleet.ProbeKind{fleet.ProbeHTTP, fleet.ProbeTCP} {
			inVirtualTime(t, 1, func(t *testing.T, s *stage) {
				s.targets[0].Kind = kind
				for _, word := range words {
					s.do(0, word)
				}
				s.watch(s.targets...)
				s.pass(time.Minute)
				if n := len(s.port(0).get().dials); n > 5*61 {
					t.Errorf("%s, %v: %d dials in a minute", kind, words, n)
				}
				if n := s.port(0).open(); n > maxLines {
					t.Errorf("%s, %v: %d connections", kind, words, n)
				}
			})
		}
	}
}

// A dial may succeed just after it was given up.
func TestUnwantedConnectionIsClosed(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		l := newLoop(t.Context(), s.p)
		conn, err := s.net.dial(t.Context(), "tcp", s.targets[0].Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		l.hear(event{kind: connected, watcher: newWatcher(l, s.targets[0], time.Now()), line: &line{}, conn: conn})
		if n := s.port(0).open(); n > 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func TestNineOfFiftyDieAtOnce(t *testing.T) {
	inVirtualTime(t, 50, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		dies := func(i int) bool { return i%6 == 0 } // 9 of them
		for i := range s.targets {
			if dies(i) {
				s.do(i, "die")
			}
		}
		synctest.Wait()
		check := func() {
			t.Helper()
			for i := range s.targets {
				if dies(i) {
					s.want(i, Dead)
				} else {
					s.want(i, Good)
				}
			}
		}
		check() // no time has passed
		s.pass(time.Minute)
		check()
		if s.pinged > 0 {
			t.Errorf("gossip was asked %d times", s.pinged)
		}
	})
}

func TestAllDieAtOnce(t *testing.T) {
	inVirtualTime(t, 50, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		for i := range s.targets {
			s.do(i, "die")
		}
		synctest.Wait()
		for i := range s.targets {
			s.want(i, Dead)
		}
	})
}

func TestWatchReplacesTheTargets(t *testing.T) {
	inVirtualTime(t, 3, func(t *testing.T, s *stage) {
		s.watch(s.targets[0], s.targets[1])
		s.pass(time.Minute)
		since := s.evidence(0).Since
		drain(s.p.Changed())

		s.watch(s.targets[0], s.targets[2])
		s.want(2, Good)
		if e, ok := s.p.Evidence()[s.targets[1].Key]; ok {
			t.Errorf("of a removed target: %+v", e)
		}
		if e := s.evidence(0); !e.Since.Equal(since) {
			t.Errorf("a target that stays was judged anew: %+v", e)
		}
		if n := len(s.port(0).get().dials); n != 1 {
			t.Errorf("%d dials to a target that stays", n)
		}
		if !drain(s.p.Changed()) {
			t.Error("no word of the change")
		}

		asked := s.port(1).get().asked
		s.do(1, "die")
		s.pass(time.Minute)
		if n := s.port(1).get().asked; n != asked {
			t.Errorf("a removed target was asked %d more times", n-asked)
		}
		if len(s.p.Evidence()) != 2 {
			t.Errorf("evidence: %v", s.p.Evidence())
		}

		s.watch(s.targets[1]) // again, and another process by now
		s.want(1, Dead)
		drain(s.p.Changed())
		s.watch()
		if !drain(s.p.Changed()) {
			t.Error("no word of evidence that was forgotten")
		}
		if len(s.p.Evidence()) != 0 {
			t.Errorf("nobody is watched: %v", s.p.Evidence())
		}
	})
}

func TestCrowdIsThoseThatAreWatched(t *testing.T) {
	inVirtualTime(t, 3, func(t *testing.T, s *stage) {
		l := newLoop(t.Context(), s.p)
		want := func(all, late int) {
			t.Helper()
			if want := (crowd{all, late}); l.crowd != want || len(l.agenda) != len(l.watchers) {
				t.Errorf("%+v, want %+v; %d due of %d", l.crowd, want, len(l.agenda), len(l.watchers))
			}
		}
		l.watch(s.targets)
		want(3, 0)
		for _, w := range l.watchers {
			w.lateAt = time.Now()
			l.settle(w)
		}
		want(3, 3)
		l.watch(s.targets[1:])
		want(2, 2)
		w := l.watchers[s.targets[1].Key]
		w.judge.gone = true
		l.settle(w)
		want(1, 1)
		w.judge.gone = false
		l.settle(w)
		want(2, 1)
		s.pass(lateFor + 1)
		for _, w := range l.watchers {
			l.settle(w)
		}
		want(2, 0)
		l.watch(nil)
		want(0, 0)
	})
}

// A verdict outlives a change in how its endpoint is probed, until there is news.
func TestWatchChangesATarget(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(time.Minute)
		s.do(0, "freeze")
		s.pass(time.Minute)
		s.want(0, Silent)
		s.targets[0].Path = "/ready"
		s.watch(s.targets...)
		s.want(0, Silent)
		for range 10 {
			s.pass(300 * time.Millisecond)
			s.want(0, Silent)
		}
		s.do(0, "thaw")
		synctest.Wait()
		s.want(0, Good)
	})
}

func TestLastOfSeveralWatchesWins(t *testing.T) {
	inVirtualTime(t, 3, func(t *testing.T, s *stage) {
		for i := range 3 {
			s.p.Watch(s.targets[i : i+1])
		}
		synctest.Wait()
		if e := s.p.Evidence(); len(e) != 1 || e[s.targets[2].Key].Verdict != Good {
			t.Errorf("%v", e)
		}
	})
}

func TestVerifiedReflectsTheLastAnswer(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		for _, step := range []struct {
			word string
			want bool
		}{{"id/me", true}, {"id/", false}, {"id/me", true}, {"id/another", false}, {"id/me", true}, {"die", false}} {
			s.do(0, step.word)
			s.pass(time.Second)
			if got := s.evidence(0).Verified; got != step.want {
				t.Errorf("after %s: verified %v", step.word, got)
			}
		}
	})
}

func TestOnlyAFailingEndpointIsUrgent(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(time.Second)
		for _, step := range []struct {
			word   string
			urgent bool
		}{{"id/another", true}, {"id/me", false}, {"die", true}} {
			drain(s.p.Urgent())
			s.do(0, step.word)
			s.pass(2 * time.Second)
			if got := drain(s.p.Urgent()); got != step.urgent {
				t.Errorf("after %s: urgent %v", step.word, got)
			}
		}
	})
}

func TestLateMeansNoAnswerYet(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		for _, step := range []struct {
			word   string
			passes time.Duration
			want   bool
		}{
			{"freeze", time.Second + DefaultTimeout, true}, {"thaw", 0, false}, {"freeze", time.Minute, true}, {"thaw", 0, false},
			{"hang", time.Minute, false}, {"freeze", time.Minute, true}, {"die", 0, false},
		} {
			s.do(0, step.word)
			for range 10 { // it does not flicker
				s.pass(step.passes / 10)
			}
			if got := s.evidence(0).Late; got != step.want {
				t.Errorf("after %s: late %v", step.word, got)
			}
		}
	})
}

// drain reports whether there was something in c.
func drain(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestFirstRoundIsLongerForMore(t *testing.T) {
	for _, tt := range []struct {
		endpoints int
		interval  time.Duration
		want      time.Duration
	}{
		{0, time.Second, 0},
		{100, time.Second, 0},
		{101, time.Second, time.Second},
		{10_000, time.Second, 5 * time.Second},
		{10_001, time.Second, 6 * time.Second},
		{10_000, 3 * time.Second, 6 * time.Second},
	} {
		if got := FirstRound(tt.endpoints, tt.interval); got != tt.want {
			t.Errorf("%d endpoints each %v: %v, want %v", tt.endpoints, tt.interval, got, tt.want)
		}
	}
}
