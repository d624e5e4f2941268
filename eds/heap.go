package eds

import (
	"os"
	"runtime/debug"
)

// heapGrowth is by how many percent the heap may grow before garbage is collected. Go's
// own 100 keeps a byte free for each that is in use, and here that is nearly all of it
// for long: for each client and each name that it asked for. With half of that a change
// takes no more processor time; with a quarter it does.
const heapGrowth = 50

// LimitHeap makes this process collect garbage earlier than Go does by itself, unless
// GOGC says when. It is for main functions.
func LimitHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}
