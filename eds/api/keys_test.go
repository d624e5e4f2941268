package api

import (
	"context"
	"strings"
	"testing"
)

// ring has one key, and refuses what a real one would.
type ring struct{ added int }

func (r *ring) List(context.Context) (Keys, error) {
	k := Keys{Members: 2, Silent: []string{"c"}, Problems: []KeyProblem{{Member: "a", Problem: "no"}}}
	k.Count("0123456789abcdef", true)
	k.Count("0123456789abcdef", false)
	return k, nil
}

func (r *ring) Add(_ context.Context, key []byte) (Keys, error) {
	r.added = len(key)
	return r.List(context.Background())
}

func (r *ring) Use(context.Context, string) (Keys, error) {
	return Keys{}, KeyRefused("not all have it")
}

func (r *ring) Remove(context.Context, string) (Keys, error) {
	return Keys{}, KeyRefused("it is in use")
}

func TestKeysAreListedAddedAndNotTakenAwayFromWhoUsesThem(t *testing.T) {
	r := newRig(t)
	keys := r.opts.Keys.(*ring)
	check := r.form()
	for _, step := range []answers{
		{200, "GET", "/keys", ""},
		{200, "POST", "/keys", `{"key":"` + strings.Repeat("A", 43) + `="}`},
		{400, "POST", "/keys", `{"key":"AAAA"}`},
		{400, "POST", "/keys", `{"kee":"AAAA"}`},
		{409, "PUT", "/keys/0123", ""},
		{409, "DELETE", "/keys/0123", ""},
	} {
		check(step)
	}
	if keys.added != 32 {
		t.Errorf("a key of %d bytes was added", keys.added)
	}
	check(answers{200, "GET", "/audit", ""})
	if body := r.must(200, "GET", "/audit", "").body; strings.Count(body, `"action"`) != 1 || !strings.Contains(body, `"action":"key added"`) {
		t.Errorf("the audit is %s", body)
	}
	if body := r.must(200, "GET", "/keys", "").body; !strings.Contains(body, `"members":2,"primary":1`) {
		t.Errorf("keys: %s", body)
	}
}
