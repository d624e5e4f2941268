package upstream_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

var shop = upstream.Service{
	Name: "shop", Weight: 50, Region: "us-central1", Zone: "us-central1-a", Canary: true,
	Tags: map[string]string{"version": "2"},
}

func TestThePoolSeesWhatIsRegistered(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := listen(t)
	reg := register(t, ln, shop, o.seed(), upstream.WithHealthPath("/ready"))

	m := o.meet(t, reg)
	want := fleet.Endpoint{
		Addr: netip.MustParseAddrPort(ln.Addr().String()), Weight: 50, Canary: true,
		Locality: fleet.Locality{Region: "us-central1", Zone: "us-central1-a"},
		Tags:     map[string]string{"version": "2"}, Health: fleet.Healthy,
	}
	if m.Role != fleet.RoleUpstream || m.Service != "shop" || !reflect.DeepEqual(m.Endpoint, want) {
		t.Errorf("the pool sees %+v, want %+v", m, want)
	}
	if want := (fleet.Probe{Kind: fleet.ProbeHTTP, Path: "/ready"}); m.Probe != want {
		t.Errorf("the pool sees probe %+v, want %+v", m.Probe, want)
	}
	self := reg.Member()
	if !reflect.DeepEqual(self.Endpoint, want) || self.Gossip != m.Gossip || !self.Started.Equal(m.Started) {
		t.Errorf("Member = %+v, the pool sees %+v", self, m)
	}
	if self.Gossip.Addr() != want.Addr.Addr() || self.Gossip.Port() == 0 {
		t.Errorf("gossips at %s, want a port at the listener's IP", self.Gossip)
	}
}

func TestDefaultsOfAService(t *testing.T) {
	t.Parallel()
	m := register(t, listen(t), upstream.Service{Name: "shop"}).Member()
	if m.Endpoint.Weight != 1 || m.Endpoint.Health != fleet.Healthy || m.Endpoint.Tags != nil {
		t.Errorf("endpoint is %+v, want weight 1, healthy, no tags", m.Endpoint)
	}
	if want := (fleet.Probe{Kind: fleet.ProbeHTTP, Path: "/healthz"}); m.Probe != want {
		t.Errorf("probe is %+v, want %+v", m.Probe, want)
	}
}

func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(0))
	o.meet(t, reg)
	tags := map[string]string{"version": "3", "track": "beta"}
	health := func(want fleet.Health) func(fleet.Endpoint) bool {
		return func(e fleet.Endpoint) bool { return e.Health == want }
	}
	for _, step := range []struct {
		what string
		do   func() error
		seen func(fleet.Endpoint) bool
	}{
		{"weight 7", func() error { return reg.SetWeight(7) }, func(e fleet.Endpoint) bool { return e.Weight == 7 }},
		{"other tags", func() error { return reg.SetTags(tags) }, func(e fleet.Endpoint) bool { return maps.Equal(e.Tags, tags) }},
		{"no tags", func() error { return reg.SetTags(nil) }, func(e fleet.Endpoint) bool { return e.Tags == nil }},
		{"unhealthy", func() error { return reg.SetHealthy(false) }, health(fleet.Unhealthy)},
		{"draining", func() error {
			if err := reg.Drain(t.Context()); !errors.Is(err, upstream.ErrNotDrained) { // nobody answers
				return err
			}
			return nil
		}, health(fleet.Draining)},
		{"unhealthy again", reg.Undrain, health(fleet.Unhealthy)},
		{"healthy", func() error { return reg.SetHealthy(true) }, health(fleet.Healthy)},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		o.await(t, reg.ID(), step.what, func(m fleet.Member) bool { return alive(m) && step.seen(m.Endpoint) })
	}
}

func TestARefusedChangeChangesNothing(t *testing.T) {
	t.Parallel()
	reg := register(t, listen(t), shop)
	before := reg.Member()
	wantError(t, reg.SetWeight(0), "weight is 0: want 1 to 65535")
	wantError(t, reg.SetWeight(65536), "weight is 65536")
	wantError(t, reg.SetTags(map[string]string{"canary": "x"}), `tag "canary" is reserved`)
	long := strings.Repeat("x", 190)
	wantError(t, reg.SetTags(map[string]string{"a": long, "b": long, "c": long}), "more than are left (of 512, ")
	if after := reg.Member(); !reflect.DeepEqual(after, before) {
		t.Errorf("after refusals the member is %+v, want %+v", after, before)
	}
}

func TestTheCallersTagsAreCopied(t *testing.T) {
	t.Parallel()
	first, second := map[string]string{"a": "1"}, map[string]string{"b": "1"}
	reg := register(t, listen(t), upstream.Service{Name: "shop", Tags: first})
	first["a"] = "2"
	if got := reg.Member().Endpoint.Tags["a"]; got != "1" {
		t.Errorf("tag a is %q, want 1", got)
	}
	if err := reg.SetTags(second); err != nil {
		t.Fatal(err)
	}
	second["b"] = "2"
	if got := reg.Member().Endpoint.Tags["b"]; got != "1" {
		t.Errorf("tag b is %q, want 1", got)
	}
}

func TestCloseLeavesThePoolAndTheListener(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := listen(t)
	reg := register(t, ln, shop, o.seed())
	o.meet(t, reg)

	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := reg.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	o.await(t, reg.ID(), "left", left)
	wantAccepting(t, ln)
	for what, err := range map[string]error{
		"SetWeight": reg.SetWeight(3), "SetTags": reg.SetTags(nil), "SetHealthy": reg.SetHealthy(false),
		"Drain": reg.Drain(t.Context()), "Undrain": reg.Undrain(),
	} {
		if !errors.Is(err, upstream.ErrClosed) {
			t.Errorf("%s after Close = %v, want ErrClosed", what, err)
		}
	}
}

func TestSeedsThatAreAwayAreTriedUntilTheyCome(t *testing.T) {
	t.Parallel()
	seat := observe(t, gossip.Options{})
	addr := seat.Self().Gossip
	if err := seat.Close(); err != nil {
		t.Fatal(err)
	}
	reg := register(t, listen(t), shop, upstream.WithSeeds(addr.String()))
	o := observe(t, gossip.Options{Bind: addr})
	o.meet(t, reg)
}

func TestKeyAndFleetAreThePools(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef")
	o := observe(t, gossip.Options{Fleet: "blue", Keys: [][]byte{key}})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithFleet("blue"), upstream.WithKeys(key))
	o.meet(t, reg)
}

func TestAListenerOnEveryInterfaceIsRegisteredAtTheAdvertisedAddress(t *testing.T) {
	t.Parallel()
	ln := everywhere{listen(t)}
	port := netip.MustParseAddrPort(ln.Listener.Addr().String()).Port()
	for advertise, want := range map[string]uint16{"127.0.0.1:0": port, "[::ffff:127.0.0.1]:80": 80} {
		reg := register(t, ln, shop, upstream.WithAdvertise(netip.MustParseAddrPort(advertise)))
		if want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), want); reg.Member().Endpoint.Addr != want {
			t.Errorf("advertising %s, the endpoint is %s, want %s", advertise, reg.Member().Endpoint.Addr, want)
		}
		if ip := reg.Member().Gossip.Addr(); ip != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("gossips at %s, want 127.0.0.1", ip)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	taken := listen(t)
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close() })
	with := func(change func(*upstream.Service)) upstream.Service {
		svc := shop
		change(&svc)
		return svc
	}
	anywhere := netip.MustParseAddrPort("0.0.0.0:0")
	long := strings.Repeat("x", 190)
	for name, tc := range map[string]struct {
		ln   net.Listener
		svc  upstream.Service
		opt  upstream.Option
		want string
	}{
		"no service name":        {svc: upstream.Service{}, want: "service name is empty"},
		"a slash":                {svc: with(func(s *upstream.Service) { s.Name = "a/b" }), want: "contains a slash"},
		"a weight out of range":  {svc: with(func(s *upstream.Service) { s.Weight = 65536 }), want: "weight is 65536"},
		"a reserved tag":         {svc: with(func(s *upstream.Service) { s.Tags = map[string]string{"az": "x"} }), want: `tag "az" is reserved`},
		"too much metadata":      {svc: with(func(s *upstream.Service) { s.Name, s.Region, s.Zone = long, long, long }), want: "more than are left (of 512, "},
		"no room to drain":       {svc: with(func(s *upstream.Service) { s.Tags = tagsOf(400) }), want: "more than are left (of 512, "},
		"every interface":        {ln: everywhere{taken}, want: "is on every interface: set option WithAdvertise"},
		"advertising all":        {opt: upstream.WithAdvertise(anywhere), want: "means every interface"},
		"a unix socket":          {ln: unix, want: "is not on an IP address and port"},
		"a relative health path": {opt: upstream.WithHealthPath("healthz"), want: "must begin with a slash"},
		"an unknown probe":       {opt: upstream.WithProbe("icmp"), want: `probe "icmp": want`},
		"a key of odd length":    {opt: upstream.WithKeys([]byte("short")), want: "give 16, 24 or 32"},
		"gossip on all":          {opt: upstream.WithGossip(anywhere), want: "option WithGossip 0.0.0.0:0 means every interface, which other members cannot reach: set option WithGossipAdvertise"},
		"a gossip port taken":    {opt: upstream.WithGossip(netip.MustParseAddrPort(taken.Addr().String())), want: taken.Addr().String()},
		"a bad seed":             {opt: upstream.WithSeeds("a:b:c"), want: "a:b:c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, svc, opts := tc.ln, tc.svc, []upstream.Option(nil)
			if ln == nil {
				ln = listen(t)
			}
			if svc.Name == "" && name != "no service name" {
				svc = shop
			}
			if tc.opt != nil {
				opts = append(opts, tc.opt)
			}
			reg, err := upstream.Register(t.Context(), ln, svc, opts...)
			wantError(t, err, tc.want)
			wantError(t, err, `register service "`+svc.Name+`": `)
			if reg != nil {
				t.Error("there is a registration beside the error")
			}
		})
	}
}

// tagsOf are tags with n bytes of text.
func tagsOf(n int) map[string]string {
	return map[string]string{"a": strings.Repeat("x", n/2), "b": strings.Repeat("x", n-n/2)}
}

func TestTagsThatLeaveNoRoomForLaterStatesAreRefused(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed(), upstream.WithDrainTimeout(0))
	o.meet(t, reg)
	accepted := 0
	for n := 300; n < 400; n++ {
		if err := reg.SetTags(tagsOf(n)); err != nil {
			wantError(t, err, "more than are left")
			break
		}
		accepted = n
	}
	if accepted == 0 || accepted == 399 {
		t.Fatalf("the longest tags that are accepted have %d bytes", accepted)
	}
	if got := len(reg.Member().Endpoint.Tags["b"]); got != accepted-accepted/2 {
		t.Errorf("after the refusal the tags are others: b has %d bytes", got)
	}
	if err := errors.Join(reg.SetWeight(fleet.MaxWeight), reg.SetHealthy(false), reg.Drain(t.Context())); err != nil && !errors.Is(err, upstream.ErrNotDrained) {
		t.Error(err)
	}
}

func TestARefusedListenerStaysOpen(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	if _, err := upstream.Register(t.Context(), ln, upstream.Service{}); err == nil {
		t.Fatal("registered a service without a name")
	}
	wantAccepting(t, ln)
}

func TestRegisterMindsItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := upstream.Register(ctx, listen(t), shop); !errors.Is(err, context.Canceled) {
		t.Errorf("Register = %v, want context.Canceled", err)
	}
}

func TestTheLastOfConcurrentChangesIsAnnounced(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	reg := register(t, listen(t), shop, o.seed())
	o.meet(t, reg)
	var wg sync.WaitGroup
	for i := range uint32(3) {
		wg.Go(func() {
			if err := errors.Join(reg.SetWeight(100+i), reg.SetHealthy(i%2 == 0)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { _, _ = reg.Member(), reg.ID() })
	}
	wg.Wait()
	o.await(t, reg.ID(), "as announced last", func(m fleet.Member) bool {
		return reflect.DeepEqual(m.Endpoint, reg.Member().Endpoint)
	})
}

// everywhere is a listener that says it is on every interface, without being so.
type everywhere struct{ net.Listener }

func (e everywhere) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv6unspecified, Port: e.Listener.Addr().(*net.TCPAddr).Port}
}

// wantAccepting fails unless ln takes a connection.
func wantAccepting(t *testing.T, ln net.Listener) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatalf("the listener does not accept: %v", err)
	}
	defer conn.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatalf("the listener does not accept: %v", err)
	}
	accepted.Close()
}
