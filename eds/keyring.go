package eds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/api"
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

// keyring lists and rotates the pool's keys, so that no member is locked out.
type keyring struct{ pool keyMembers }

// List implements api.Keyring.
func (k keyring) List(ctx context.Context) (api.Keys, error) {
	return k.ask(ctx, gossip.KeyQuery{Op: gossip.ListKeys}), nil
}

// Add implements api.Keyring.
func (k keyring) Add(ctx context.Context, key []byte) (api.Keys, error) {
	keys := k.ask(ctx, gossip.KeyQuery{Op: gossip.AddKey, Key: key})
	keys.Changed = gossip.FingerprintOf(key).String()
	return keys, nil
}

// Use implements api.Keyring. Every member must have the key: who has not would hear
// nothing any more.
func (k keyring) Use(ctx context.Context, fingerprint string) (api.Keys, error) {
	found, have, err := k.find(ctx, fingerprint)
	if err != nil {
		return have, err
	}
	if found.Members < have.Members {
		return have, api.KeyRefused(fmt.Sprintf("%d of %d members have key %s: add it again first", found.Members, have.Members, found.Fingerprint))
	}
	return k.change(ctx, gossip.UseKey, found.Fingerprint)
}

// Remove implements api.Keyring. Nobody may encrypt with the key any more.
func (k keyring) Remove(ctx context.Context, fingerprint string) (api.Keys, error) {
	found, have, err := k.find(ctx, fingerprint)
	if err != nil {
		return have, err
	}
	if found.Primary > 0 {
		return have, api.KeyRefused(fmt.Sprintf("%d of %d members encrypt with key %s: let them use another one first", found.Primary, have.Members, found.Fingerprint))
	}
	return k.change(ctx, gossip.RemoveKey, found.Fingerprint)
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
// answered: what is not known of one may lock it out.
func (k keyring) find(ctx context.Context, prefix string) (api.Key, api.Keys, error) {
	have, _ := k.List(ctx)
	if len(have.Silent) > 0 {
		return api.Key{}, have, api.KeyRefused(fmt.Sprintf("%d of %d members did not say which keys they have, such as %s", len(have.Silent), have.Members, have.Silent[0]))
	}
	var found []api.Key
	for _, key := range have.Keys {
		if prefix != "" && strings.HasPrefix(key.Fingerprint, prefix) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		if len(have.Keys) == 0 && len(have.Problems) > 0 {
			p := have.Problems[0]
			return api.Key{}, have, api.KeyRefused(fmt.Sprintf("%d of %d members have no key, such as %s: %s", len(have.Problems), have.Members, p.Member, p.Problem))
		}
		return api.Key{}, have, api.KeyUnknown(fmt.Sprintf("no key has a fingerprint that begins with %q", prefix))
	case 1:
		return found[0], have, nil
	default:
		return api.Key{}, have, api.KeyAmbiguous(fmt.Sprintf("%d keys have a fingerprint that begins with %q, give more of it", len(found), prefix))
	}
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
		for i, f := range a.Keys {
			keys.Count(f.String(), i == 0)
		}
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
