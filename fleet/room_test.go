package fleet_test

import (
	"crypto/ed25519"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// A member that CheckRoom accepts at the start can announce every later state.
func TestMemberWithRoomFitsInEveryLaterState(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := anyMember().Draw(rt, "member")
		if m.Endpoint.Tags = nil; fleet.CheckRoom(m, false) != nil {
			rt.Skip("not valid")
		}
		if m.Role == fleet.RoleUpstream {
			m = padded(t, m, rapid.IntRange(350, fleet.MaxMeta).Draw(rt, "bytes"))
		}
		signed := rapid.Bool().Draw(rt, "signed")
		if fleet.CheckRoom(m, signed) != nil {
			rt.Skip("refused")
		}
		m.ID, m.Revision = uuid.New(), rapid.Uint64().Draw(rt, "revision")
		m.Started = time.UnixMilli(rapid.Int64Range(1, 253402300799999).Draw(rt, "later start")).UTC()
		m.Endpoint.Health = fleet.Draining
		if m.Role == fleet.RoleUpstream {
			m.Endpoint.Health = rapid.SampledFrom([]fleet.Health{fleet.Healthy, fleet.Unhealthy, fleet.Draining}).Draw(rt, "later health")
			m.Endpoint.Weight = rapid.Uint32Range(1, fleet.MaxWeight).Draw(rt, "later weight")
		}
		if signed {
			_, err = fleet.Sign("rollcall", m, key)
		} else {
			_, err = fleet.Encode(m)
		}
		if err != nil {
			rt.Fatalf("%+v: %v", m, err)
		}
	})
}

func TestMemberWithoutRoomIsRefusedWithTheBytesLeft(t *testing.T) {
	m := plain()
	m.Revision = 1
	for _, tc := range []struct {
		bytes  int
		signed bool
		want   string // "": no error
	}{
		{fleet.MaxMeta - 47, false, ""}, // `"n":1` is counted already, and 13 digits of the start
		{fleet.MaxMeta - 46, false, "metadata takes 466 bytes, 1 more than are left (of 512, 47 are kept for later states): shorten the service name, the locality, the health path or the tags"},
		{fleet.MaxMeta - 47 - 93, true, ""},
		{fleet.MaxMeta - 47 - 90, true, "metadata takes 375 bytes, 3 more than are left (of 512, 47 are kept for later states and 93 for the signature): shorten"},
		{fleet.MaxMeta, false, "metadata takes 512 bytes, 47 more than are left"},
		{fleet.MaxMeta + 100, false, "metadata takes 612 bytes, 147 more than are left"},
	} {
		err := fleet.CheckRoom(padded(t, m, tc.bytes), tc.signed)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%d bytes, signed %t: %v", tc.bytes, tc.signed, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%d bytes, signed %t: error %v, want %q", tc.bytes, tc.signed, err, tc.want)
		}
	}
	m.Revision, m.Endpoint.Weight, m.Endpoint.Health = math.MaxUint64, fleet.MaxWeight, fleet.Unhealthy
	if err := fleet.CheckRoom(padded(t, m, fleet.MaxMeta-2), false); err != nil {
		t.Errorf("a state that takes most room already: %v", err)
	}
}
