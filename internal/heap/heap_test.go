package heap

import (
	"runtime/debug"
	"testing"
)

func TestGarbageCollectionFollowsTheKindOfProcessUnlessGOGCIsSet(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		gogc string
		set  func()
		want int
	}{
		{"200", CollectEarly, 77}, {"off", CollectEarly, 77}, {"", CollectEarly, server},
		{"200", CollectLate, 77}, {"", CollectLate, member},
	} {
		t.Setenv("GOGC", tt.gogc)
		tt.set()
		if got := debug.SetGCPercent(77); got != tt.want {
			t.Errorf("with GOGC %q the heap grows by %d %%, want %d", tt.gogc, got, tt.want)
		}
	}
}
