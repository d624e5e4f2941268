package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	words "github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// registrar registers a program that runs on port, and waits until the EDS server
// knows it.
func (h *harness) registrar(port int, args ...string) *stage.Process {
	h.t.Helper()
	known := func(ctx context.Context) int {
		svc, err := h.API.Service(ctx, h.Service)
		must(h.t, svc, err)
		return len(svc.Hosts)
	}
	before := known(within(h.t, patience))
	p := h.verb(h.t.TempDir(), append([]string{"register", "--service", h.Service, "--address", stage.Local(port),
		"--join", h.Addresses.Gossip, "--fleet", h.Pool}, args...)...)
	h.eventually("a registrar is known", func(ctx context.Context) error {
		if known(ctx) <= before {
			return fmt.Errorf("%d claims to the endpoint, as before", before)
		}
		return nil
	})
	return p
}

func TestEndpointOfTwoRegistrarsStaysInServiceWhenOneEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		newer bool
		end   syscall.Signal
	}{
		{"the newer one is stopped", true, syscall.SIGTERM},
		{"the older one is stopped", false, syscall.SIGTERM},
		{"the newer one is killed", true, syscall.SIGKILL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.eds()
			program := h.stranger() // which answers, and belongs to another service
			older := h.registrar(program.Port, "--health", "tcp")
			newer := h.registrar(program.Port, "--health", "tcp")
			h.envoy("grpc", "--no-retries")
			h.serves(program)
			load := h.load()
			time.Sleep(500 * time.Millisecond)
			ending := older
			if tt.newer {
				ending = newer
			}
			must(t, 0, ending.Signal(tt.end))
			<-ending.Done()
			time.Sleep(4 * time.Second) // gossip notices the death of a killed one
			h.noneFailed(load)
			h.serves(program)
		})
	}
}

func TestRegistrarBesideAProcessThatRegisteredItselfChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	a, b := h.upstream(), h.upstream()
	registrar := h.registrar(b.Port, "--health", "tcp")
	h.envoy("grpc", "--no-retries")
	h.serves(a, b)
	load := h.load()
	must(t, 0, registrar.Stop(within(t, patience)))
	h.noneFailed(load)
	registrar = h.registrar(b.Port, "--health", "tcp")
	load = h.load()
	must(t, 0, b.Stop(within(t, patience))) // it has the last word on itself
	h.noneFailed(load)
	h.serves(a)
	registrar.Kill()
}

func TestProgramStaysInServiceWhenItsOnlyRegistrarIsKilled(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	program := h.stranger() // which answers, and belongs to another service
	registrar := h.registrar(program.Port, "--health", "tcp")
	h.envoy("grpc", "--no-retries")
	h.serves(program)
	load := h.load()
	must(t, 0, registrar.Signal(syscall.SIGKILL))
	<-registrar.Done()
	time.Sleep(4 * time.Second) // gossip notices the death
	h.noneFailed(load)
	h.serves(program)
}

func TestProgramLeavesWithItsLatestRegistrar(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	program := h.stranger() // which answers, and belongs to another service
	crashed := h.registrar(program.Port, "--health", "tcp")
	must(t, 0, crashed.Signal(syscall.SIGKILL))
	<-crashed.Done()
	again := h.registrar(program.Port, "--health", "tcp")
	h.envoy("grpc", "--no-retries")
	h.serves(program)
	h.eventually("gossip notices the death", func(ctx context.Context) error {
		var got struct{ Members []struct{ Liveness string } }
		if err := h.API.Get(ctx, "/members", &got); err != nil {
			return err
		}
		for _, m := range got.Members {
			if m.Liveness == string(words.Dead) {
				return nil
			}
		}
		return fmt.Errorf("no member is dead: %+v", got.Members)
	})
	must(t, 0, again.Stop(within(t, patience)))
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if n, err := h.Admin.Usable(t.Context(), "service_backend"); err != nil || n != 0 {
			t.Fatalf("Envoy has %d endpoints after the latest registrar has left: %v", n, err)
		}
	}
}
