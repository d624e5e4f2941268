package probe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// retransmitted returns how long a TCP packet takes when each copy of it is lost
// with the given probability, and is sent again after rto, then twice that.
func retransmitted(loss float64, rto time.Duration) func() time.Duration {
	return func() time.Duration {
		d := 500 * time.Microsecond
		for rand.Float64() < loss {
			d += rto
			rto *= 2
		}
		return d
	}
}

func (h *host) lossy(loss float64) {
	h.set(func(h *host) {
		h.leg = func() time.Duration { return retransmitted(loss, 200*time.Millisecond)() }
		h.syn = func() time.Duration { return retransmitted(loss, time.Second)() }
	})
}

// lossyPing is three pings at once.
func lossyPing(loss float64) func(context.Context, Target) bool {
	return func(ctx context.Context, _ Target) bool {
		for range 3 {
			if rand.Float64() < (1-loss)*(1-loss) { // there and back
				return true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
		return false
	}
}

// imagined counts the verdicts of silence on n live endpoints in a network that loses
// that share of all packets.
func imagined(t *testing.T, n int, loss float64, d time.Duration) int {
	count := 0
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, n, 0)
		defer s.stop()
		s.p.opts.Ping = lossyPing(loss)
		for i := range n {
			s.port(i).lossy(loss)
			s.gossip(i).lossy(loss)
		}
		s.p.Watch(s.targets)
		end := time.After(d)
		since := make(map[Key]time.Time)
		for {
			select {
			case <-end:
				return
			case <-s.p.Changed():
				for k, e := range s.p.Evidence() {
					if (e.Verdict == Silent || e.Verdict == Hanging) && since[k] != e.Since {
						since[k] = e.Since
						count++
					}
				}
			}
		}
	})
	return count
}

func TestLossyNetworkIsNotDeath(t *testing.T) {
	for _, tt := range []struct {
		hosts int
		loss  float64
		span  time.Duration
	}{
		{20, 0.2, 5 * time.Minute},
		{20, 0.2, 30 * time.Minute},
		{20, 0.3, 30 * time.Minute},
		{100, 0.1, 5 * time.Minute},
	} {
		t.Run(fmt.Sprintf("%d hosts, %v lost, %v", tt.hosts, tt.loss, tt.span), func(t *testing.T) {
			if n := imagined(t, tt.hosts, tt.loss, tt.span); n > 0 {
				t.Errorf("%d times a live host was judged silent or hanging", n)
			}
		})
	}
}

// An endpoint that goes silent alone is judged as fast as the interval and the time-out
// allow, in spite of all that protects it when others are late too.
func TestLonelySilenceIsJudgedSoon(t *testing.T) {
	for _, how := range []string{"freeze", "hang", "dark"} {
		var took []time.Duration
		for range 200 {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, 10, 0)
				defer s.stop()
				s.watch(s.targets...)
				s.pass(10*time.Second + rand.N(time.Second))
				since := time.Now()
				s.do(3, how)
				s.pass(2600 * time.Millisecond)
				e := s.evidence(3)
				if e.Verdict == Good {
					t.Fatalf("%s: not judged by now", how)
				}
				took = append(took, e.Since.Sub(since))
			})
		}
		slices.Sort(took)
		median, worst := took[len(took)/2], took[len(took)-1]
		t.Logf("%s: median %v, worst %v", how, median, worst)
		if median > 2200*time.Millisecond {
			t.Errorf("%s: judged in median %v, worst %v", how, median, worst)
		}
	}
}

func TestCommonSilenceDelaysVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 10, 0)
		defer s.stop()
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		for i := 1; i < 10; i++ {
			s.do(i, "slow/1400ms") // late, but there
		}
		s.pass(2 * time.Second)
		s.do(0, "freeze")
		s.pass(15 * time.Second)
		s.want(0, Good)
		s.pass(15 * time.Second)
		s.want(0, Silent)
		for i := 1; i < 10; i++ {
			s.want(i, Good)
			s.do(i, "slow/0s")
		}
		s.do(0, "thaw")
		s.pass(lateFor + 2*time.Second)
		s.do(0, "freeze")
		s.pass(2501 * time.Millisecond)
		s.want(0, Silent) // no endpoint is late any more
	})
}

func TestEndpointsKnownToBeDeadDoNotDelayOtherVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 10, 0)
		defer s.stop()
		for i := range 6 {
			s.do(i, []string{"freeze", "die", "quit"}[i%3])
		}
		s.watch(s.targets...)
		s.pass(time.Minute)
		s.do(9, "freeze")
		s.pass(2501 * time.Millisecond)
		s.want(9, Silent)
		for i := 6; i < 9; i++ {
			s.want(i, Good)
		}
	})
}

// Silence that is everybody's takes long to be believed, and is not remembered.
func TestSilenceOfMostIsJudgedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 10, 0)
		defer s.stop()
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		for i := range 6 {
			s.do(i, "dark")
		}
		s.pass(4 * time.Second)
		for i := range s.targets {
			s.want(i, Good)
			if late := s.evidence(i).Late; late != (i < 6) {
				t.Errorf("late: %v for host %d", late, i)
			}
		}
		s.pass(26 * time.Second)
		for i := range 6 {
			s.want(i, Silent)
			s.do(i, "light")
		}
		s.pass(1100 * time.Millisecond)
		for i := range s.targets {
			s.want(i, Good)
		}
	})
}
