package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// hostAnswer is a host under one of its names, and the override under that name.
type hostAnswer struct {
	Service  string        `json:"service"`
	Host     string        `json:"host"`               // the uuid or ip:port, canonical
	Override *overrideView `json:"override,omitempty"` // absent: no override under this name
	Endpoint *hostView     `json:"endpoint,omitempty"` // absent while no process has the address
}

// named is a host as a request names it.
type named struct {
	key   override.Key
	known bool           // it exists
	shown registry.Host  // zero when it is not among the hosts of its service
	other []override.Key // its other names
}

// hostName finds what the path names. A process must be there, or have been decided
// about; an address may be there later.
func (a *api) hostName(r *http.Request) (named, error) {
	service, err := serviceName(r)
	if err != nil {
		return named{}, err
	}
	text, err := url.PathUnescape(mux.Vars(r)["host"])
	if err != nil {
		return named{}, problemf(http.StatusBadRequest, "host: %v", err)
	}
	snap := a.Registry.Snapshot()
	s, _ := snap.Find(service)
	if id, err := uuid.Parse(text); err == nil {
		return a.process(snap, s, override.Key{Service: service, Host: id.String()}, id)
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return named{}, problemf(http.StatusBadRequest, "host %.100q is neither a uuid nor an ip:port", text)
	}
	if err := fleet.CheckAddr(addr); err != nil {
		return named{}, problemf(http.StatusBadRequest, "host: %v", err)
	}
	return address(s, override.Key{Service: service, Host: addr.String()}, addr), nil
}

func (a *api) process(snap *registry.Snapshot, s registry.Service, k override.Key, id uuid.UUID) (named, error) {
	n := named{key: k}
	m, found := snap.Member(id)
	n.known = found && m.Service == k.Service && m.Liveness != fleet.Left
	if j := slices.IndexFunc(s.Hosts, func(h *registry.Host) bool { return h.ID == k.Host }); j >= 0 {
		n.shown = *s.Hosts[j]
		n.other = []override.Key{{Service: k.Service, Host: n.shown.Addr.String()}}
	}
	if _, decided := a.Overrides.Get(k.ID()); !n.known && !decided {
		if !snap.Settled {
			return n, problemf(http.StatusServiceUnavailable, "gossip has not settled, so it is unknown whether %s exists: ask again", k.Name())
		}
		return n, problemf(http.StatusNotFound, "%s does not exist", k.Name())
	}
	return n, nil
}

func address(s registry.Service, k override.Key, addr netip.AddrPort) named {
	n := named{key: k}
	for _, h := range s.At(addr) {
		if !n.known {
			n.known, n.shown = true, *h
		}
		if h.ID != "" {
			n.other = append(n.other, override.Key{Service: k.Service, Host: h.ID})
		}
	}
	return n
}

func (a *api) getHost(w http.ResponseWriter, r *http.Request) error {
	n, err := a.hostName(r)
	if err != nil {
		return err
	}
	if _, decided := a.Overrides.Get(n.key.ID()); !n.known && !decided {
		return problemf(http.StatusNotFound, "%s does not exist and has no override", n.key.Name())
	}
	return a.answerHost(w, r)
}

// answerHost answers with the current state of what the path names.
func (a *api) answerHost(w http.ResponseWriter, r *http.Request) error {
	n, err := a.hostName(r)
	if err != nil {
		return err
	}
	v, tag := hostAnswer{Service: n.key.Service, Host: n.key.Host}, ""
	if o, ok := a.Overrides.Get(n.key.ID()); ok {
		v.Override, tag = new(viewOverride(o)), o.Tag()
	}
	if n.shown.Addr.IsValid() {
		v.Endpoint = new(viewHost(&n.shown, a.Standings(n.key.Service)))
	}
	setTag(w, tag)
	return answer(w, http.StatusOK, v)
}

func (a *api) patchHost(w http.ResponseWriter, r *http.Request) error {
	n, err := a.hostName(r)
	if err != nil {
		return err
	}
	t, err := readTerms(r, time.Time{})
	if err != nil {
		return err
	}
	c, err := readCondition(r)
	if err != nil {
		return err
	}
	body, err := readBody(w, r, "application/merge-patch+json", "application/json")
	if err != nil {
		return err
	}
	p, err := decodePatch(body)
	if err != nil {
		return problemf(http.StatusBadRequest, "%v", err)
	}
	revision, err := a.patch(n, p, t, c)
	if err != nil {
		return err
	}
	a.awaitVisible(r, revision)
	return a.answerHost(w, r)
}

// patch changes an override, or revokes it when nothing is left of it. The revision
// is 0 when there was nothing to do.
func (a *api) patch(n named, p patch, t terms, c *condition) (uint64, error) {
	made, revision, err := a.Overrides.Edit(override.Edit{
		Key: n.key, Actor: t.actor, IfMatch: c.ofOverride(n.known),
		Change: func(cur override.Override, _ bool) (override.Override, error) {
			cur.Actor = t.actor
			o, err := p.apply(cur, time.Now())
			if err != nil && !errors.Is(err, override.ErrUnchanged) {
				err = problemf(http.StatusBadRequest, "%v", err)
			}
			return o, err
		},
	})
	switch {
	case err != nil || revision == 0:
	case made.Revoked:
		a.logRevoked(made)
	default:
		a.Logger.Info("override stored", "service", made.Service, "endpoint", made.Host, said("state", made.State), said("weight", made.Weight),
			"actor", made.Actor, said("reason", made.Reason), said("until", made.Until))
	}
	return revision, err
}

// releaseHost revokes the overrides for a host, under either name. If-Match
// stands for the name in the path.
func (a *api) releaseHost(w http.ResponseWriter, r *http.Request) error {
	n, err := a.hostName(r)
	if err != nil {
		return err
	}
	t, err := readTerms(r, time.Time{}, "reason")
	if err != nil {
		return err
	}
	c, err := readCondition(r)
	if err != nil {
		return err
	}
	latest, match, any := uint64(0), c.ofOverride(n.known), false
	for i, k := range slices.Concat([]override.Key{n.key}, n.other) {
		if i > 0 {
			match = nil
		}
		revision, err := a.end(k, t, match)
		switch {
		case err == nil:
			latest, any = max(latest, revision), true
		case !errors.Is(err, override.ErrNotFound):
			return err
		}
	}
	if !any {
		return fmt.Errorf("%s: %w", n.key.Name(), override.ErrNotFound)
	}
	a.awaitVisible(r, latest)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
