package decide

import "time"

// How long a new server waits for gossip, and then for its probes, before it
// speaks to an Envoy. One that remembers a fleet and hears no member of it may itself
// be partitioned: what its Envoys have is better than what it knows.
const (
	settleQuiet = 2 * time.Second  // without a change of the pool, once joined
	settleMost  = 10 * time.Second // in any case
	settleShare = 3 * time.Second  // for what another EDS server knows of operators' overrides
	settleProbe = time.Second      // for an endpoint's first probe to have an outcome, once it is its turn
	settleTurn  = 4 * time.Second  // after a silence, for every endpoint to be heard again
	ClaimsMost  = 10 * time.Second // for clients that hold more endpoints than this server knows: Envoy gives up after 15 s
)

// settling reports when gossip knows enough to be believed: a seed or a remembered
// member was joined and the pool was then quiet, or the most it may take is over.
// A server that expects no member is settled at once. It is a pure function of the
// times given to it; once settled it stays so.
type settling struct {
	recalls bool // there are members remembered from before
	start   time.Time
	joined  bool
	quiet   time.Time // since when the pool has not changed
	muteEnd time.Time // when a remembered member was first heard, or last silent
	heard   time.Time // when gossip was done
	settled bool
}

func newSettling(now time.Time, seeds, recalls bool) *settling {
	return &settling{recalls: recalls, start: now, quiet: now, settled: !seeds && !recalls}
}

// changed notes that the pool changed; joined, that one of the expected was reached.
func (s *settling) changed(now time.Time)   { s.quiet = now }
func (s *settling) hasJoined(now time.Time) { s.joined, s.quiet = true, now }

// at reports whether the server is settled, and if not, when to ask again. untried
// says how long first probes may still take once gossip is done; 0 if each endpoint
// had one. mute says that no endpoint answers at all: a server that remembers a fleet then
// waits without limit.
func (s *settling) at(now time.Time, untried time.Duration, mute bool) (bool, time.Time) {
	if s.settled {
		return true, time.Time{}
	}
	start := s.start
	if s.recalls {
		if mute && !s.joined {
			s.muteEnd = now
			return false, now.Add(settleQuiet) // without limit: what is heard changes it
		}
		start = later(start, s.muteEnd)
		if !s.muteEnd.IsZero() { // every member has a turn after the silence
			s.quiet = later(s.quiet, s.muteEnd.Add(settleTurn-settleQuiet))
		}
	}
	due := start.Add(settleMost)
	if quiet := s.quiet.Add(settleQuiet); s.joined && quiet.Before(due) {
		due = quiet
	}
	if now.Before(due) {
		return false, due
	}
	if s.heard.IsZero() {
		s.heard = now
	}
	due = s.heard.Add(untried)
	s.settled = untried == 0 || !now.Before(due)
	return s.settled, due
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
