package fleet_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestAMemberIsFoundByItsID(t *testing.T) {
	members := []*fleet.Member{{ID: uuid.UUID{3}}, {ID: uuid.UUID{1}}, {ID: uuid.UUID{2, 0xff}}}
	fleet.SortMembers(members)
	for _, tt := range []struct {
		id    uuid.UUID
		at    int
		there bool
	}{
		{uuid.UUID{1}, 0, true}, {uuid.UUID{2, 0xff}, 1, true}, {uuid.UUID{3}, 2, true},
		{uuid.Nil, 0, false}, {uuid.UUID{2}, 1, false}, {uuid.Max, 3, false},
	} {
		if at, there := fleet.FindMember(members, tt.id); at != tt.at || there != tt.there {
			t.Errorf("%s: %d, %v, want %d, %v", tt.id, at, there, tt.at, tt.there)
		}
	}
}
