package api

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/registry"
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
}

// ackedView is how many of the service's xDS clients have acknowledged what they
// were last told of a host.
type ackedView struct {
	Have int `json:"have"`
	Of   int `json:"of"`
}

func (a *api) viewService(s registry.Service) serviceView {
	standings := a.Standings(s.Name)
	v := serviceView{Mode: s.Mode, Guard: viewGuard(s.Guard), Hosts: make([]hostView, 0, len(s.Hosts))}
	for _, h := range s.Hosts {
		st := standings.At(h.Addr)
		v.Hosts = append(v.Hosts, hostView{
			IPAddress: h.Addr.Addr(), Port: h.Addr.Port(), Tags: tagsOf(h.Endpoint), Probe: h.Probe,
			ID: h.ID, Source: h.Source, State: h.State, Served: h.Served, Held: h.Held, Until: h.Until, Since: h.Since,
			Acked: ackedView{st.Have, st.Of},
		})
	}
	return v
}

func (a *api) listServices(w http.ResponseWriter, _ *http.Request) error {
	services := a.Registry.Snapshot().Services
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
	s, err := a.find(name)
	if err != nil {
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
		return problemf(http.StatusBadRequest, "hosts is empty, which would add nobody: to serve nobody use PUT")
	}
	revision, err := a.Overrides.Create(o)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/edsservice/"+url.PathEscape(o.Service))
	return a.answerWrite(w, r, http.StatusCreated, o, revision)
}

func (a *api) replaceOverride(w http.ResponseWriter, r *http.Request) error {
	o, err := readOverride(w, r, override.Pin)
	if err != nil {
		return err
	}
	if _, err := a.find(o.Service); err != nil {
		return err
	}
	revision, err := a.Overrides.Replace(o)
	if err != nil {
		return err
	}
	return a.answerWrite(w, r, http.StatusOK, o, revision)
}

func (a *api) deleteOverride(w http.ResponseWriter, r *http.Request) error {
	name, err := serviceName(r)
	if err != nil {
		return err
	}
	revision, err := a.Overrides.Delete(name)
	if err != nil {
		return err
	}
	a.Logger.Info("manual list deleted", "service", name, "remote", r.RemoteAddr)
	a.awaitVisible(r, revision)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// answerWrite tells of a write that is durable: whatever happens now, it stands.
func (a *api) answerWrite(w http.ResponseWriter, r *http.Request, status int, o override.Override, revision uint64) error {
	a.Logger.Info("manual list kept", "service", o.Service, "mode", o.Mode, "hosts", len(o.Hosts), "remote", r.RemoteAddr)
	a.awaitVisible(r, revision)
	snap := a.Registry.Snapshot()
	s, ok := snap.Find(o.Service)
	if !ok || snap.Revision < revision {
		// Not visible yet: this is what it will look like.
		preview, _ := registry.New(registry.Options{}).Decide(registry.Input{Now: o.Since, Members: snap.Members, Overrides: []override.Override{o}})
		s, _ = preview.Find(o.Service)
	}
	return answer(w, status, a.viewService(s))
}

// awaitVisible lets a GET that follows a write see it.
func (a *api) awaitVisible(r *http.Request, revision uint64) {
	ctx, cancel := context.WithTimeout(r.Context(), visibleWithin)
	defer cancel()
	if err := a.Registry.Wait(ctx, revision); err != nil {
		a.Logger.Warn("a manual list is kept and not visible yet", "revision", revision, "err", err)
	}
}

// find returns a service that gossip or an operator knows.
func (a *api) find(name string) (registry.Service, error) {
	snap := a.Registry.Snapshot()
	if s, ok := snap.Find(name); ok {
		return s, nil
	}
	if !snap.Settled {
		return registry.Service{}, problemf(http.StatusServiceUnavailable, "gossip has not settled, so nobody can say yet whether service %q is there: ask again", name)
	}
	return registry.Service{}, problemf(http.StatusNotFound, "neither gossip nor an operator knows service %q", name)
}

// readOverride returns what the request wants decided, checked.
func readOverride(w http.ResponseWriter, r *http.Request, mode override.Mode) (override.Override, error) {
	name, err := serviceName(r)
	if err != nil {
		return override.Override{}, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return override.Override{}, err
	}
	hosts, err := decodeHosts(body)
	if err != nil {
		return override.Override{}, problemf(http.StatusBadRequest, "%v", err)
	}
	return override.Override{Key: override.Key{Service: name}, Mode: mode, Hosts: hosts, Since: time.Now().UTC().Truncate(time.Millisecond)}, nil
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
