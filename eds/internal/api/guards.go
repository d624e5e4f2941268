package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// guardsView is what the server refuses to believe at present.
type guardsView struct {
	Isolated bool                 `json:"isolated"`
	Guards   map[string]guardView `json:"guards"` // by service
}

type guardView struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // absent while isolated: without limit
	Held  int       `json:"held"`

	// Contradicted is how many of Held are alive by a fresh answer.
	Contradicted int `json:"contradicted,omitzero"`
}

func viewGuard(g *registry.Guard) *guardView {
	if g == nil {
		return nil
	}
	return &guardView{Since: g.Since, Until: g.Until, Held: g.Held, Contradicted: g.Contradicted}
}

func (a *api) listGuards(w http.ResponseWriter, _ *http.Request) error {
	snap := a.Registry.Snapshot()
	v := guardsView{Isolated: snap.Isolated, Guards: make(map[string]guardView)}
	for _, s := range snap.Services {
		if s.Guard != nil {
			v.Guards[s.Name] = *viewGuard(s.Guard)
		}
	}
	return answer(w, http.StatusOK, v)
}

// confirmGuard lets the guard of a service go: the operator knows that its silent
// hosts are dead.
func (a *api) confirmGuard(w http.ResponseWriter, r *http.Request) error {
	name, err := serviceName(r)
	if err != nil {
		return err
	}
	by, err := actor(r)
	if err != nil {
		return err
	}
	held, err := a.Registry.Confirm(r.Context(), name)
	if err != nil {
		return err
	}
	if !held {
		return problemf(http.StatusNotFound, "no guard is active for service %q", name)
	}
	a.Logger.Info("guard released by an operator", "service", name, "actor", by, "remote", r.RemoteAddr)
	if err := a.Overrides.Note(override.Done{Action: override.Confirmed, Service: name, Actor: by}); err != nil {
		return fmt.Errorf("the guard was released but the audit could not be written: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
