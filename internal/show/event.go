package show

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
)

// Event tells of a change in a line, at a moment.
func Event(at time.Time, e client.Event) string {
	c, err := e.Changed()
	if err != nil {
		return client.Printable(fmt.Sprintf("%s %-8s %s", at.Format(time.TimeOnly), e.Name, e.Data))
	}
	return Change(at, e.Name, c)
}

// Change tells of a change of one kind, the name of its event, in a line.
func Change(at time.Time, kind string, c client.Changed) string {
	told := append([]string{at.Format(time.TimeOnly), fmt.Sprintf("%-8s %-7s", kind, c.Change)}, about(at, kind, c)...)
	return client.Printable(strings.Join(filled(told), " "))
}

// about tells what is worth knowing of a change of one kind.
func about(now time.Time, kind string, c client.Changed) []string {
	switch kind {
	case "endpoint":
		return []string{c.Service, c.Addr().String(), short(c.ID), endpointNow(c)}
	case "override":
		o := client.Override{Mode: c.Mode, State: client.State(c.State), Weight: c.Weight, Actor: c.Actor, Reason: c.Reason, Until: c.Until}
		said := what(o)
		if c.Change != "removed" && c.Change != "expired" {
			said = Decision(now, &o)
		}
		return []string{c.Service, cmp.Or(c.Host, "list"), said}
	case "member":
		return []string{short(c.ID), c.Role, c.Service, c.Address, c.Liveness, c.State, c.Quarantine}
	case "client":
		refused := ""
		if c.Refused != "" {
			refused = "refused: " + c.Refused
		}
		return []string{c.Node, c.Transport, c.Peer, refused}
	case "guard":
		return []string{cmp.Or(c.Service, "this server hears nobody")}
	}
	return nil
}

func endpointNow(c client.Changed) string {
	h := client.Host{Served: c.Served, Held: c.Held}
	switch said := served(h); {
	case c.Change == "removed":
		return ""
	case said == "no":
		return c.State + ", not served"
	case said == "held":
		return c.State + ", held"
	default:
		return fmt.Sprintf("%s, served, weight %d", c.State, c.Weight)
	}
}

func filled(words []string) []string {
	var there []string
	for _, w := range words {
		if w != "" {
			there = append(there, w)
		}
	}
	return there
}
