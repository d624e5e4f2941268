package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-fleet/rollcall/envoy"
)

func TestAClientThatWantsTooMuchIsRefusedAndEnvoyFollowsOn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream()
	h.serves(one)

	load := h.load()
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("service-%d", i)
	}
	for range 5 {
		stream := must2(subscriber(within(t, patience), t, h.Addresses.XDS, nil))(t)
		_ = stream.Send(subscription(names...)) // Recv says what is wrong
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("100,000 names: %v", err)
		}
	}
	h.decide(200, "PATCH", one.ID, `{"load_balancing_weight":7}`)
	h.weights(one, 7)
	metrics := h.request(http.StatusOK, http.MethodGet, "/metrics", "")
	if !strings.Contains(metrics, `rollcall_refused_total{reason="xds_names"} 5`+"\n") {
		t.Error("the refusals are not counted")
	}
	for _, of := range []string{"members", "members_per_address", "services", "endpoints", "xds_clients", "xds_streams", "xds_names", "overrides", "event_readers", "connections"} {
		if !strings.Contains(metrics, fmt.Sprintf("rollcall_bound{of=%q} ", of)) {
			t.Errorf("the metrics have no bound of %s", of)
		}
	}
	h.isUnderWay(load)
	h.noneFailed(load)
}

func TestANACKStormKeepsNobodyFromBeingUpdated(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	eds := h.eds()
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream()
	h.serves(one)

	load := h.load()
	stream := must2(subscriber(within(t, patience), t, h.Addresses.XDS, nil))(t)
	must(t, 0, stream.Send(subscription(h.Service)))
	first := must2(stream.Recv())(t)
	nack := func(nonce string) {
		t.Helper()
		must(t, 0, stream.Send(&discoveryv3.DiscoveryRequest{
			TypeUrl: resource.EndpointType, ResourceNames: []string{h.Service}, ResponseNonce: nonce,
			ErrorDetail: &statusv1.Status{Message: "no"},
		}))
	}
	for range 5_000 {
		nack(first.GetNonce())
	}
	h.decide(200, "PATCH", one.ID, `{"load_balancing_weight":7}`)
	for range 5_000 {
		nack(first.GetNonce())
	}
	h.weights(one, 7)
	two := h.upstream()
	h.serves(one, two)
	if n := strings.Count(eds.Log(), "node=attacker"); n > 100 {
		t.Errorf("the storm wrote %d lines to the log", n)
	}
	h.isUnderWay(load)
	h.noneFailed(load)
}
