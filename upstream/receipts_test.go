package upstream_test

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// pair is two EDS servers that know each other, and an upstream that both know.
func pair(t *testing.T, opts ...upstream.Option) (a, b observer, reg *upstream.Registration) {
	t.Helper()
	a = observe(t, gossip.Options{})
	b = observe(t, gossip.Options{Seeds: []string{a.Self().Gossip.String()}})
	a.await(t, b.Self().ID, "alive", alive) // so that whoever joins through either meets both
	b.await(t, a.Self().ID, "alive", alive)
	reg = register(t, listen(t), shop, append(opts, upstream.WithSeeds(a.Self().Gossip.String(), b.Self().Gossip.String()))...)
	a.meet(t, reg)
	b.meet(t, reg)
	return a, b, reg
}

func TestDrainGoesOnWithoutAnEDSServerThatDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	a, b, reg := pair(t, upstream.WithDrainTimeout(time.Hour))
	drained := drain(t.Context(), reg)
	a.receipt(t, reg, fleet.ReceiptGone, "")
	stillDraining(t, drained)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	a.await(t, b.Self().ID, "dead", dead)
	stillDraining(t, drained) // its Envoys have to find another server
	if err := receive(t, drained, "Drain's end"); err != nil {
		t.Errorf("Drain = %v, want nil", err)
	}
}

func TestDrainWaitsForAnEDSServerThatComesInTheMiddle(t *testing.T) {
	t.Parallel()
	a := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, a.seed(), upstream.WithDrainTimeout(time.Hour))
	a.meet(t, reg)
	drained := drain(t.Context(), reg)
	a.await(t, reg.ID(), "draining", draining)
	late := observe(t, gossip.Options{Seeds: []string{reg.Member().Gossip.String()}})
	late.await(t, reg.ID(), "draining", draining)
	a.await(t, late.Self().ID, "alive", alive)
	time.Sleep(time.Second) // until the upstream has met it, too
	a.receipt(t, reg, fleet.ReceiptGone, "")
	stillDraining(t, drained)
	late.receipt(t, reg, fleet.ReceiptGone, "")
	if err := receive(t, drained, "Drain's end"); err != nil {
		t.Errorf("Drain = %v, want nil", err)
	}
}

func TestWhatCountsAsAReceipt(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	o.meet(t, reg)
	drained := drain(t.Context(), reg)
	m := o.await(t, reg.ID(), "draining", draining)
	send := func(r fleet.Receipt) {
		t.Helper()
		if err := o.SendReceipt(&m, r); err != nil {
			t.Fatal(err)
		}
	}
	send(fleet.Receipt{Revision: m.Revision - 1, State: fleet.ReceiptGone}) // of an earlier announcement
	send(fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptServing})
	stranger := m
	stranger.ID = uuid.New() // for who had the address before
	if err := o.SendReceipt(&stranger, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptGone}); err != nil {
		t.Fatal(err)
	}
	stillDraining(t, drained)
	if err := reg.SetWeight(7); err != nil {
		t.Fatal(err)
	}
	m = o.await(t, reg.ID(), "of weight 7", func(m fleet.Member) bool { return m.Endpoint.Weight == 7 })
	send(fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptGone}) // of a later one
	if err := receive(t, drained, "Drain's end"); err != nil {
		t.Errorf("Drain = %v, want nil", err)
	}
	send(fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptPending, Behind: "envoy-1"}) // overtaken on its way
	time.Sleep(100 * time.Millisecond)
	if err := receive(t, drain(t.Context(), reg), "the second Drain's end"); err != nil {
		t.Errorf("a second Drain = %v, want nil", err)
	}
}

func TestUndrainEndsADrain(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	o.meet(t, reg)
	drained := drain(t.Context(), reg)
	o.await(t, reg.ID(), "draining", draining)
	if err := reg.Undrain(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, drained, "Drain's end"); !errors.Is(err, upstream.ErrNotDrained) {
		t.Errorf("Drain = %v, want ErrNotDrained", err)
	}
}

func TestADrainGoesOnUnderANewID(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	before := o.meet(t, reg)
	drained := drain(t.Context(), reg)
	o.await(t, before.ID, "draining", draining)
	for end := time.Now().Add(patience); reg.ID() == before.ID; time.Sleep(100 * time.Millisecond) {
		if err := o.TellMissing(&before); err != nil && reg.ID() == before.ID {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("it keeps its id")
		}
	}
	o.receipt(t, reg, fleet.ReceiptGone, "")
	if err := receive(t, drained, "Drain's end"); err != nil {
		t.Errorf("Drain = %v, want nil", err)
	}
}

func TestTheFirstServingReceiptIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer // written by watch, read after Close
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	m := o.meet(t, reg)
	for clients := range 3 {
		if err := o.SendReceipt(&m, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptServing, Clients: clients + 2}); err != nil {
			t.Fatal(err)
		}
		receive(t, reg.Ready(), "Ready")
	}
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`msg="endpoint in service" envoys=\d+ after=\d[\d.]*m?s `).FindAllString(log.String(), -1)
	if len(lines) != 1 || !regexp.MustCompile(`envoys=2 `).MatchString(lines[0]) {
		t.Errorf("the log has %q, want the first one once", lines)
	}
}

func TestARefusalIsLoggedWithItsReasonAndNotWithoutEnd(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer // written by watch, read after Close
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	m := o.meet(t, reg)
	for range 3 {
		if err := o.SendReceipt(&m, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptDenied, Behind: "not at home"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.SendReceipt(&m, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptServing, Clients: 1}); err != nil {
		t.Fatal(err)
	}
	receive(t, reg.Ready(), "Ready")
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), `reason="not at home"`); n != 1 {
		t.Errorf("the reason is logged %d times, want once:\n%s", n, log.String())
	}
}

func TestRegisteredIsLoggedOnceSomebodyWasMet(t *testing.T) {
	t.Parallel()
	var alone, met bytes.Buffer // written by watch, read after Close
	reg := register(t, listen(t), shop, upstream.WithLogger(slog.New(slog.NewTextHandler(&alone, nil))))
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	if log := alone.String(); strings.Contains(log, "msg=registered") || !strings.Contains(log, "no seed to join through") {
		t.Errorf("alone it logs:\n%s", log)
	}
	o := observe(t, gossip.Options{})
	reg = register(t, listen(t), shop, o.seed(), upstream.WithLogger(slog.New(slog.NewTextHandler(&met, nil))))
	m := o.meet(t, reg)
	if err := o.SendReceipt(&m, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptServing, Clients: 1}); err != nil {
		t.Fatal(err)
	}
	receive(t, reg.Ready(), "Ready")
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	if log := met.String(); strings.Count(log, "msg=registered") != 1 || strings.Contains(log, "no seed") {
		t.Errorf("with somebody there it logs:\n%s", log)
	}
}
