package api

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// overrideView is an override in the API's JSON.
type overrideView struct {
	ID      string         `json:"id"`
	Service string         `json:"service"`
	Host    string         `json:"host,omitempty"` // a uuid or ip:port; absent for a list
	Mode    override.Mode  `json:"mode,omitempty"` // of a list
	Hosts   []listedView   `json:"hosts,omitempty"`
	State   override.State `json:"state,omitempty"`
	Weight  uint32         `json:"load_balancing_weight,omitzero"`
	Tags    map[string]any `json:"tags,omitempty"` // canary is true or false, the others are strings
	Actor   string         `json:"actor,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Since   time.Time      `json:"since"`
	Until   time.Time      `json:"until,omitzero"`
}

// listedView is a host of a manual list, as it was given.
type listedView struct {
	IPAddress netip.Addr `json:"ip_address"`
	Port      uint16     `json:"port"`
	Tags      tags       `json:"tags"`
	Probe     bool       `json:"probe,omitzero"`
}

func viewOverride(o override.Override) overrideView {
	v := overrideView{
		ID: o.Key.ID(), Service: o.Service, Host: o.Host, Mode: o.Mode, State: o.State, Weight: o.Weight,
		Actor: o.Actor, Reason: o.Reason, Since: o.Since, Until: o.EndsAt(time.Now()),
	}
	for _, h := range o.Hosts {
		v.Hosts = append(v.Hosts, listedView{IPAddress: h.Addr.Addr(), Port: h.Addr.Port(), Tags: tagsOf(h.Endpoint), Probe: h.Probe})
	}
	if len(o.Tags) > 0 {
		v.Tags = make(map[string]any, len(o.Tags))
	}
	for name, value := range o.Tags {
		v.Tags[name] = value
		if name == "canary" {
			v.Tags[name], _ = strconv.ParseBool(value) // override.Check has read it
		}
	}
	return v
}

func (a *api) listOverrides(w http.ResponseWriter, r *http.Request) error {
	query, err := readQuery(r, "service")
	if err != nil {
		return err
	}
	list, _ := a.Overrides.InForce()
	views := []overrideView{}
	for _, o := range list {
		if !query.Has("service") || o.Service == query.Get("service") {
			views = append(views, viewOverride(o))
		}
	}
	return answer(w, http.StatusOK, map[string]any{"overrides": views})
}

func (a *api) getOverride(w http.ResponseWriter, r *http.Request) error {
	o, err := a.findOverride(r)
	if err != nil {
		return err
	}
	setTag(w, o.Tag())
	return answer(w, http.StatusOK, viewOverride(o))
}

func (a *api) revokeOverride(w http.ResponseWriter, r *http.Request) error {
	o, err := a.findOverride(r)
	if err != nil {
		return err
	}
	terms, err := readTerms(r, nowUTC(), "reason")
	if err != nil {
		return err
	}
	c, err := readCondition(r)
	if err != nil {
		return err
	}
	return a.revoke(w, r, o.Key, terms, c.ofOverride(false))
}

func (a *api) findOverride(r *http.Request) (override.Override, error) {
	id := mux.Vars(r)["id"]
	o, ok := a.Overrides.Get(id)
	if !ok {
		return o, problemf(http.StatusNotFound, "no override in force has the id %.60q", id)
	}
	return o, nil
}

// revoke ends an override and answers.
func (a *api) revoke(w http.ResponseWriter, r *http.Request, k override.Key, t terms, match func(service, overrideTag string) bool) error {
	revision, err := a.end(k, t, match)
	if err != nil {
		return err
	}
	a.awaitVisible(r, revision)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) end(k override.Key, t terms, match func(service, overrideTag string) bool) (uint64, error) {
	if err := (override.Override{Key: k, Revoked: true, Actor: t.actor, Reason: t.reason}).Check(); err != nil {
		return 0, problemf(http.StatusBadRequest, "%v", err)
	}
	made, revision, err := a.Overrides.Revoke(k, t.actor, t.reason, match)
	if err != nil {
		return 0, err
	}
	a.logRevoked(made)
	return revision, nil
}

func (a *api) logRevoked(o override.Override) {
	a.Logger.Info("override revoked", "service", o.Service, said("endpoint", o.Host), "actor", o.Actor, said("reason", o.Reason))
}
