package eds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/api"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// keysWait is how long members may take to answer about their keys.
const keysWait = 5 * time.Second

// keyMembers is what a keyring needs of the pool.
type keyMembers interface {
	AskKeys(ctx context.Context, q gossip.KeyQuery) []gossip.KeyAnswer
	Members() []*fleet.Member
}

// keyring lists and rotates the pool's keys, so that no member is locked out that is not
// meant to be.
type keyring struct{ pool keyMembers }

// List implements api.Keyring.
func (k keyring) List(ctx context.Context) (api.Keys, error) {
	return k.ask(ctx, gossip.KeyQuery{Op: gossip.ListKeys}), nil
}

// Use implements api.Keyring. Every member must have the key: one without it would receive
// nothing any more.
func (k keyring) Use(ctx context.Context, fingerprint string, without []string) (api.Keys, error) {
	found, have, err := k.find(ctx, fingerprint, without)
	if err != nil {
		return have, err
	}
	for _, h := range have.Holders {
		if !h.Left && !slices.Contains(h.Keys, found) {
			return have, api.KeyRefused(fmt.Sprintf("%d of %d members have key %s, and %s, for one, has not: add it to its --gossip-key-file, or go on without it", have.With(found), have.Members, found, h.Member))
		}
	}
	return k.change(ctx, gossip.UseKey, found)
}

// Remove implements api.Keyring. No member may encrypt with the key any more.
func (k keyring) Remove(ctx context.Context, fingerprint string, without []string) (api.Keys, error) {
	found, have, err := k.find(ctx, fingerprint, without)
	if err != nil {
		return have, err
	}
	for _, h := range have.Holders {
		if !h.Left && len(h.Keys) > 0 && h.Keys[0] == found {
			return have, api.KeyRefused(fmt.Sprintf("%d of %d members encrypt with key %s, such as %s: let them use another one first", have.Using(found), have.Members, found, h.Member))
		}
	}
	return k.change(ctx, gossip.RemoveKey, found)
}

func (k keyring) change(ctx context.Context, op gossip.KeyOp, fingerprint string) (api.Keys, error) {
	f, err := gossip.ParseFingerprint(fingerprint)
	if err != nil {
		return api.Keys{}, err
	}
	keys := k.ask(ctx, gossip.KeyQuery{Op: op, Fingerprint: f})
	keys.Changed = fingerprint
	return keys, nil
}

// find returns the one key whose fingerprint begins so. All members must have
// answered, but for those that an operator means to lose: what is not known of one may
// lock it out.
func (k keyring) find(ctx context.Context, prefix string, without []string) (string, api.Keys, error) {
	have, _ := k.List(ctx)
	if err := k.leave(&have, without); err != nil {
		return "", have, err
	}
	if len(have.Silent) > 0 {
		return "", have, api.KeyRefused(fmt.Sprintf("%d of %d members did not say which keys they have, such as %s: if it is to be locked out, go on without it", len(have.Silent), have.Members, have.Silent[0]))
	}
	var found []string
	for _, key := range have.Keys {
		if prefix != "" && strings.HasPrefix(key.Fingerprint, prefix) {
			found = append(found, key.Fingerprint)
		}
	}
	switch len(found) {
	case 0:
		if len(have.Keys) == 0 && len(have.Problems) > 0 {
			p := have.Problems[0]
			return "", have, api.KeyRefused(fmt.Sprintf("%d of %d members have no key, such as %s: %s", len(have.Problems), have.Members, p.Member, p.Problem))
		}
		return "", have, api.KeyUnknown(fmt.Sprintf("no key has a fingerprint that begins with %q", prefix))
	case 1:
		return found[0], have, nil
	default:
		return "", have, api.KeyAmbiguous(fmt.Sprintf("%d keys have a fingerprint that begins with %q, give more of it", len(found), prefix))
	}
}

// leave marks the members that an operator means to lose. An EDS server that answers may
// have Envoys, which would be left with what they have.
func (k keyring) leave(have *api.Keys, without []string) error {
	for _, id := range without {
		m := k.named(id)
		if m == nil {
			return api.KeyUnknown(fmt.Sprintf("%q is the id of no member", id))
		}
		i := slices.IndexFunc(have.Holders, func(h api.KeyHolder) bool { return h.Member == id })
		switch {
		case i < 0:
			have.Silent = slices.DeleteFunc(have.Silent, func(s string) bool { return s == id })
		case m.Role == fleet.RoleEDS:
			return api.KeyRefused(fmt.Sprintf("member %s is an EDS server and answers: Envoys may follow it, so stop it first", id))
		default:
			have.Holders[i].Left = true
		}
	}
	return nil
}

// named is the member of an id, which may be dead by now.
func (k keyring) named(id string) *fleet.Member {
	for _, m := range k.pool.Members() {
		if m.ID.String() == id {
			return m
		}
	}
	return nil
}

// ask has all members do what q says, and adds up what they answer.
func (k keyring) ask(ctx context.Context, q gossip.KeyQuery) api.Keys {
	ctx, cancel := context.WithTimeout(ctx, keysWait)
	defer cancel()
	alive := make(map[uuid.UUID]bool)
	for _, m := range k.pool.Members() {
		if m.Liveness == fleet.Alive {
			alive[m.ID] = true
		}
	}
	var keys api.Keys
	for _, a := range k.pool.AskKeys(ctx, q) {
		keys.Members++
		delete(alive, a.Member)
		holder := api.KeyHolder{Member: a.Member.String()}
		for i, f := range a.Keys {
			keys.Count(f.String(), i == 0)
			holder.Keys = append(holder.Keys, f.String())
		}
		keys.Holders = append(keys.Holders, holder)
		if a.Problem != "" {
			keys.Problems = append(keys.Problems, api.KeyProblem{Member: a.Member.String(), Problem: a.Problem})
		}
	}
	for id := range alive {
		keys.Members++
		keys.Silent = append(keys.Silent, id.String())
	}
	slices.Sort(keys.Silent)
	return keys
}
