// Command bench measures a fleet of real processes behind the real Envoy and
// prints a table of how long what takes. It is no test: it fails only when
// something does not happen at all. Run it on an otherwise idle machine, from
// inside the module: go run ./e2e/bench, or make bench.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e"
	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/envoy"
)

// rows is what the table holds, in order.
var rows = append([]row{startRow, sigtermRow, putRow("grpc", wantP99(20*time.Millisecond)), putRow("rest", wantMax(250*time.Millisecond))}, slices.Concat(decisionRows(), rollingRows(), restartRows(), singleRows(), faultRows(), memoryRows())...)

func main() {
	trials := flag.Int("trials", 100, "trials for each row, 1 or more; the long rows have fewer")
	only := flag.String("rows", "", "measure only the rows whose name matches this regular expression")
	flag.Parse()
	if odd, err := faults.Odd(); odd {
		if err != nil {
			fmt.Fprintln(os.Stderr, "odd upstream:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *trials, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, trials int, only string) error {
	if trials < 1 {
		return fmt.Errorf("-trials is %d, give 1 or more", trials)
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := bench{dir: dir, trials: trials}
	if b.envoy, err = envoy.Find(""); err != nil {
		return err
	}
	if b.binary, err = e2e.Build(ctx, dir); err != nil {
		return err
	}
	var results []result
	var failed []error
	for _, r := range rows {
		if !wanted.MatchString(r.name) {
			continue
		}
		took, err := b.measure(ctx, r)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		results = append(results, result{r, took})
	}
	return errors.Join(append(failed, printTable(os.Stdout, results))...)
}
