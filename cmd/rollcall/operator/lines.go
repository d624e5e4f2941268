package operator

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

// plainLines writes a line that a person can read for each change.
type plainLines struct {
	out io.Writer
	now func() time.Time
}

func (p *plainLines) event(e client.Event) error {
	_, err := fmt.Fprintln(p.out, show.Event(p.now(), e))
	return err
}

// reset writes what there is as if it was told of one by one.
func (p *plainLines) reset(state map[string]client.Service) error {
	for _, name := range slices.Sorted(maps.Keys(state)) {
		for _, h := range state[name].Hosts {
			is := client.Changed{
				Change: "is", Service: name, ID: h.ID, State: h.State, IPAddress: h.IPAddress, Port: h.Port,
				Served: h.Served, Held: h.Held, Weight: h.Tags.Weight,
			}
			if _, err := fmt.Fprintln(p.out, show.Change(p.now(), "endpoint", is)); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonLines writes an object for each change.
type jsonLines struct{ out io.Writer }

type jsonLine struct {
	Event string                    `json:"event"`
	ID    string                    `json:"id,omitempty"`
	Data  json.RawMessage           `json:"data,omitempty"`
	State map[string]client.Service `json:"state,omitzero"` // of a reset: the services by name
}

func (j *jsonLines) event(e client.Event) error {
	return json.NewEncoder(j.out).Encode(jsonLine{Event: e.Name, ID: e.ID, Data: e.Data})
}

func (j *jsonLines) reset(state map[string]client.Service) error {
	return json.NewEncoder(j.out).Encode(jsonLine{Event: client.Reset, State: state})
}
