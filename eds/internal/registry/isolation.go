package registry

// listen notes whether any endpoint is heard. A server that reaches no endpoint, was
// itself paused, or hears again only now, believes no silence before each endpoint
// had a chance to be heard: over a probe, and then over gossip.
func (r *Registry) listen(in Input, services []*candidates) {
	was := r.isolated
	r.isolated = isolated(in, services)
	since := in.Woke
	if was && !r.isolated {
		since = in.Now
	}
	if since.IsZero() {
		return
	}
	if t := since.Add(r.opts.Round); t.After(r.deafUntil) {
		r.deafUntil = t
	}
	if t := since.Add(rejoin); t.After(r.distrustGossipUntil) {
		r.distrustGossipUntil = t
	}
}

// isolated reports whether an endpoint has fallen silent and none is heard. What
// gossip says of those that are not probed counts only where none is probed: gossip
// takes long to notice that all are gone.
func isolated(in Input, services []*candidates) bool {
	silent, probed, talking := 0, 0, 0
	for _, c := range services {
		for _, cand := range c.ranked {
			switch w := &cand.proposal; {
			case w.heard:
				return false
			case w.reason == hanging: // its gossip is heard
			case cand.silent != nil:
				if !cand.silent.holdable(in.Now) {
					continue // it was gone before
				}
				silent++
				if w.tried {
					probed++
				}
			case w.reason == none && w.tried:
				probed++
			case w.reason == none && cand.alive:
				talking++
			}
		}
	}
	return silent > 0 && (probed > 0 || talking == 0)
}
