package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
	"github.com/rollcall-fleet/rollcall/upstream"
)

func dead(m fleet.Member) bool { return m.Liveness == fleet.Dead }

// spoof has a stranger tell those at to that victim is dead.
func spoof(t *testing.T, victim fleet.Member, incarnation uint32, to ...fleet.Member) {
	t.Helper()
	for _, m := range to {
		conn, err := net.Dial("udp", m.Gossip.String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Write(memnet.Death(gossip.DefaultFleet, victim.ID.String(), uuid.NewString(), incarnation))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

func TestAMemberThatIsHeldForDeadComesBackUnderANewID(t *testing.T) {
	for name, fixed := range map[string]bool{"any gossip port": false, "a fixed gossip port": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := observe(t, gossip.Options{})
			second := observe(t, gossip.Options{Seeds: []string{first.Self().Gossip.String()}})
			var log bytes.Buffer // written by watch, read after Close
			ln := listen(t)
			opts := []upstream.Option{first.seed(), upstream.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))}
			if fixed {
				opts = append(opts, upstream.WithGossip(netip.MustParseAddrPort(freeAddr(t).String())))
			}
			reg, err := upstream.Register(t.Context(), ln, shop, opts...)
			if err != nil {
				t.Fatal(err)
			}
			serve(t, ln, reg.Handler(says("own")))
			first.meet(t, reg)
			old := second.await(t, reg.ID(), "alive", alive)

			spoof(t, old, math.MaxUint32, first.Self(), second.Self())
			first.await(t, old.ID, "dead", dead)
			tell := time.NewTicker(500 * time.Millisecond)
			defer tell.Stop()
			for start := time.Now(); reg.ID() == old.ID; <-tell.C {
				if err := first.TellMissing(&old); err != nil {
					t.Fatal(err)
				}
				if time.Since(start) > patience {
					t.Fatal("it goes on under the old id")
				}
			}
			for _, o := range []observer{first, second} {
				m := o.await(t, reg.ID(), "alive", alive)
				if m.Endpoint.Addr != old.Endpoint.Addr || m.Endpoint.Health != fleet.Healthy || !m.Started.After(old.Started) {
					t.Errorf("it is back as %+v, was %+v", m, old)
				}
				if fixed != (m.Gossip == old.Gossip) {
					t.Errorf("it gossips at %s, before at %s", m.Gossip, old.Gossip)
				}
				o.await(t, old.ID, "dead, not gone on its own accord", dead)
			}
			for _, path := range []string{"/", "/healthz"} {
				if a := get(t, ln.Addr(), path); a.status != 200 || a.header.Get(fleet.IDHeader) != reg.ID().String() {
					t.Errorf("%s: %d %v, want 200 and id %s", path, a.status, a.header, reg.ID())
				}
			}
			if m := reg.Member(); m.ID != reg.ID() || m.Gossip == (netip.AddrPort{}) {
				t.Errorf("Member = %+v", m)
			}
			if err := reg.SetWeight(7); err != nil {
				t.Fatal(err)
			}
			first.await(t, reg.ID(), "of weight 7", func(m fleet.Member) bool { return m.Endpoint.Weight == 7 })
			id := reg.ID()
			if err := reg.Close(); err != nil {
				t.Fatal(err)
			}
			first.await(t, id, "left", left)
			for _, want := range []string{"level=WARN", "announcing it again", "rejoining under a new id", "id=" + old.ID.String(), "id=" + id.String()} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log has no %q:\n%s", want, log.String())
				}
			}
		})
	}
}

// A member that does not hear of its death, and so does not object, is told.
func TestAMemberThatIsToldOnceKeepsItsID(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed())
	m := o.meet(t, reg)
	if err := o.TellMissing(&m); err != nil {
		t.Fatal(err)
	}
	if err := o.TellMissing(&m); err != nil { // its word is on its way
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if reg.ID() != m.ID {
		t.Error("it has a new id")
	}
}

func TestServeEndsWhenTheRegistrationIsClosedWhileItIsToldThatItIsMissing(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := listen(t)
	reg := register(t, ln, shop, o.seed(), upstream.WithDrainTimeout(0))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: says("own")}) }()
	m := o.meet(t, reg)
	if err := o.TellMissing(&m); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

// jam is a log handler that hangs at the first line with text.
type jam struct {
	slog.Handler
	text    string
	release chan struct{}
}

func (j jam) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, j.text) {
		<-j.release
	}
	return nil
}

func TestServeEndsWhenMemberlistHasDeadlocked(t *testing.T) {
	t.Parallel()
	handler := jam{Handler: slog.NewTextHandler(io.Discard, nil), text: "Refuting a dead message", release: make(chan struct{})}
	t.Cleanup(func() { close(handler.release) })
	ln := listen(t)
	reg, err := upstream.Register(t.Context(), ln, shop, upstream.WithLogger(slog.New(handler)))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- reg.Serve(t.Context(), &http.Server{Handler: says("own")}) }()
	spoof(t, reg.Member(), math.MaxUint32, reg.Member()) // which memberlist logs under its lock
	if err := receive(t, served, "Serve's end"); !errors.Is(err, gossip.ErrWedged) {
		t.Errorf("Serve = %v, want gossip.ErrWedged", err)
	}
	if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}
