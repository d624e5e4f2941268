package pace

import (
	"testing"
	"time"
)

func TestChangeWaitsForThoseThatFollowCloselyAndNoLonger(t *testing.T) {
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
		if wait := p.Wait(now, false); wait != step.wait {
			t.Errorf("after %s it waits %s, want %s: %s", step.at, wait, step.wait, step.why)
		} else if wait == 0 {
			p.Acted(now)
		}
	}
}

func TestUrgentChangesSkipTheWaitUpToABound(t *testing.T) {
	start := time.Unix(1, 0)
	var p Pace
	p.Acted(start)
	now := start
	for i := range Ahead {
		now = now.Add(time.Millisecond)
		if wait := p.Wait(now, true); wait != Urgent-time.Millisecond {
			t.Fatalf("urgent change %d waits %s", i, wait)
		}
		now = now.Add(Urgent)
		if wait := p.Wait(now, true); wait != 0 {
			t.Fatalf("urgent change %d still waits %s", i, wait)
		}
		p.Acted(now)
	}
	if wait := p.Wait(now.Add(Urgent), true); wait != Busy-Urgent {
		t.Errorf("after %d that went ahead it waits %s", Ahead, wait)
	}
	now = now.Add(Busy)
	p.Acted(now) // one that has waited its time
	if wait := p.Wait(now.Add(Urgent), true); wait != 0 {
		t.Errorf("after one that waited its time an urgent one waits %s", wait)
	}
}
