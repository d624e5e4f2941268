package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// Keyring is the keys that the pool's gossip is encrypted with, over all members.
// Each call asks all of them and takes up to some seconds. An error that says why
// nothing was done is a KeyRefused, a KeyUnknown or a KeyAmbiguous.
type Keyring interface {
	List(ctx context.Context) (Keys, error)

	// Without are the ids of members that may be locked out.
	Use(ctx context.Context, fingerprint string, without []string) (Keys, error)
	Remove(ctx context.Context, fingerprint string, without []string) (Keys, error)
}

// Keys are what the members of the pool say of their keys.
type Keys struct {
	Members  int          `json:"members"` // live ones
	Keys     []Key        `json:"keys"`
	Silent   []string     `json:"silent,omitempty"` // members that did not answer
	Problems []KeyProblem `json:"problems,omitempty"`
	Holders  []KeyHolder  `json:"holders,omitempty"` // who has which

	Changed string `json:"-"` // the fingerprint of the key that was used or removed
}

// Key is one key, and how many members have it.
type Key struct {
	Fingerprint string `json:"fingerprint"`
	Members     int    `json:"members"` // that accept it
	Primary     int    `json:"primary"` // that encrypt with it
}

// KeyHolder is a member and its keys, the one that it encrypts with first.
type KeyHolder struct {
	Member string   `json:"member"`
	Keys   []string `json:"keys"`

	Left bool `json:"-"` // it may be locked out
}

// With is how many members have a key.
func (k *Keys) With(fingerprint string) int { return k.find(fingerprint).Members }

// Using is how many members encrypt with a key.
func (k *Keys) Using(fingerprint string) int { return k.find(fingerprint).Primary }

func (k *Keys) find(fingerprint string) Key {
	if i := slices.IndexFunc(k.Keys, func(key Key) bool { return key.Fingerprint == fingerprint }); i >= 0 {
		return k.Keys[i]
	}
	return Key{}
}

// KeyProblem is why a member did not do as it was asked, or not for good.
type KeyProblem struct {
	Member  string `json:"member"`
	Problem string `json:"problem"`
}

// Count adds a member's key.
func (k *Keys) Count(fingerprint string, primary bool) {
	i := slices.IndexFunc(k.Keys, func(key Key) bool { return key.Fingerprint == fingerprint })
	if i < 0 {
		i = len(k.Keys)
		k.Keys = append(k.Keys, Key{Fingerprint: fingerprint})
	}
	k.Keys[i].Members++
	if primary {
		k.Keys[i].Primary++
	}
}

// KeyRefused says why the keys stay as they are.
type KeyRefused string

func (e KeyRefused) Error() string { return string(e) }

// KeyUnknown says that no key has such a fingerprint.
type KeyUnknown string

func (e KeyUnknown) Error() string { return string(e) }

// KeyAmbiguous says that several keys have such a fingerprint.
type KeyAmbiguous string

func (e KeyAmbiguous) Error() string { return string(e) }

func (a *api) keys(do func(context.Context) (Keys, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		keys, err := do(r.Context())
		switch err := err.(type) {
		case nil:
			return answer(w, http.StatusOK, keys)
		case KeyRefused:
			return problemf(http.StatusConflict, "%v", err)
		case KeyUnknown:
			return problemf(http.StatusNotFound, "%v", err)
		case KeyAmbiguous:
			return problemf(http.StatusBadRequest, "%v", err)
		default:
			return err
		}
	}
}

func (a *api) listKeys(w http.ResponseWriter, r *http.Request) error {
	return a.keys(a.Keys.List)(w, r)
}

// addKey is of earlier versions, and says what to do instead.
func (a *api) addKey(http.ResponseWriter, *http.Request) error {
	return problemf(http.StatusGone, "keys are no longer sent over the network: add the key to the --gossip-key-file of each member, which rereads it, then PUT /keys/{fingerprint}")
}

func (a *api) useKey(w http.ResponseWriter, r *http.Request) error {
	return a.changeKeys(w, r, override.KeyUsed, a.Keys.Use)
}

func (a *api) removeKey(w http.ResponseWriter, r *http.Request) error {
	return a.changeKeys(w, r, override.KeyRemoved, a.Keys.Remove)
}

// changeKeys answers with the result of change, once the audit has it. The parameter
// without names members that may be locked out, with commas between their ids.
func (a *api) changeKeys(w http.ResponseWriter, r *http.Request, action override.Action, change func(ctx context.Context, fingerprint string, without []string) (Keys, error)) error {
	by, err := actor(r)
	if err != nil {
		return err
	}
	query, err := readQuery(r, "without")
	if err != nil {
		return err
	}
	fingerprint := mux.Vars(r)["fingerprint"]
	without := strings.FieldsFunc(query.Get("without"), func(r rune) bool { return r == ',' })
	return a.keys(func(ctx context.Context) (Keys, error) {
		keys, err := change(ctx, fingerprint, without)
		if err != nil {
			return keys, err
		}
		a.Logger.Info("gossip keys changed by an operator", "action", action, "fingerprint", keys.Changed, "without", without, "actor", by, "remote", r.RemoteAddr)
		if err := a.Overrides.Note(override.Done{Action: action, Key: keys.Changed, Actor: by}); err != nil {
			return keys, fmt.Errorf("the keys were changed but the audit could not be written: %w", err)
		}
		return keys, nil
	})(w, r)
}
