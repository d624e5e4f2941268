package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// manyClusters is how many one Envoy has, each with a stream of its own.
const manyClusters = 800

// atRest is how long an EDS server has to collect what it has read.
const atRest = 2 * time.Second

// memoryRows measure what each stream of a real Envoy adds to the memory of an EDS server.
func memoryRows() []row {
	var rows []row
	for _, api := range []string{"grpc", "delta"} {
		rows = append(rows, row{
			name: fmt.Sprintf("one Envoy, %d clusters over %s → RSS of the EDS server for each stream", manyClusters, api),
			want: wanted{max: counted(50)}, unit: kilobytes, most: 3, setup: streamMemory(api),
		})
	}
	return rows
}

func streamMemory(api string) setup {
	return func(_ context.Context, f *stage.Fleet) (trial, error) {
		return func(ctx context.Context) (time.Duration, error) {
			eds, err := f.EDS(ctx)
			if err != nil {
				return 0, err
			}
			defer eds.Kill()
			before, err := resident(eds.PID())
			if err != nil {
				return 0, err
			}
			var services []string
			for i := 1; i < manyClusters; i++ { // beside the fleet's own
				services = append(services, fmt.Sprintf("service-%d", i))
			}
			proxy, err := f.Envoy(ctx, api, "--service", strings.Join(services, ","))
			if err != nil {
				return 0, err
			}
			defer proxy.Kill()
			if err := stage.Eventually(ctx, streams(f)); err != nil {
				return 0, err
			}
			time.Sleep(atRest)
			after, err := resident(eds.PID())
			return counted((after - before) / manyClusters), err
		}, nil
	}
}

// streams returns nil once each cluster's stream has been answered.
func streams(f *stage.Fleet) func(context.Context) error {
	return func(ctx context.Context) error {
		var answer struct{ Clients []client.Follower }
		if err := f.API.Get(ctx, "/clients", &answer); err != nil {
			return err
		}
		acked := 0
		for _, c := range answer.Clients {
			if len(c.Services) == 1 && c.Services[0].Acked != "" {
				acked++
			}
		}
		if acked != manyClusters {
			return fmt.Errorf("%d of %d streams have acknowledged", acked, manyClusters)
		}
		return nil
	}
}

var vmRSS = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// resident returns the memory of a process, in KB.
func resident(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := vmRSS.FindSubmatch(status)
	if found == nil {
		return 0, fmt.Errorf("process %d has no VmRSS", pid)
	}
	return strconv.Atoi(string(found[1]))
}
