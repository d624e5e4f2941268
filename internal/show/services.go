package show

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
)

// Services writes a line for each service, with how many of the decisions in force
// are about it.
func Services(w io.Writer, now time.Time, services map[string]client.Service, overrides []client.Override) error {
	decisions := make(map[string]int)
	for _, o := range overrides {
		decisions[o.Service]++
	}
	t := newTable("SERVICE", "MODE", "SERVED", "DECISIONS", "GUARD")
	for _, name := range slices.Sorted(maps.Keys(services)) {
		s := services[name]
		served, of := count(s.Hosts)
		t.row(name, s.Mode, fmt.Sprintf("%d of %d", served, of), fmt.Sprint(decisions[name]), guard(now, s.Guard))
	}
	_, err := t.WriteTo(w)
	return err
}

// count returns how many addresses are served, and how many there are: where a list
// has a host that registered itself, both have the same.
func count(hosts []client.Host) (served, of int) {
	all := make(map[netip.AddrPort]bool, len(hosts))
	for _, h := range hosts {
		all[h.Addr()] = all[h.Addr()] || h.Served
	}
	for _, is := range all {
		if is {
			served++
		}
	}
	return served, len(all)
}

// Guards writes a line for each guard that holds.
func Guards(w io.Writer, now time.Time, g client.Guards) error {
	t := newTable("SERVICE", "HELD", "SINCE", "LETS GO")
	for _, name := range slices.Sorted(maps.Keys(g.Guards)) {
		guard := g.Guards[name]
		lets := "in " + age(now, guard.Until)
		switch {
		case guard.Held == guard.Contradicted:
			lets = "once connections succeed, or its processes no longer answer"
		case guard.Until.IsZero():
			lets = "once the server hears others"
		}
		t.row(name, fmt.Sprint(guard.Held), age(now, guard.Since), lets)
	}
	_, err := t.WriteTo(w)
	return err
}

func guard(now time.Time, g *client.Guard) string {
	switch {
	case g == nil:
		return ""
	case g.Until.IsZero():
		return fmt.Sprintf("holds %d for %s", g.Held, age(now, g.Since))
	default:
		return fmt.Sprintf("holds %d for %s, lets go in %s", g.Held, age(now, g.Since), age(now, g.Until))
	}
}

// Hosts writes a line for each host of the services, which are named when there may
// be more than one.
func Hosts(w io.Writer, now time.Time, services map[string]client.Service, named bool) error {
	headers := []string{"SERVICE", "HOST", "ID", "WEIGHT", "ZONE", "STATE", "SINCE", "SERVED", "ACKED", "WHY NOT", "DECISION"}
	t := newTable(skip(headers, !named)...)
	for _, name := range slices.Sorted(maps.Keys(services)) {
		s := services[name]
		for i, h := range s.Hosts {
			t.row(skip([]string{
				name, h.Addr().String(), short(h.ID), fmt.Sprint(h.Tags.Weight), h.Tags.AZ, h.State, age(now, h.Since),
				served(h), fmt.Sprintf("%d/%d", h.Acked.Have, h.Acked.Of), whyNot(now, s, i), Decision(now, h.Override),
			}, !named)...)
		}
	}
	_, err := t.WriteTo(w)
	return err
}

func skip(cells []string, first bool) []string {
	if first {
		return cells[1:]
	}
	return cells
}

func served(h client.Host) string {
	switch {
	case h.Held:
		return "held"
	case h.Served:
		return "yes"
	default:
		return "no"
	}
}

// reasons say what a state means to a person who has not read the manual.
var reasons = map[string]string{
	"unhealthy": "its health check fails",
	"draining":  "it is about to leave",
	"dead":      "its ports refuse connections",
	"refusing":  "its port refuses connections",

	"contradicted": "its ports refuse, its process answers",
	"hanging":      "its port does not answer",
	"silent":       "nothing of it answers",
	"damped":       "it came and went too often",
}

// whyNot says why the i-th host of s is not served; "" when it is.
func whyNot(now time.Time, s client.Service, i int) string {
	h := s.Hosts[i]
	switch {
	case h.Served:
		return ""
	case h.Override != nil && (h.Override.State == client.Drain || h.Override.State == client.Exclude):
		return "an operator said so"
	case slices.ContainsFunc(s.Hosts, func(o client.Host) bool { return o.Served && o.Addr() == h.Addr() }):
		return "another host has its address"
	case s.Mode == client.ModePin && h.Source != "manual":
		return "not in the pinned list"
	case !h.Until.IsZero():
		return fmt.Sprintf("%s, back in %s", reasons[h.State], age(now, h.Until))
	default:
		return reasons[h.State]
	}
}

// Decision says what a decision is, until when, by whom and why; "" for nil.
func Decision(now time.Time, o *client.Override) string {
	if o == nil {
		return ""
	}
	said := what(*o)
	if o.Actor != "" {
		said += " by " + o.Actor
	}
	if said += ", " + ends(now, *o); o.Reason != "" {
		said += ": " + o.Reason
	}
	return client.Printable(said)
}

func ends(now time.Time, o client.Override) string {
	switch {
	case o.Until.IsZero():
		return "until taken back"
	case o.Until.Before(now):
		return "over"
	default:
		return age(now, o.Until) + " left"
	}
}

// what says what is decided.
func what(o client.Override) string {
	var parts []string
	if o.Mode != "" {
		parts = append(parts, o.Mode)
	}
	if o.State != "" {
		parts = append(parts, string(o.State))
	}
	if o.Weight != 0 {
		parts = append(parts, fmt.Sprintf("weight %d", o.Weight))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Tags)) {
		parts = append(parts, fmt.Sprintf("%s=%v", name, o.Tags[name]))
	}
	return strings.Join(parts, " ")
}

// Decided tells in a line what the decision for a host is now, and whether it is
// served.
func Decided(w io.Writer, now time.Time, d client.Decided) error {
	said, served := "nothing is decided", "nobody has this address yet"
	if d.Override != nil {
		said = Decision(now, d.Override)
	}
	if e := d.Endpoint; e != nil {
		served = e.State + ", not served"
		if e.Served {
			served = fmt.Sprintf("%s, served with weight %d", e.State, e.Tags.Weight)
		}
		if o := e.Override; o != nil && (d.Override == nil || o.ID != d.Override.ID) {
			served += fmt.Sprintf(" (as %s: %s)", o.Host, Decision(now, o))
		}
	}
	_, err := fmt.Fprintf(w, "%s %s: %s\n%s\n", client.Printable(d.Service), client.Printable(d.Host), said, client.Printable(served))
	return err
}
