// Command fanout measures what a change costs when many clients receive it:
// rollcall's server, and go-control-plane's SnapshotCache and LinearCache beside
// it, each in a process of its own with the clients in this one, in turns. It
// prints a table and the ratios, and drives real Envoys too. It is not a test: it
// fails only when a client does not receive a change at all. Run it on an otherwise idle
// machine, from inside the module: make bench-fanout.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/rollcall-fleet/rollcall/internal/heap"
)

func main() {
	serve := flag.String("serve", "", "cache to serve with, as a server that reads orders from standard input: rollcall, linear or snapshot")
	short := flag.Bool("short", false, "fewer clients and trials, to try the program in a minute; the figures mean nothing")
	only := flag.String("rows", "", "regular expression of the names of the rows to measure; default: all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() error {
		if *serve != "" {
			heap.CollectEarly()
			return serveCache(ctx, *serve, os.Stdin, os.Stdout)
		}
		return run(ctx, os.Stdout, *short, *only)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fanout:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, short bool, only string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	b := bench{short: short}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	var failed []error
	fmt.Fprintln(w, header)
	for _, r := range rows {
		if !wanted.MatchString(r.name) {
			continue
		}
		if err := r.run(ctx, &b, w); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
		}
	}
	return errors.Join(failed...)
}
