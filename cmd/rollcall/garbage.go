package main

import (
	"os"
	"runtime/debug"
)

// memberGC is how much garbage, in percent of what is in use, a member of the pool
// that serves no Envoy lets grow: it uses some megabytes, most of them for types that
// only the other verbs need, and walks over them were a good part of its CPU time while it
// joined a pool of 100. It costs up to 20 MB. $GOGC overrules it.
const memberGC = 400

func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(memberGC)
	}
}
