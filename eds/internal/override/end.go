package override

import "time"

// lookEvery is how often the wall clock is looked at for overrides that end at a
// moment of it: it may have been set.
const lookEvery = 30 * time.Second

// closeEnough is by how much the moment of an end may differ from what was said
// when it was made before readers are shown the difference.
const closeEnough = 2 * time.Second

// begin starts the time of o at this server if it is a duration. What is left of it
// comes with the message, counted by the sender's monotonic clock; a record on disk
// does not have it, and an EDS server that was away for long may hear of o late:
// then the wall clock says how much is left, never more than the whole.
func (o Override) begin(now time.Time) Override {
	left := o.Left
	o.Left, o.end = 0, time.Time{}
	if o.For <= 0 || o.Until.IsZero() || o.Revoked {
		o.For = 0
		return o
	}
	if left == 0 {
		left = o.Until.Sub(now)
	}
	o.end = now.Add(min(left, o.For))
	return o
}

// withLeft is o in the form that is sent to another server at now.
func (o Override) withLeft(now time.Time) Override {
	if !o.end.IsZero() {
		if o.Left = o.end.Sub(now); o.Left <= 0 {
			o.Left = -1 // 0 stands for not known
		}
	}
	return o
}

// Keep returns o with the end of was, of an override that is changed at now and
// continues for the time that was left.
func (o Override) Keep(was Override, now time.Time) Override {
	o.For, o.Until = was.For, was.Until
	if !was.end.IsZero() {
		o.For = max(was.end.Sub(now), 1)
		o.Until = was.EndsAt(now)
	}
	return o
}

// EndsAt is when o ends, by the wall clock at now; zero for never. It differs from
// Until when o lasts for a duration and the clock was set meanwhile.
func (o Override) EndsAt(now time.Time) time.Time {
	if o.end.IsZero() {
		return o.Until
	}
	at := moment(now.Add(o.end.Sub(now)))
	if at.Sub(o.Until).Abs() < closeEnough {
		return o.Until
	}
	return at
}

// moment is t by the wall clock, in the precision that is stored.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// expiry is when the next overrides end, by each of the two clocks: they cannot be
// compared, since the wall clock may be set. Zero times stand for never.
type expiry struct {
	wall, monotonic time.Time
}

// add counts in an override in force. It reports whether something ends sooner now.
func (e *expiry) add(o Override) bool {
	at, of := o.Until, &e.wall
	if !o.end.IsZero() {
		at, of = o.end, &e.monotonic
	}
	if at.IsZero() || !of.IsZero() && !at.Before(*of) {
		return false
	}
	*of = at
	return true
}

// over reports whether something may have ended at now.
func (e expiry) over(now time.Time) bool {
	return !e.wall.IsZero() && !now.Before(e.wall) || !e.monotonic.IsZero() && !now.Before(e.monotonic)
}

// wait is how long to wait at now before looking again.
func (e expiry) wait(now time.Time) time.Duration {
	wait := lookEvery
	for _, at := range []time.Time{e.wall, e.monotonic} {
		if !at.IsZero() {
			wait = min(wait, max(at.Sub(now), 0))
		}
	}
	return wait
}
