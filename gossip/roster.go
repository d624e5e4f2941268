package gossip

import (
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// maxPatch is how many members change at most before a roster is built from scratch.
const maxPatch = 32

// roster is the list of members as readers get it, by id. It is made of the one
// before: in a pool of thousands, reading them all and sorting them costs more
// than everything that follows from one of them.
type roster struct {
	list    []*fleet.Member // shared with readers, replaced and never written
	changed map[string]uuid.UUID
}

// note notes that the member called name is not what list says.
func (r *roster) note(name string, id uuid.UUID) {
	if r.changed == nil {
		r.changed = make(map[string]uuid.UUID)
	}
	r.changed[name] = id
}

// of returns what is to be shown of the members.
func (r *roster) of(byName map[string]*record) []*fleet.Member {
	switch {
	case len(r.changed) > maxPatch || r.list == nil:
		r.list = make([]*fleet.Member, 0, len(byName))
		for _, rec := range byName {
			if !rec.hidden {
				r.list = append(r.list, rec.Member)
			}
		}
		fleet.SortMembers(r.list)
	case len(r.changed) > 0:
		r.list = append(make([]*fleet.Member, 0, len(r.list)+len(r.changed)), r.list...)
		for name, id := range r.changed {
			r.patch(id, byName[name])
		}
	}
	clear(r.changed)
	r.list = slices.Clip(r.list) // who appends to it, copies it
	return r.list
}

// patch puts what is known of one member into list; rec may be nil.
func (r *roster) patch(id uuid.UUID, rec *record) {
	i, found := fleet.FindMember(r.list, id)
	switch shown := rec != nil && !rec.hidden; {
	case shown && found:
		r.list[i] = rec.Member
	case shown:
		r.list = slices.Insert(r.list, i, rec.Member)
	case found:
		r.list = slices.Delete(r.list, i, i+1)
	}
}
