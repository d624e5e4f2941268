package probe

// crowd counts the endpoints of which answers are expected, and how many of them
// are late, so that each can tell its own silence from a common one.
type crowd struct{ all, late int }

// place is how one endpoint is counted.
type place struct{ counted, late bool }

// move changes the place of an endpoint.
func (c *crowd) move(from, to place) {
	c.all += count(to.counted) - count(from.counted)
	c.late += count(to.late) - count(from.late)
}

// share returns which part of the others is late, for an endpoint in place self.
func (c *crowd) share(self place) float64 {
	others, late := c.all-count(self.counted), c.late-count(self.late)
	if others == 0 {
		return 0
	}
	return float64(late) / float64(others)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
