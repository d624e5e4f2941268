package upstream_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

func TestAnEndpointOfAnotherProcessIsAnnouncedOnItsBehalf(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	addr := netip.MustParseAddrPort("127.0.0.1:5432") // nobody needs to listen there
	reg, err := upstream.RegisterEndpoint(t.Context(), addr, shop, o.seed(), upstream.WithProbe(fleet.ProbeTCP))
	if err != nil {
		t.Fatal(err)
	}
	m := o.meet(t, reg)
	if want := (fleet.Probe{Kind: fleet.ProbeTCP, OnBehalf: true}); m.Endpoint.Addr != addr || m.Probe != want {
		t.Errorf("announced %s with probe %+v, want %s and %+v", m.Endpoint.Addr, m.Probe, addr, want)
	}
	if ip := m.Gossip.Addr(); ip != addr.Addr() {
		t.Errorf("it gossips at %s, want the address towards the endpoint", ip)
	}
	wantError(t, reg.Serve(t.Context(), &http.Server{}), "no listener")
	o.await(t, reg.ID(), "left", left)
}

func TestAnEndpointElsewhereGossipsWhereItsPoolIs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		addr  string
		seeds []string
		want  string
	}{
		"the pool is on this machine":     {"192.0.2.9:5432", []string{"seed.example", "127.0.0.1:7946"}, "127.0.0.1:0"},
		"a seed without a port":           {"192.0.2.9:5432", []string{"127.0.0.1"}, "127.0.0.1:0"},
		"an IPv6 seed":                    {"192.0.2.9:5432", []string{"[::1]"}, "[::1]:0"},
		"the endpoint is on this machine": {"127.0.0.5:5432", []string{"192.0.2.1"}, "127.0.0.1:0"},
		"alone":                           {"127.0.0.1:5432", nil, "127.0.0.1:0"},
	} {
		got, err := upstream.EndpointGossip(t.Context(), netip.MustParseAddrPort(tc.addr), tc.seeds)
		if err != nil || got.String() != tc.want {
			t.Errorf("%s: it gossips at %s, %v, want %s", name, got, err, tc.want)
		}
	}
}

func TestAnEndpointThatCannotBeAnnouncedIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		addr string
		svc  upstream.Service
		opt  upstream.Option
		want string
	}{
		"no service name": {"127.0.0.1:80", upstream.Service{}, upstream.WithProbe(fleet.ProbeTCP), "service name is empty"},
		"no port":         {"127.0.0.1:0", shop, upstream.WithProbe(fleet.ProbeTCP), "port"},
		"every interface": {"0.0.0.0:80", shop, upstream.WithProbe(fleet.ProbeTCP), "every interface"},
		"a path unlike":   {"127.0.0.1:80", shop, upstream.WithHealthPath("healthz"), "must begin with a slash"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := netip.MustParseAddrPort(tc.addr)
			wantError(t, upstream.CheckEndpoint(addr, tc.svc, tc.opt), tc.want)
			reg, err := upstream.RegisterEndpoint(t.Context(), addr, tc.svc, tc.opt)
			wantError(t, err, tc.want)
			if reg != nil {
				t.Error("there is a registration all the same")
			}
		})
	}
}
