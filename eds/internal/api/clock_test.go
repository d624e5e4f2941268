package api

import (
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// A change that does not name the end keeps it, also where the clock was set since.
func TestPatchWithoutAnEndKeepsTheDuration(t *testing.T) {
	now := time.Now()
	p, err := decodePatch([]byte(`{"state":"drain","expires_in":"1h"}`))
	if err != nil {
		t.Fatal(err)
	}
	key := override.Key{Service: "web", Host: "10.0.0.1:80"}
	made, err := p.apply(override.Override{Key: key}, now)
	if err != nil || made.For != time.Hour || !made.Until.Equal(moment(now).Add(time.Hour)) {
		t.Fatalf("it lasts %s until %s: %v", made.For, made.Until, err)
	}
	made.Stamp.Wall = 1
	p, _ = decodePatch([]byte(`{"reason":"disk errors"}`))
	changed, err := p.apply(made, now.Add(time.Minute))
	if err != nil || changed.For != time.Hour || !changed.Until.Equal(made.Until) {
		t.Errorf("changed, it lasts %s until %s: %v", changed.For, changed.Until, err)
	}
	p, _ = decodePatch([]byte(`{"expires_in":null}`))
	forever, err := p.apply(made, now)
	if err != nil || forever.For != 0 || !forever.Until.IsZero() {
		t.Errorf("for ever is %s until %s: %v", forever.For, forever.Until, err)
	}
}
