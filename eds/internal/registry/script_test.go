package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// script plays a table of timed events against a Registry, in made-up time. It
// decides after each event, and at the moments that Decide asked for, and never
// otherwise: a moment that Decide forgets to ask for shows as a want that fails.
//
// A line is `[TIME] EVENT and EVENT …` or `[TIME] want WHAT`; without a time it is at that of
// the line before. Hosts are letters, each with an address of its own; `a2` is
// another process at the address of a. "abc", "a-c", "a b c" and "all" name some.
//
//	HOSTS join | behalf (another process registers them) | draining | healthy | unhealthy | left | lost | forgotten     gossip
//	HOSTS good | answer | late | failing | silent | hanging | refused | dead | contradicted | replaced | unable | untried
//	HOSTS of SERVICE     they join that service, instead of "s"
//	manual HOSTS, probe HOSTS, pin HOSTS, unpin                               operator
//	drain | exclude | force | release [at] HOSTS    an override for the process, or at its address
//	confirm, woke
//	keep HOSTS           from now on, none of them ever leaves; without hosts: no more
//	want served HOSTS    exactly these of all services; "nobody" is none
//	want held HOSTS, want guard on|off, want isolated on|off
//	want HOST STATE, want HOST damped until TIME, want HOST unknown
//	want quiet           nothing is due any more
//	want changes HOST <= N   of its place in the assignment, so far
type script struct {
	t        tester
	registry *Registry
	twin     twin
	checks   []func(s *script) // after each Decide
	in       Input
	due      time.Time
	snap     *Snapshot
	members  map[string]*fleet.Member
	given    map[string]*fleet.Member // of these, as they were handed over last
	gone     map[string]bool          // forgotten by gossip
	manual   map[string]override.Host // by host name
	mode     override.Mode
	made     map[override.Key]override.Override // for single hosts
	stamp    int64                              // of the latest
	keep     []string
	changes  map[string]int
}

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// play runs lines on a Registry with the default options, changed by opts.
func play(t *testing.T, lines string, opts ...func(*Options)) *script {
	t.Helper()
	o := defaults
	for _, f := range opts {
		f(&o)
	}
	s := newScript(t, o)
	s.decide()
	for line := range strings.Lines(lines) {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
			s.line(strings.Fields(line))
		}
		if t.Failed() {
			t.Fatalf("at %v, in line %q\nof %s", s.in.Now.Sub(epoch), strings.TrimSpace(line), s)
		}
	}
	return s
}

// fleetOfTen begins scripts in which the guard could mind.
const fleetOfTen = "a-j join\nall good\n"

var defaults = Options{Guard: DefaultGuard, GuardHold: DefaultGuardHold, Round: DefaultRound}

func newScript(t tester, opts Options) *script {
	return &script{
		t: t, registry: New(opts), twin: twin{New(opts)}, members: make(map[string]*fleet.Member), given: make(map[string]*fleet.Member), gone: make(map[string]bool),
		manual: make(map[string]override.Host), made: make(map[override.Key]override.Override), changes: make(map[string]int),
		in: Input{Now: epoch, Settled: true, EvidenceRevision: 1, Evidence: make(map[probe.Key]probe.Evidence)},
	}
}

func (s *script) line(words []string) {
	if d, err := time.ParseDuration(words[0]); err == nil {
		s.advance(epoch.Add(d))
		words = words[1:]
	}
	switch {
	case len(words) == 0:
	case words[0] == "want":
		s.want(words[1:])
	case words[0] == "keep":
		s.keep = s.names(words[1:])
	default:
		for i := slices.Index(words, "and"); i >= 0; i = slices.Index(words, "and") {
			s.event(words[:i])
			words = words[i+1:]
		}
		s.event(words)
		s.decide()
	}
}

// advance lets time pass, and decides when Decide asked for it.
func (s *script) advance(to time.Time) {
	if to.Before(s.in.Now) {
		s.t.Errorf("time goes back")
	}
	for !s.due.IsZero() && !s.due.After(to) {
		s.in.Now = s.due
		s.decide()
	}
	s.in.Now = to
}

func (s *script) decide() {
	s.in.Members = nil
	for name, m := range s.members {
		if !s.gone[name] {
			if was := s.given[name]; was == nil || !reflect.DeepEqual(was, m) { // gossip shares what stays as it was
				s.given[name] = new(*m)
			}
			s.in.Members = append(s.in.Members, s.given[name])
		}
	}
	if list := s.inForce(); !reflect.DeepEqual(list, s.in.Overrides) { // a store hands over the same list, too
		s.in.Overrides = list
	}
	before := s.snap
	s.snap, s.due = s.registry.Decide(s.in)
	s.twin.agree(s)
	if !s.due.IsZero() && !s.due.After(s.in.Now) {
		s.t.Errorf("due %v at %v", s.due, s.in.Now)
	}
	served := s.served()
	for _, name := range s.keep {
		if !slices.Contains(served, name) {
			s.t.Errorf("%s has left", name)
		}
	}
	if before != nil {
		s.countChanges(before)
	}
	for _, check := range s.checks {
		check(s)
	}
}

// inForce are the overrides in the order in which a store has them.
func (s *script) inForce() []override.Override {
	var list []override.Override
	if s.mode != "" {
		o := override.Override{Key: override.Key{Service: "s"}, Mode: s.mode, Since: epoch}
		o.Hosts = slices.SortedFunc(maps.Values(s.manual), func(a, b override.Host) int { return a.Addr.Compare(b.Addr) })
		list = append(list, o)
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.made), override.Key.Compare) {
		list = append(list, s.made[k])
	}
	return list
}

// countChanges counts whose place is another one than in the Snapshot before.
func (s *script) countChanges(before *Snapshot) {
	was, now := servedNames(before), s.served()
	for _, name := range was {
		if !slices.Contains(now, name) {
			s.changes[name[:1]]++
		}
	}
	for _, name := range now {
		if !slices.Contains(was, name) {
			s.changes[name[:1]]++
		}
	}
}

func addrOf(name string) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, name[0]}), 80)
}

func idOf(name string) uuid.UUID { return uuid.UUID{0: name[0], 1: name[len(name)-1]} }

// key is that of a member, or of a manual host where there is no member of the name.
func (s *script) key(name string) probe.Key {
	if s.members[name] == nil {
		return probe.Key{Addr: addrOf(name)}
	}
	return probe.Key{ID: idOf(name).String(), Addr: addrOf(name)}
}

// names reads a list of hosts.
func (s *script) names(words []string) []string {
	var names []string
	for _, w := range words {
		switch {
		case w == "nobody":
		case w == "all":
			for name := range s.members {
				names = append(names, name)
			}
		case len(w) == 3 && w[1] == '-':
			for c := w[0]; c <= w[2]; c++ {
				names = append(names, string(c))
			}
		case len(w) == 2 && w[1] >= '0' && w[1] <= '9':
			names = append(names, w)
		default:
			names = append(names, strings.Split(w, "")...)
		}
	}
	slices.Sort(names)
	return names
}

func (s *script) served() []string { return servedNames(s.snap) }

func servedNames(snap *Snapshot) []string {
	return hostNames(snap, func(h *Host) bool { return h.Served })
}

// hostNames names hosts as scripts do.
func hostNames(snap *Snapshot, which func(*Host) bool) []string {
	names := []string{}
	for _, svc := range snap.Services {
		for _, h := range svc.Hosts {
			if which(h) {
				names = append(names, nameOf(h))
			}
		}
	}
	slices.Sort(names)
	return names
}

func nameOf(h *Host) string {
	name := string(rune(h.Addr.Addr().As4()[3]))
	if id, err := uuid.Parse(h.ID); err == nil && id[1] != id[0] {
		name += string(rune(id[1]))
	}
	return name
}

func (s *script) host(name string) (Host, bool) {
	for _, svc := range s.snap.Services {
		for _, h := range svc.Hosts {
			if nameOf(h) == name {
				return *h, true
			}
		}
	}
	return Host{}, false
}

func (s *script) want(words []string) {
	equal := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	svc, _ := s.snap.Find("s")
	switch words[0] {
	case "served":
		equal("served", s.served(), append([]string{}, s.names(words[1:])...))
	case "held":
		equal("held", hostNames(s.snap, func(h *Host) bool { return h.Held }), append([]string{}, s.names(words[1:])...))
	case "guard":
		equal("guard", svc.Guard != nil, words[1] == "on")
	case "isolated":
		equal("isolated", s.snap.Isolated, words[1] == "on")
	case "quiet":
		equal("due", s.due, time.Time{})
	case "changes":
		var most int
		if _, err := fmt.Sscanf(words[3], "%d", &most); err != nil || s.changes[words[1]] > most {
			s.t.Errorf("the place of %s changed %d times, want %s (%v)", words[1], s.changes[words[1]], words[3], err)
		}
	default:
		h, known := s.host(words[0])
		switch {
		case words[1] == "unknown":
			equal("known", known, false)
			return
		case len(words) == 4:
			d, err := time.ParseDuration(words[3])
			if err != nil || !h.Until.Equal(epoch.Add(d)) {
				s.t.Errorf("until %v, want %s (%v)", h.Until.Sub(epoch), words[3], err)
			}
		}
		equal("state of "+words[0], h.State, words[1])
	}
}

// String shows where the script stands.
func (s *script) String() string {
	var b strings.Builder
	for _, svc := range s.snap.Services {
		fmt.Fprintf(&b, "%s, guard %+v:\n", svc.Name, svc.Guard)
		for _, h := range svc.Hosts {
			fmt.Fprintf(&b, "  %s %s served %v held %v\n", nameOf(h), h.State, h.Served, h.Held)
		}
	}
	return fmt.Sprintf("%sisolated %v, due in %v", &b, s.snap.Isolated, s.due.Sub(s.in.Now))
}
