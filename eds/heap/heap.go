// Package heap says when an EDS server collects garbage.
package heap

import (
	"os"
	"runtime/debug"
)

// growth is by how many percent the heap may grow before garbage is collected. Go's own
// 100 keeps a byte free for each that is in use, and here nearly all of it is in use for
// long: for each client and each name that it asked for. Half of that costs a change
// hardly more processor time; a quarter costs it half as much again.
const growth = 50

// Limit makes this process collect garbage earlier than Go does by itself, unless GOGC
// says when. It is for main functions.
func Limit() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
}
