package main

import (
	"context"
	"fmt"
	"net/http"
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

// Envoys with one stream each are so many, after as many others: what Go's heap may grow
// before it is collected is in use by then, and what a single Envoy adds is lost in it.
const (
	manyEnvoys = 20
	perStream  = 60.0  // KB, and so much for each name:
	perName    = 0.075 // KB
)

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
	for _, api := range []string{"ads", "delta-ads"} {
		rows = append(rows, row{
			name: fmt.Sprintf("%d Envoys, %d clusters over %s → RSS of the EDS server for each stream", manyEnvoys, manyClusters, api),
			want: wanted{max: counted(perStream + perName*manyClusters)}, unit: kilobytes, most: 2, setup: aggregatedMemory(api),
		})
	}
	return rows
}

// aggregatedMemory is streamMemory for the stream that an Envoy has for all clusters.
func aggregatedMemory(api string) setup {
	return func(_ context.Context, f *stage.Fleet) (trial, error) {
		return func(ctx context.Context) (time.Duration, error) {
			eds, err := f.EDS(ctx)
			if err != nil {
				return 0, err
			}
			defer eds.Kill()
			var before int
			for i := range 2 * manyEnvoys {
				proxy, err := f.StartEnvoy(api, "--service", strings.Join(manyServices(), ","), "--admin", "127.0.0.1:0", "--listen", "127.0.0.1:0")
				if err != nil {
					return 0, err
				}
				defer proxy.Kill()
				if err := stage.Eventually(ctx, connected(f, api, i+1)); err != nil {
					return 0, err
				}
				if i == manyEnvoys-1 {
					time.Sleep(atRest)
					if before, err = resident(eds.PID()); err != nil {
						return 0, err
					}
				}
			}
			time.Sleep(atRest)
			after, err := resident(eds.PID())
			return counted((after - before) / manyEnvoys), err
		}, nil
	}
}

// manyServices are those of the clusters, beside the fleet's own.
func manyServices() (names []string) {
	for i := 1; i < manyClusters; i++ {
		names = append(names, fmt.Sprintf("service-%d", i))
	}
	return names
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
			proxy, err := f.Envoy(ctx, api, "--service", strings.Join(manyServices(), ","))
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

// connected returns nil once n Envoys are. To list what each of them follows would take more
// memory than they do.
func connected(f *stage.Fleet, api string, n int) func(context.Context) error {
	want := fmt.Sprintf("rollcall_xds_clients{transport=%q} %d\n", api, n)
	return func(ctx context.Context) error {
		metrics, err := f.API.Expect(ctx, http.StatusOK, http.MethodGet, "/metrics", "")
		if err == nil && !strings.Contains(metrics, want) {
			err = fmt.Errorf("%d Envoys are not connected yet", n)
		}
		return err
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
