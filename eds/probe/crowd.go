package probe

import "sync/atomic"

// crowd counts the endpoints of which answers are expected, and how many of them
// are late, so that each can tell its own silence from everybody's. Its methods
// may be called from any goroutine.
type crowd struct {
	all, late atomic.Int64
}

// place is how one endpoint is counted.
type place struct{ counted, late bool }

// move changes the place of an endpoint.
func (c *crowd) move(from, to place) {
	c.all.Add(count(to.counted) - count(from.counted))
	c.late.Add(count(to.late) - count(from.late))
}

// share returns which part of the others is late, for an endpoint in place self.
func (c *crowd) share(self place) float64 {
	others := c.all.Load() - count(self.counted)
	late := c.late.Load() - count(self.late)
	if others < 1 {
		return 0
	}
	return min(float64(max(late, 0))/float64(others), 1)
}

func count(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
