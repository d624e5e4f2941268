package pace

import (
	"testing"
	"time"
)

func TestAChangeWaitsForThoseThatFollowCloselyAndNoLonger(t *testing.T) {
	start := time.Unix(1, 0)
	var p Pace
	for _, step := range []struct {
		at, wait time.Duration
		why      string
	}{
		{0, 0, "it follows none"},
		{time.Millisecond, 9 * time.Millisecond, "one was acted upon a moment ago"},
		{8 * time.Millisecond, 2 * time.Millisecond, "so it was"},
		{10 * time.Millisecond, 0, "the time is over"},
		{11 * time.Millisecond, 19 * time.Millisecond, "they keep coming"},
		{30 * time.Millisecond, 0, "the time is over"},
		{time.Second, 0, "it follows none closely"},
		{time.Second + time.Millisecond, 9 * time.Millisecond, "it is the first to follow"},
	} {
		now := start.Add(step.at)
		if wait := p.Wait(now); wait != step.wait {
			t.Errorf("after %s it waits %s, want %s: %s", step.at, wait, step.wait, step.why)
		} else if wait == 0 {
			p.Acted(now)
		}
	}
}
