package heap

import (
	"runtime/debug"
	"testing"
)

func TestTheHeapIsLimitedUnlessGOGCSaysOtherwise(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		gogc string
		want int
	}{{"200", 77}, {"off", 77}, {"", growth}} {
		t.Setenv("GOGC", tt.gogc)
		Limit()
		if got := debug.SetGCPercent(77); got != tt.want {
			t.Errorf("with GOGC %q the heap grows by %d %%, want %d", tt.gogc, got, tt.want)
		}
	}
}
