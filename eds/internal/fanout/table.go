package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

const header = "Times are the median / the 99th percentile / the longest. Memory is the most that the server's process had\n" +
	"(VmHWM), with the first synchronisation of all clients, and after it the Go heap after a collection. The servers, of\n" +
	"whatever cache, collect garbage as rollcall eds does; the clients open the windows that an Envoy opens,\n" +
	"and read as much at a time, where they are not narrow: as gRPC's own clients begin with."

// libraryNames are those of the caches that rollcall's is compared with.
var libraryNames = map[string]string{"snapshot": "SnapshotCache", "linear": "LinearCache"}

func (f fanOut) print(w io.Writer, results map[string]*result) {
	fmt.Fprintf(w, "\n%s\n", f.row().name)
	for _, kind := range f.kinds {
		r := results[kind]
		fmt.Fprintf(w, "  %-9s change to last stream %s, server CPU %s, caller blocked %s, peak %d MB, live %d MB\n",
			kind, spread(r.all), spread(r.cpu), spread(r.blocked), r.peak>>20, r.live>>20)
	}
	own := results["rollcall"]
	for _, kind := range f.kinds {
		if other := results[kind]; other != own {
			fmt.Fprintf(w, "  %s / rollcall: time %.1f, CPU %.1f, blocked %.1f, peak %.1f\n", libraryNames[kind], ratio(other.all, own.all),
				ratio(other.cpu, own.cpu), ratio(other.blocked, own.blocked), float64(other.peak)/float64(own.peak))
		}
	}
	f.want.judge(w, own, results["linear"])
}

// verdict prints whether a limit was kept.
func verdict(w io.Writer, what string, limit any, ok bool) {
	kept := "reached"
	if !ok {
		kept = "NOT REACHED"
	}
	fmt.Fprintf(w, "    %s %v: %s\n", what, limit, kept)
}

// judge prints for each limit whether it was kept.
func (l limits) judge(w io.Writer, own, linear *result) {
	say := func(what string, limit any, ok bool) { verdict(w, what, limit, ok) }
	if l.all > 0 {
		say("99th percentile at most", l.all, percentile(own.all, 99) <= l.all)
	}
	if l.cpu > 0 {
		say("server CPU at most", l.cpu, percentile(own.cpu, 50) <= l.cpu)
	}
	if l.blocked > 0 {
		say("caller blocked at most", l.blocked, percentile(own.blocked, 100) <= l.blocked)
	}
	if l.peak > 0 {
		say("peak MB at most", l.peak, own.peak>>20 <= l.peak)
	}
	if l.faster > 0 {
		say("times faster than LinearCache", l.faster, ratio(linear.all, own.all) >= l.faster)
	}
	if l.leaner > 0 {
		say("times leaner than LinearCache", l.leaner, float64(linear.peak)/float64(own.peak) >= l.leaner)
	}
}

// spread is the median, the 99th percentile and the maximum.
func spread(d []time.Duration) string {
	return fmt.Sprintf("%.1f / %.1f / %.1f ms", millis(percentile(d, 50)), millis(percentile(d, 99)), millis(percentile(d, 100)))
}

func ratio(a, b []time.Duration) float64 {
	return float64(percentile(a, 50)) / float64(percentile(b, 50))
}

// percentile returns the smallest value that p percent of the values do not exceed.
func percentile(values []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*p+99)/100-1]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
