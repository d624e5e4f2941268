package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// result is a row that was measured, with at least one trial.
type result struct {
	row
	took []time.Duration
}

func printTable(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "trials\tmedian\t99 %\tmax\t  what\t  wanted")
	for _, r := range results {
		sorted := slices.Sorted(slices.Values(r.took))
		median, p99, longest := percentile(sorted, 50), percentile(sorted, 99), sorted[len(sorted)-1]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t  %s\t  %s\n", len(sorted), r.unit.show(median), r.unit.show(p99), r.unit.show(longest),
			r.name, r.want.judge(median, p99, longest, r.unit))
	}
	return t.Flush()
}

// percentile returns the smallest value that p percent of the sorted values do not
// exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
