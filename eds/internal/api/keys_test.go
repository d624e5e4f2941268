package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// ring has one key, and refuses what a real one would.
type ring struct{ without []string }

func (r *ring) List(context.Context) (Keys, error) {
	k := Keys{Members: 2, Silent: []string{"c"}, Problems: []KeyProblem{{Member: "a", Problem: "no"}}}
	k.Count("0123456789abcdef", true)
	k.Count("0123456789abcdef", false)
	k.Holders = []KeyHolder{{Member: "a", Keys: []string{"0123456789abcdef"}}}
	return k, nil
}

func (r *ring) changed(fingerprint string) (Keys, error) {
	k, err := r.List(context.Background())
	k.Changed = fingerprint
	return k, err
}

func (r *ring) Use(_ context.Context, fingerprint string, without []string) (Keys, error) {
	r.without = without
	switch fingerprint {
	case "fe":
		return r.changed("fedcba9876543210")
	case "9":
		return Keys{}, KeyUnknown("no key has it")
	case "0":
		return Keys{}, KeyAmbiguous("2 keys have it")
	}
	return Keys{}, KeyRefused("not all have it")
}

func (r *ring) Remove(_ context.Context, fingerprint string, _ []string) (Keys, error) {
	if fingerprint == "9" {
		return Keys{}, KeyUnknown("no key has it")
	}
	return Keys{}, KeyRefused("it is in use")
}

func TestKeysAreListedAndKeptWhileInUse(t *testing.T) {
	r := newRig(t)
	keys := r.opts.Keys.(*ring)
	check := r.form()
	for _, step := range []answers{
		{200, "GET", "/keys", ""},
		{410, "POST", "/keys", ""},
		{409, "PUT", "/keys/0123", ""},
		{409, "DELETE", "/keys/0123", ""},
		{404, "PUT", "/keys/9", ""},
		{404, "DELETE", "/keys/9", ""},
		{400, "PUT", "/keys/0", ""},
	} {
		check(step)
	}
	r.must(200, "PUT", "/keys/fe?without=a,b", "")
	if !slices.Equal(keys.without, []string{"a", "b"}) {
		t.Errorf("it may be without %v", keys.without)
	}
	r.must(400, "PUT", "/keys/fe?others=a", "")
	check(answers{200, "GET", "/audit", ""})
	entries, _ := r.store.Audit(time.Time{}, 10, "")
	if len(entries) != 1 || entries[0].Key != "fedcba9876543210" || entries[0].Action != override.KeyUsed || entries[0].Override.Reason != "" {
		t.Errorf("the audit has %+v", entries)
	}
	if body := r.must(200, "GET", "/audit", "").body; strings.Count(body, `"key":"fedcba9876543210"`) != 1 {
		t.Errorf("the audit is %s", body)
	}
	if body := r.must(200, "GET", "/keys", "").body; !strings.Contains(body, `"members":2,"primary":1`) {
		t.Errorf("keys: %s", body)
	}
}
