// Package heap sets when a process collects garbage, by what it is. GOGC overrules both.
package heap

import (
	"os"
	"runtime/debug"
)

const (
	// server is by how many percent the heap of an EDS server may grow before garbage is
	// collected. Go's own 100 keeps a byte free for each that is in use, and here nearly
	// all of it is in use for long: for each client and each name that it asked for. Half
	// of that costs a change hardly more processor time; a quarter costs it half as much
	// again.
	server = 50

	// member is the same for a member that serves no Envoy. It uses some megabytes, most
	// of them for types that only other commands need, and scanning these was a good part
	// of its processor time while it joined a pool of 100. It costs up to 20 MB.
	member = 400
)

// CollectEarly is for the main function of an EDS server.
func CollectEarly() { set(server) }

// CollectLate is for the main function of any other member.
func CollectLate() { set(member) }

func set(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
