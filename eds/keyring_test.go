package eds

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/api"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// holders are members with their keys, which they change as they are asked to.
type holders struct {
	keys   map[uuid.UUID][]gossip.Fingerprint
	silent uuid.UUID
	server uuid.UUID // which of them is an EDS server
	asked  []gossip.KeyOp
}

func (h *holders) Members() []*fleet.Member {
	var all []*fleet.Member
	for id := range h.keys {
		m := &fleet.Member{ID: id, Role: fleet.RoleUpstream, Liveness: fleet.Alive}
		if id == h.server {
			m.Role = fleet.RoleEDS
		}
		all = append(all, m)
	}
	return all
}

func (h *holders) AskKeys(_ context.Context, q gossip.KeyQuery) []gossip.KeyAnswer {
	h.asked = append(h.asked, q.Op)
	var all []gossip.KeyAnswer
	for id, keys := range h.keys {
		if id != h.silent {
			answer := gossip.KeyAnswer{Member: id, Keys: keys}
			if len(keys) == 0 {
				answer.Problem = "its gossip is not encrypted"
			}
			all = append(all, answer)
		}
	}
	return all
}

func TestKeyRotationLocksNoMemberOut(t *testing.T) {
	a, b := uuid.UUID{1}, uuid.UUID{2}
	old, next := gossip.Fingerprint{0x11}, gossip.Fingerprint{0x22}
	for _, c := range []struct {
		name   string
		of     holders
		remove bool
		key    string
		want   string
	}{
		{"use what all have", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old, next}}}, false, "22", ""},
		{"use what one has not", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}}, false, "22", "1 of 2 members have key 22"},
		{"use what nobody has", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old}, b: {old}}}, false, "22", "no key has"},
		{"use without any", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: nil, b: nil}}, false, "22", "2 of 2 members have no key, such as"},
		{"use while one is silent", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old, next}}, silent: b}, false, "22", "1 of 2 members did not say"},
		{"use what is not clear", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, {0x1f}}, b: {old}}}, false, "1", "2 keys have"},
		{"remove what nobody uses", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {next, old}, b: {next, old}}}, true, "11", ""},
		{"remove what one uses", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {next, old}, b: {old, next}}}, true, "11", "1 of 2 members encrypt with key 11"},
		{"remove while one is silent", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {next, old}, b: {next, old}}, silent: a}, true, "11", "1 of 2 members did not say"},
	} {
		k := keyring{&c.of}
		do, op := k.Use, gossip.UseKey
		if c.remove {
			do, op = k.Remove, gossip.RemoveKey
		}
		got, err := do(t.Context(), c.key, nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", c.name, err, c.want)
		}
		_, unknown := errors.AsType[api.KeyUnknown](err)
		_, ambiguous := errors.AsType[api.KeyAmbiguous](err)
		if _, refused := errors.AsType[api.KeyRefused](err); unknown != strings.HasPrefix(c.want, "no key") ||
			ambiguous != strings.HasPrefix(c.want, "2 keys") || refused != strings.Contains(c.want, " of 2 members") && err != nil {
			t.Errorf("%s: error is a %T", c.name, err)
		}
		if err == nil && (len(got.Changed) != 16 || !strings.HasPrefix(got.Changed, c.key)) {
			t.Errorf("%s: changed was %q", c.name, got.Changed)
		}
		if did := c.of.asked[len(c.of.asked)-1] == op; did != (c.want == "") {
			t.Errorf("%s: members were asked to %v", c.name, c.of.asked)
		}
	}
}

// A member that is not to be in the pool has the old key and no other, or says nothing.
func TestMemberCanBeLockedOutOnPurpose(t *testing.T) {
	a, b := uuid.UUID{1}, uuid.UUID{2}
	old, next := gossip.Fingerprint{0x11}, gossip.Fingerprint{0x22}
	for _, c := range []struct {
		name    string
		of      holders
		without string
		want    string
	}{
		{"one that has not the key", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}}, b.String(), ""},
		{"one that is silent", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}, silent: b}, b.String(), ""},
		{"nobody", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}, silent: b}, uuid.New().String(), "of no member"},
		{"another one", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}}, a.String(), "1 of 2 members have key 22"},
		{"an EDS server", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}, server: b}, b.String(), "stop it first"},
		{"an EDS server that is silent", holders{keys: map[uuid.UUID][]gossip.Fingerprint{a: {old, next}, b: {old}}, server: b, silent: b}, b.String(), ""},
	} {
		_, err := keyring{&c.of}.Use(t.Context(), "22", []string{c.without})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", c.name, err, c.want)
		}
	}
}
