package eds

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
	}{{"200", 77}, {"off", 77}, {"", heapGrowth}} {
		t.Setenv("GOGC", tt.gogc)
		LimitHeap()
		if got := debug.SetGCPercent(77); got != tt.want {
			t.Errorf("with GOGC %q the heap grows by %d %%, want %d", tt.gogc, got, tt.want)
		}
	}
}
