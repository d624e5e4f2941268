// Command bench prints what package gossip/internal/model says of pools of 10 to 100,000
// members, as the tables of docs/scale.md: go run ./gossip/bench, about a minute.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/gossip/internal/model"
)

// words is what one member that is replaced has the pool say: that it drains, that
// it is gone, that the new one is there.
const words = 3

type bench struct {
	out   io.Writer
	sizes []int
	meta  int // bytes of metadata
	churn float64
}

func main() {
	sizes := flag.String("members", "10,100,300,1000,3000,10000,30000,100000", "sizes of the pool, separated by commas")
	profiles := flag.String("profiles", "lan,wan,fast", "profiles, separated by commas")
	b := bench{out: os.Stdout}
	flag.IntVar(&b.meta, "meta", 120, "bytes of metadata of a member, at most 512")
	flag.Float64Var(&b.churn, "churn", 10, "members that are replaced in a second, for the last columns")
	flag.Parse()
	if err := b.run(*sizes, *profiles); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b bench) run(sizes, profiles string) error {
	for s := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 3 {
			return fmt.Errorf("-members: %q is no number from 3", s)
		}
		b.sizes = append(b.sizes, n)
	}
	for s := range strings.SplitSeq(profiles, ",") {
		profile, err := gossip.ParseProfile(s)
		if err != nil {
			return err
		}
		b.print(profile)
	}
	return nil
}

func (b bench) options(profile gossip.Profile, n int) model.Options {
	conf := profile.Config()
	conf.Label = gossip.DefaultFleet
	o := model.Options{Config: conf, Members: n, Seed: 1}
	o.WordSize = model.CostOf(o, b.meta).Word
	return o
}

func (b bench) print(profile gossip.Profile) {
	fmt.Fprintf(b.out, "\nProfile `%s`, seconds until so many know (medians):\n\n", profile)
	fmt.Fprintf(b.out, "| members | a change: 50 %% | 99 %% | all | a join: 99 %% | all | a crash: one EDS server | all | a change while %g members/s are replaced: 99 %% | all |\n|%s\n",
		b.churn, strings.Repeat("---|", 10))
	for _, n := range b.sizes {
		o := b.options(profile, n)
		runs := max(5, min(101, 100_000/n))
		change, join, crash := model.Median(o, runs, model.Change), model.Median(o, runs, model.Join), model.Median(o, runs, model.Crash)
		o.Words = words * b.churn
		busy := model.Median(o, runs, model.Change)
		fmt.Fprintf(b.out, "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", n, s(change.Half), s(change.Most), s(change.All),
			s(join.Most), s(join.All), s(crash.Observer), s(crash.All), s(busy.Most), s(busy.All))
	}
	fmt.Fprintf(b.out, "\nProfile `%s`, what one member sends, with %d bytes of metadata:\n\n", profile, b.meta)
	fmt.Fprintf(b.out, "| members | probes: packets/s | bytes/s | push/pull: each | bytes/s | state, KB | each word is sent | words/s with room | members/s replaced |\n|%s\n", strings.Repeat("---|", 9))
	for _, n := range b.sizes {
		o := b.options(profile, n)
		c := model.CostOf(o, b.meta)
		fmt.Fprintf(b.out, "| %d | %.1f | %.0f | %.0f s | %.0f | %.0f | %d times | %.1f | %.1f |\n", n, c.Packets, c.ProbeBytes,
			c.PushPullEvery, c.PushPullBytes, float64(c.State)/1000, o.Sends(), o.Room(), o.Room()/words)
	}
}

func s(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }
