package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/override"
)

// Keyring is the keys that the pool's gossip is encrypted with, over all members.
// Each call asks all of them and takes up to some seconds. An error that says why
// nothing was done is a KeyRefused, a KeyUnknown or a KeyAmbiguous.
type Keyring interface {
	List(ctx context.Context) (Keys, error)
	Add(ctx context.Context, key []byte) (Keys, error)
	Use(ctx context.Context, fingerprint string) (Keys, error)
	Remove(ctx context.Context, fingerprint string) (Keys, error)
}

// Keys are what the members of the pool say of their keys.
type Keys struct {
	Members  int          `json:"members"` // live ones
	Keys     []Key        `json:"keys"`
	Silent   []string     `json:"silent,omitempty"` // members that did not answer
	Problems []KeyProblem `json:"problems,omitempty"`

	Changed string `json:"-"` // the fingerprint of the key that was added, used or removed
}

// Key is one key, and how many members have it.
type Key struct {
	Fingerprint string `json:"fingerprint"`
	Members     int    `json:"members"` // that accept it
	Primary     int    `json:"primary"` // that encrypt with it
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

// addKey takes {"key": base64}, 16, 24 or 32 bytes.
func (a *api) addKey(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, "application/json")
	if err != nil {
		return err
	}
	var v struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(body, &v, json.RejectUnknownMembers(true)); err != nil {
		return problemf(http.StatusBadRequest, "%v", explain(err))
	}
	key, err := base64.StdEncoding.DecodeString(v.Key)
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return problemf(http.StatusBadRequest, "key is not base64 of 16, 24 or 32 bytes, which rollcall keygen gossip makes")
	}
	return a.changeKeys(w, r, override.KeyAdded, func(ctx context.Context) (Keys, error) { return a.Keys.Add(ctx, key) })
}

func (a *api) useKey(w http.ResponseWriter, r *http.Request) error {
	fingerprint := mux.Vars(r)["fingerprint"]
	return a.changeKeys(w, r, override.KeyUsed, func(ctx context.Context) (Keys, error) { return a.Keys.Use(ctx, fingerprint) })
}

func (a *api) removeKey(w http.ResponseWriter, r *http.Request) error {
	fingerprint := mux.Vars(r)["fingerprint"]
	return a.changeKeys(w, r, override.KeyRemoved, func(ctx context.Context) (Keys, error) { return a.Keys.Remove(ctx, fingerprint) })
}

// changeKeys answers with what change comes to, once the audit has it.
func (a *api) changeKeys(w http.ResponseWriter, r *http.Request, action override.Action, change func(context.Context) (Keys, error)) error {
	by, err := actor(r)
	if err != nil {
		return err
	}
	return a.keys(func(ctx context.Context) (Keys, error) {
		keys, err := change(ctx)
		if err != nil {
			return keys, err
		}
		a.Logger.Info("gossip keys were changed by an operator", "action", action, "fingerprint", keys.Changed, "actor", by, "remote", r.RemoteAddr)
		if err := a.Overrides.Note(override.Done{Action: action, Key: keys.Changed, Actor: by}); err != nil {
			return keys, fmt.Errorf("the keys were changed, and the audit does not say so: %w", err)
		}
		return keys, nil
	})(w, r)
}
