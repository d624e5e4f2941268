package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
)

// Overrides writes a line for each decision.
func Overrides(w io.Writer, now time.Time, overrides []client.Override) error {
	t := newTable("ID", "SERVICE", "HOST", "DECISION", "BY", "SINCE", "ENDS", "REASON")
	for _, o := range overrides {
		t.row(o.ID, o.Service, host(o), what(o), o.Actor, age(now, o.Since), ends(now, o), o.Reason)
	}
	_, err := t.WriteTo(w)
	return err
}

// host says what a decision is about.
func host(o client.Override) string {
	switch {
	case o.Host != "":
		return o.Host
	case o.Mode == "":
		return "list" // it is taken back
	}
	return fmt.Sprintf("list of %d", len(o.Hosts))
}

// Audit writes a line for each entry, with moments in the time zone of now.
func Audit(w io.Writer, now time.Time, entries []client.Entry) error {
	t := newTable("AT", "ACTION", "SERVICE", "HOST", "DECISION", "BEFORE", "BY", "REASON")
	for _, e := range entries {
		before := ""
		if e.Before != nil {
			before = what(*e.Before)
		}
		o, about, decided := e.Override, host(e.Override), what(e.Override)
		switch e.Action {
		case "revoked", "expired":
			decided = ""
		case "confirmed":
			about, decided = "", ""
		case "key added", "key used", "key removed":
			about, decided = strings.TrimSpace("key "+e.Key), ""
		}
		t.row(e.At.In(now.Location()).Format(time.DateTime), e.Action, o.Service, about, decided, before, o.Actor, o.Reason)
	}
	_, err := t.WriteTo(w)
	return err
}

// Members writes a line for each member of the pool.
func Members(w io.Writer, now time.Time, members []client.Member) error {
	t := newTable("ID", "ROLE", "LIVENESS", "SINCE", "SERVICE", "HOST", "STATE", "WEIGHT", "GOSSIP", "REFUSED")
	for _, m := range members {
		host, weight := "", ""
		if m.IPAddress.IsValid() {
			host, weight = m.Addr().String(), fmt.Sprint(m.Tags.Weight)
		}
		t.row(short(m.ID.String()), string(m.Role), string(m.Liveness), age(now, m.Since), m.Service, host, string(m.State), weight,
			m.Gossip.String(), m.Quarantine)
	}
	_, err := t.WriteTo(w)
	return err
}

// Clients writes a line for each xDS client.
func Clients(w io.Writer, now time.Time, clients []client.Follower) error {
	t := newTable("NODE", "TRANSPORT", "PEER", "CONNECTED", "SEEN", "SERVICES", "BEHIND", "REFUSED")
	for _, c := range clients {
		var names, behind []string
		for _, s := range c.Services {
			names = append(names, s.Name)
			if !s.BehindSince.IsZero() {
				behind = append(behind, s.Name+" for "+age(now, s.BehindSince))
			}
		}
		refused := ""
		if c.NACK != nil {
			refused = age(now, c.NACK.At) + " ago: " + c.NACK.Detail
		}
		if !c.CertExpired.IsZero() {
			refused = strings.TrimPrefix(refused+"; certificate expired "+age(now, c.CertExpired)+" ago", "; ")
		}
		t.row(c.Node, c.Transport, c.Peer, age(now, c.Connected), age(now, c.Seen), strings.Join(names, ","), strings.Join(behind, ","), refused)
	}
	_, err := t.WriteTo(w)
	return err
}
