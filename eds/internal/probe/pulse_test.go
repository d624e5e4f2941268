package probe

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPulseNoticesAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulse()
		time.Sleep(beatLate / 2)
		if asked := time.Now(); p.beat() || p.asleepSince(asked) {
			t.Error("half a second is no pause")
		}
		before := time.Now()
		time.Sleep(beatLate)
		if !p.asleepSince(time.Now()) {
			t.Error("asleep before the late beat")
		}
		if !p.beat() || !p.asleepSince(before) {
			t.Error("a late beat went unnoticed")
		}
		if at := p.wokeAt(); !at.Equal(time.Now()) {
			t.Errorf("woke at %v", at)
		}
		time.Sleep(beatEvery)
		if p.beat() || p.asleepSince(time.Now()) {
			t.Error("it is awake again")
		}
		if !p.asleepSince(before) {
			t.Error("what was asked before the pause proves nothing later either")
		}
	})
}

func TestProberThatIsStartedLateDidNotSleep(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		p := New(Options{Dial: s.net.dial})
		time.Sleep(time.Minute)
		go p.Run(t.Context())
		s.pass(time.Second)
		if !p.Woke().IsZero() || drain(p.Changed()) {
			t.Errorf("woke at %v", p.Woke())
		}
	})
}

// sleep makes it look as if the process had been paused until now.
func (s *stage) sleep() {
	s.p.pulse.last.Add(-int64(beatLate))
}

func TestNoVerdictAfterAPause(t *testing.T) {
	inVirtualTime(t, 3, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		s.do(0, "freeze")
		s.do(1, "hang")
		for range 60 { // a pause in each probe
			s.sleep()
			s.pass(400 * time.Millisecond)
		}
		if woke := s.p.Woke(); time.Since(woke) > 500*time.Millisecond || !drain(s.p.Changed()) {
			t.Errorf("woke %v ago", time.Since(woke))
		}
		for i := range s.targets {
			s.want(i, Good)
			if s.evidence(i).Late {
				t.Errorf("host %d is late", i)
			}
		}
		s.pass(20 * time.Second)
		s.want(0, Silent)
		s.want(1, Hanging)
		s.want(2, Good)
	})
}

func TestProofHoldsAlsoAfterSleep(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		s.sleep()
		s.do(0, "die")
		synctest.Wait()
		s.want(0, Dead)
	})
}

// The witness of a silence must not be believed to be mute by a judge that slept
// while it could have spoken.
func TestAnswerMissedDuringAPauseIsNoSilence(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		w := newWatcher(newLoop(t.Context(), s.p), s.targets[0], time.Now())
		w.judge.verdict, w.judge.silent, w.judge.enough = Good, silentAfter, silentAfter
		w.inquiry = &inquiry{cancel: func() {}, about: pinged, since: time.Now()}
		s.pass(2 * beatLate)
		s.sleep()
		w.handle(event{kind: pinged, inquiry: w.inquiry, said: mute})
		if w.judge.verdict != Good || w.inquiry != nil {
			t.Errorf("%q", w.judge.verdict)
		}
	})
}

func TestTimerThatIsLateCountsForNothing(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		s.port(0).set(func(h *host) { h.dark = true })
		go s.p.pulse.run(t.Context(), func() {})
		w := newWatcher(newLoop(t.Context(), s.p), s.targets[0], time.Now().Add(time.Hour))
		w.probe(time.Now())
		for range 10 {
			s.pass(DefaultTimeout + timerLate + 1)
			w.onTime(time.Now())
		}
		if w.judge.silent > 0 || w.tried {
			t.Errorf("%d time-outs", w.judge.silent)
		}
		s.pass(DefaultTimeout + timerLate)
		w.onTime(time.Now())
		if w.judge.silent != 1 {
			t.Errorf("%d time-outs, want 1", w.judge.silent)
		}
	})
}
