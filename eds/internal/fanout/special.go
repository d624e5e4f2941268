package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

func count(b *bench, n int) int {
	if b.short {
		return max(n/20, 2)
	}
	return n
}

// What the rows below must reach on two cores.
const (
	burstAll      = 100 * time.Millisecond // from the last change to the last stream
	burstMessages = 3                      // for each stream
	stalledShare  = 1.5                    // of the median before
	stalledGrowth = 1.0                    // MB of live heap
)

// burst measures many changes in quick succession: how long after the last one all
// clients have it, and how many messages that took.
func burst(ctx context.Context, b *bench, w io.Writer) error {
	f := fanOut{load: load{1, 100}, clients: count(b, 200)}
	return b.with(ctx, "rollcall", f, func(c *child, clients *crowd) error {
		var all []time.Duration
		most := 0
		for i := range count(b, 20) {
			took, _, err := once(c, clients, order{Do: doBurst, Mark: 1 + 200*i, Times: 200})
			if err != nil {
				return err
			}
			all, most = append(all, took), max(most, clients.most())
			time.Sleep(settle)
		}
		fmt.Fprintf(w, "\nburst of 200 changes in 20 ms, %d streams\n  last change to last stream %s, at most %d messages a stream\n", f.clients, spread(all), most)
		verdict(w, "99th percentile at most", burstAll, percentile(all, 99) <= burstAll)
		verdict(w, "messages a stream at most", burstMessages, most <= burstMessages)
		return nil
	})
}

// stopsReading measures how a client that stops reading affects the others, and the
// memory that it costs.
func stopsReading(ctx context.Context, b *bench, w io.Writer) error {
	f := fanOut{load: load{1, 1_000}, clients: count(b, 1_000), narrow: 1} // with Envoy's windows it would continue to receive
	return b.with(ctx, "rollcall", f, func(c *child, clients *crowd) error {
		mark := 0
		series := func() (all []time.Duration, live int, err error) {
			for range count(b, 40) {
				mark++
				took, _, err := once(c, clients, order{Do: doChange, Mark: mark})
				if err != nil {
					return nil, 0, err
				}
				all = append(all, took)
			}
			time.Sleep(settle)
			a, err := c.tell(order{Do: doStats})
			return all, a.Live, err
		}
		before, liveBefore, err := series()
		if err != nil {
			return err
		}
		resume := clients.stall()
		defer resume()
		after, liveAfter, err := series()
		if err != nil {
			return err
		}
		grown := float64(liveAfter-liveBefore) / (1 << 20)
		fmt.Fprintf(w, "\n1 of %d clients stops reading, 1 service of 1,000 endpoints\n  the others before: %s\n  the others after:  %s\n  live heap %+.2f MB\n",
			f.clients, spread(before), spread(after), grown)
		verdict(w, "times the median before at most", stalledShare, ratio(after, before) <= stalledShare)
		verdict(w, "MB more at most", stalledGrowth, grown <= stalledGrowth)
		return nil
	})
}
