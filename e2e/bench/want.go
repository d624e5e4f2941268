package main

import (
	"fmt"
	"strings"
	"time"
)

// wanted is what a row must reach; what is zero is not looked at, but for counts.
type wanted struct {
	median, p99, max time.Duration
	count            bool // max holds, even if it is zero
}

func wantP99(d time.Duration) wanted { return wanted{p99: d} }
func wantMax(d time.Duration) wanted { return wanted{max: d} }
func wantCount(n int) wanted         { return wanted{max: counted(n), count: true} }

var wantZero = wantCount(0)

// judge says what was wanted and whether it was met.
func (w wanted) judge(median, p99, longest time.Duration, u unit) string {
	var parts []string
	met := true
	check := func(name string, got, most time.Duration, matters bool) {
		if matters {
			parts = append(parts, fmt.Sprintf("%s ≤ %s", name, u.show(most)))
			met = met && got <= most
		}
	}
	check("median", median, w.median, w.median > 0)
	check("99 %", p99, w.p99, w.p99 > 0)
	check("max", longest, w.max, w.max > 0 || w.count)
	switch {
	case len(parts) == 0:
		return ""
	case met:
		return strings.Join(parts, ", ") + ": met"
	default:
		return strings.Join(parts, ", ") + ": MISSED"
	}
}

// show writes a figure with its unit.
func (u unit) show(d time.Duration) string {
	switch u {
	case count:
		return fmt.Sprint(d.Milliseconds())
	case kilobytes:
		return fmt.Sprintf("%d KB", d.Milliseconds())
	case percent:
		return fmt.Sprintf("%d %%", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", millis(d))
}
