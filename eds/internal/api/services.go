package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// visibleWithin bounds how long a write that is already durable waits until the
// registry shows it.
const visibleWithin = 2 * time.Second

type serviceView struct {
	Mode  override.Mode `json:"mode"`
	Guard *guardView    `json:"guard,omitempty"` // while it holds
	Hosts []hostView    `json:"hosts"`
}

type hostView struct {
	IPAddress netip.Addr      `json:"ip_address"`
	Port      uint16          `json:"port"`
	Tags      tags            `json:"tags"`
	Probe     bool            `json:"probe,omitzero"`
	ID        string          `json:"id,omitempty"`
	Source    registry.Source `json:"source"`
	State     string          `json:"state"`
	Served    bool            `json:"served"`
	Held      bool            `json:"held,omitzero"`  // served although it is silent
	Until     time.Time       `json:"until,omitzero"` // while damped: when it is served again
	Since     time.Time       `json:"since"`
	Acked     ackedView       `json:"acked"`
	Override  *overrideView   `json:"override,omitempty"` // an operator's manual list
}

// ackedView is how many of the service's xDS clients have acknowledged what they
// last received of a host.
type ackedView struct {
	Have int `json:"have"`
	Of   int `json:"of"`
}

func (a *api) viewService(s registry.Service) serviceView {
	standings := a.Standings(s.Name)
	v := serviceView{Mode: s.Mode, Guard: viewGuard(s.Guard), Hosts: make([]hostView, 0, len(s.Hosts))}
	for _, h := range s.Hosts {
		v.Hosts = append(v.Hosts, viewHost(h, standings))
	}
	return v
}

func viewHost(h *registry.Host, standings xds.Standings) hostView {
	st := standings.At(h.Addr)
	v := hostView{
		IPAddress: h.Addr.Addr(), Port: h.Addr.Port(), Tags: tagsOf(h.Endpoint), Probe: h.Probe,
		ID: h.ID, Source: h.Source, State: h.State, Served: h.Served, Held: h.Held, Until: h.Until, Since: h.Since,
		Acked: ackedView{st.Have, st.Of},
	}
	if h.Override != nil {
		v.Override = new(viewOverride(*h.Override))
	}
	return v
}

// tellUnsettled says in a header that what is listed may be short of the truth.
func tellUnsettled(w http.ResponseWriter, snap *registry.Snapshot) {
	if !snap.Settled {
		w.Header().Set(fleet.UnsettledHeader, "true")
	}
}

func (a *api) listServices(w http.ResponseWriter, _ *http.Request) error {
	snap := a.Registry.Snapshot()
	tellUnsettled(w, snap)
	services := snap.Services
	views := make(map[string]serviceView, len(services))
	for _, s := range services {
		views[s.Name] = a.viewService(s)
	}
	return answer(w, http.StatusOK, views)
}

func (a *api) getService(w http.ResponseWriter, r *http.Request) error {
	name, err := serviceName(r)
	if err != nil {
		return err
	}
	a.tagService(w, r, name)
	tellUnsettled(w, a.Registry.Snapshot())
	s, err := a.find(name)
	if err != nil {
		w.Header().Del("ETag")
		return err
	}
	return answer(w, http.StatusOK, a.viewService(s))
}

func (a *api) createOverride(w http.ResponseWriter, r *http.Request) error {
	o, err := readOverride(w, r, override.Merge)
	if err != nil {
		return err
	}
	if len(o.Hosts) == 0 {
		return problemf(http.StatusBadRequest, "hosts is empty and would add no host: use PUT to serve none")
	}
	w.Header().Set("Location", "/edsservice/"+url.PathEscape(o.Service))
	return a.keepList(w, r, http.StatusCreated, o)
}

func (a *api) replaceOverride(w http.ResponseWriter, r *http.Request) error {
	o, err := readOverride(w, r, override.Pin)
	if err != nil {
		return err
	}
	if _, err := a.find(o.Service); err != nil {
		return err
	}
	return a.keepList(w, r, http.StatusOK, o)
}

// keepList writes o, beside no other list when status is 201.
func (a *api) keepList(w http.ResponseWriter, r *http.Request, status int, o override.Override) error {
	match, err := a.serviceCondition(r, o.Service)
	if err != nil {
		return err
	}
	kept, revision, err := a.Overrides.Edit(override.Edit{
		Key: o.Key, Actor: o.Actor, Reason: o.Reason, IfMatch: match,
		Change: func(_ override.Override, exists bool) (override.Override, error) {
			if exists && status == http.StatusCreated {
				return o, fmt.Errorf("service %q: %w", o.Service, override.ErrExists)
			}
			return o, nil
		},
	})
	if err != nil {
		return err
	}
	return a.answerWrite(w, r, status, kept, revision)
}

func (a *api) deleteOverride(w http.ResponseWriter, r *http.Request) error {
	name, err := serviceName(r)
	if err != nil {
		return err
	}
	terms, err := readTerms(r, nowUTC(), "reason")
	if err != nil {
		return err
	}
	match, err := a.serviceCondition(r, name)
	if err != nil {
		return err
	}
	return a.revoke(w, r, override.Key{Service: name}, terms, match)
}

// serviceCondition reads If-Match, which stands for all overrides of a service.
func (a *api) serviceCondition(r *http.Request, service string) (func(service, overrideTag string) bool, error) {
	c, err := readCondition(r)
	if err != nil {
		return nil, err
	}
	_, known := a.Registry.Snapshot().Find(service)
	return c.ofService(known), nil
}

// answerWrite answers a write that is durable, whatever happens afterwards.
func (a *api) answerWrite(w http.ResponseWriter, r *http.Request, status int, o override.Override, revision uint64) error {
	a.Logger.Info("manual list stored", "service", o.Service, "mode", o.Mode, "endpoints", len(o.Hosts), "actor", o.Actor, said("reason", o.Reason), said("until", o.Until))
	a.tagService(w, r, o.Service)
	snap := a.Registry.Snapshot()
	s, ok := snap.Find(o.Service)
	if !ok || snap.Revision < revision {
		// Not visible yet: this is what it will look like.
		overrides, _ := a.Overrides.InForce()
		preview, _ := registry.New(registry.Options{}).Decide(registry.Input{Now: o.Since, Members: snap.Members, Overrides: overrides})
		s, _ = preview.Find(o.Service)
	}
	return answer(w, status, a.viewService(s))
}

// tagService sets the ETag of a service, once the registry shows its overrides: with the
// tag of an override that the answer does not show, a client could overwrite it unseen.
func (a *api) tagService(w http.ResponseWriter, r *http.Request, service string) {
	tag := a.Overrides.ServiceTag(service)
	if _, revision := a.Overrides.InForce(); a.awaitVisible(r, revision) {
		setTag(w, tag)
	}
}

// awaitVisible lets a GET that follows a write see it.
func (a *api) awaitVisible(r *http.Request, revision uint64) bool {
	ctx, cancel := context.WithTimeout(r.Context(), visibleWithin)
	defer cancel()
	if err := a.Registry.Wait(ctx, revision); err != nil {
		a.Logger.Warn("override stored but not in service yet", "revision", revision, "err", err)
		return false
	}
	return true
}

// find returns a service that gossip or an operator knows.
func (a *api) find(name string) (registry.Service, error) {
	snap := a.Registry.Snapshot()
	if s, ok := snap.Find(name); ok {
		return s, nil
	}
	if !snap.Settled {
		return registry.Service{}, problemf(http.StatusServiceUnavailable, "gossip has not settled, so it is unknown whether service %q exists: ask again", name)
	}
	if n := a.waiting(name); n > 0 {
		return registry.Service{}, problemf(http.StatusNotFound, "service %q has no hosts; overrides that wait for its hosts: %d, see /overrides", name, n)
	}
	return registry.Service{}, problemf(http.StatusNotFound, "neither gossip nor an operator knows service %q", name)
}

// waiting counts the overrides for hosts of an unknown service.
func (a *api) waiting(service string) (n int) {
	overrides, _ := a.Overrides.InForce()
	for _, o := range overrides {
		if o.Service == service {
			n++
		}
	}
	return n
}

// readOverride returns the override that the request asks for, checked.
func readOverride(w http.ResponseWriter, r *http.Request, mode override.Mode) (override.Override, error) {
	name, err := serviceName(r)
	if err != nil {
		return override.Override{}, err
	}
	now := nowUTC()
	terms, err := readTerms(r, now, "expires_in", "until", "reason")
	if err != nil {
		return override.Override{}, err
	}
	body, err := readBody(w, r, "application/json")
	if err != nil {
		return override.Override{}, err
	}
	hosts, err := decodeHosts(body)
	if err != nil {
		return override.Override{}, problemf(http.StatusBadRequest, "%v", err)
	}
	o := override.Override{
		Key: override.Key{Service: name}, Mode: mode, Hosts: hosts,
		Actor: terms.actor, Reason: terms.reason, Since: now, Until: terms.until, For: terms.last,
	}
	if err := o.Check(); err != nil {
		return override.Override{}, problemf(http.StatusBadRequest, "%v", err)
	}
	return o, nil
}

// serviceName returns the service that the path names, checked.
func serviceName(r *http.Request) (string, error) {
	name, err := url.PathUnescape(mux.Vars(r)["service"])
	if err != nil {
		return "", problemf(http.StatusBadRequest, "service name: %v", err)
	}
	if err := fleet.CheckService(name); err != nil {
		return "", problemf(http.StatusBadRequest, "%v", err)
	}
	return name, nil
}
