package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// drain begins a drain and returns where its end comes.
func drain(ctx context.Context, reg *upstream.Registration) <-chan error {
	drained := make(chan error, 1)
	go func() { drained <- reg.Drain(ctx) }()
	return drained
}

func stillDraining(t *testing.T, drained <-chan error) {
	t.Helper()
	select {
	case err := <-drained:
		t.Fatalf("Drain = %v too early", err)
	case <-time.After(150 * time.Millisecond):
	}
}

func TestDrainWaitsForTheReceiptOfEveryEDSServer(t *testing.T) {
	t.Parallel()
	a := observe(t, gossip.Options{})
	b := observe(t, gossip.Options{Seeds: []string{a.Self().Gossip.String()}})
	a.await(t, b.Self().ID, "alive", alive) // so that the upstream learns of both at once
	reg := register(t, listen(t), shop, upstream.WithSeeds(a.Self().Gossip.String(), b.Self().Gossip.String()), upstream.WithDrainTimeout(time.Hour))
	a.meet(t, reg)
	b.meet(t, reg)
	drained := drain(t.Context(), reg)
	a.receipt(t, reg, fleet.ReceiptGone, "")
	stillDraining(t, drained)
	b.receipt(t, reg, fleet.ReceiptPending, "envoy-1")
	stillDraining(t, drained)
	b.receipt(t, reg, fleet.ReceiptGone, "")
	if err := receive(t, drained, "Drain's end"); err != nil {
		t.Errorf("Drain = %v, want nil", err)
	}
}

func TestDrainNamesWhoIsMissing(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(2*time.Second))
	o.meet(t, reg)
	drained := drain(t.Context(), reg)
	o.receipt(t, reg, fleet.ReceiptPending, "envoy-7")
	err := receive(t, drained, "Drain's end")
	if !errors.Is(err, upstream.ErrNotDrained) || !strings.Contains(err.Error(), "envoy-7") {
		t.Errorf("Drain = %v, want ErrNotDrained that names envoy-7", err)
	}
}

func TestDrainWithoutAnEDSServerDoesNotWait(t *testing.T) {
	t.Parallel()
	reg := register(t, listen(t), shop, upstream.WithDrainTimeout(time.Hour))
	if err := receive(t, drain(t.Context(), reg), "Drain's end"); err != nil {
		t.Errorf("Drain = %v, want nil", err)
	}
}

func TestReadyOnceAnEDSServerSaysThatEveryEnvoyHasIt(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(0))
	m := o.meet(t, reg)
	select {
	case <-reg.Ready():
		t.Fatal("ready before anybody said so")
	default:
	}
	if err := o.SendReceipt(&m, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptServing, Clients: 2}); err != nil {
		t.Fatal(err)
	}
	receive(t, reg.Ready(), "Ready")
}

func TestDrainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	o.meet(t, reg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reg.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain = %v, want context.Canceled", err)
	}
	if h := reg.Member().Endpoint.Health; h != fleet.Draining {
		t.Errorf("the endpoint is %s, want draining", h)
	}
}

func TestDrainEndsWithTheRegistration(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	o.meet(t, reg)
	drained := make(chan error, 1)
	go func() { drained <- reg.Drain(context.Background()) }()
	o.await(t, reg.ID(), "draining", draining)
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, drained, "Drain's end"); !errors.Is(err, upstream.ErrClosed) {
		t.Errorf("Drain = %v, want ErrClosed", err)
	}
}

func TestServeLogsWhichEDSServerWasMissing(t *testing.T) {
	t.Parallel()
	silent := observe(t, gossip.Options{})
	var log bytes.Buffer // read once Serve has returned
	reg := register(t, listen(t), shop, silent.seed(), upstream.WithDrainTimeout(time.Second),
		upstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	silent.meet(t, reg)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: http.NotFoundHandler()}) }()
	stop()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "eds server "+silent.Self().ID.String()+" has not answered") {
			return
		}
	}
	t.Errorf("no warning names %s:\n%s", silent.Self().ID, log.String())
}
