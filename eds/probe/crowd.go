package probe

import "sync/atomic"

// crowd counts how many of the watched endpoints are late, so that each can tell
// its own silence from everybody's. Its methods may be called from any goroutine.
type crowd struct {
	all, late atomic.Int64
}

// share returns which part of the others is late, for an endpoint that counts
// itself among the late ones if late is set.
func (c *crowd) share(late bool) float64 {
	others, lateOthers := c.all.Load()-1, c.late.Load()
	if late {
		lateOthers--
	}
	if others < 1 {
		return 0
	}
	return float64(max(lateOthers, 0)) / float64(others)
}
