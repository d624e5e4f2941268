package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// counts waits until a metric has this value.
func (h *harness) counts(metric string, want float64) {
	h.t.Helper()
	h.eventually(metric, func(ctx context.Context) error {
		n, err := h.metric(ctx, metric)
		if err == nil && n != want {
			err = fmt.Errorf("it is %v, want %v", n, want)
		}
		return err
	})
}

func (h *harness) refused(reason string) {
	h.t.Helper()
	h.counts(fmt.Sprintf("rollcall_refused_total{reason=%q}", reason), 1)
}

// Each bound is a flag's, is shown, refuses what is beyond it, and counts that.
func TestEveryBoundIsAFlagAMetricAndARefusal(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	bounds := []struct {
		flag, of string
		most     int
	}{
		{"--max-members", "members", 50}, {"--max-members-per-address", "members_per_address", 40},
		{"--max-services", "services", 1}, {"--max-endpoints", "endpoints", 2},
		{"--xds-max-clients", "xds_clients", 3}, {"--xds-max-streams", "xds_streams", 2}, {"--xds-max-names", "xds_names", 2},
		{"--max-overrides", "overrides", 2}, {"--max-event-readers", "event_readers", 1}, {"--max-connections", "connections", 100},
	}
	var args []string
	for _, b := range bounds {
		args = append(args, b.flag, fmt.Sprint(b.most))
	}
	h.eds(args...)
	for _, b := range bounds {
		h.counts(fmt.Sprintf("rollcall_bound{of=%q}", b.of), float64(b.most))
	}
	h.boundsEndpoints()
	h.boundsNames()
	h.boundsStreams()

	for port, want := range []int{200, 200, http.StatusInsufficientStorage} {
		h.decide(want, http.MethodPatch, local(1+port), `{"state":"drain"}`)
	}
	h.refused("overrides")

	req := must2(http.NewRequestWithContext(within(t, patience), http.MethodGet, "http://"+h.Addresses.HTTP+"/events", nil))(t)
	reader := must2(http.DefaultClient.Do(req))(t)
	defer reader.Body.Close()
	h.request(http.StatusServiceUnavailable, http.MethodGet, "/events", "")
	h.refused("event_readers")
}

// boundsEndpoints wants one service of two endpoints.
func (h *harness) boundsEndpoints() {
	h.t.Helper()
	h.upstream()
	h.upstream()
	h.counts(`rollcall_endpoints{served="true",service="myservice"}`, 2)
	h.upstream()
	h.counts(`rollcall_members_refused{cause="endpoints"}`, 1)
	h.stranger()
	h.counts(`rollcall_members_refused{cause="services"}`, 1)
}

// boundsNames wants two names in a subscription.
func (h *harness) boundsNames() {
	h.t.Helper()
	stream := must2(subscriber(within(h.t, patience), h.t, h.Addresses.XDS, nil))(h.t)
	_ = stream.Send(subscription("a", "b", "c")) // Recv says what is wrong
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		h.t.Errorf("three names: %v", err)
	}
	h.refused("xds_names")
}

// boundsStreams wants two streams of a connection at most, and three in all.
func (h *harness) boundsStreams() {
	t := h.t
	t.Helper()
	conn := must2(grpc.NewClient(h.Addresses.XDS, grpc.WithTransportCredentials(insecure.NewCredentials())))(t)
	defer conn.Close()
	open := func(ctx context.Context) error {
		stream, err := endpointservicev3.NewEndpointDiscoveryServiceClient(conn).StreamEndpoints(ctx)
		if err == nil {
			err = stream.Send(subscription(h.Service))
		}
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	first, stop := context.WithCancel(within(t, patience))
	must(t, 0, open(first))
	must(t, 0, open(within(t, patience)))
	if err := open(within(t, 500*time.Millisecond)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a third stream of a connection does not wait: %v", err)
	}
	third := must2(subscriber(within(t, patience), t, h.Addresses.XDS, nil))(t)
	must(t, 0, third.Send(subscription(h.Service)))
	must2(third.Recv())(t)
	fourth := must2(subscriber(within(t, patience), t, h.Addresses.XDS, nil))(t)
	if _, err := fourth.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a fourth client: %v", err)
	}
	h.refused("xds_clients")
	stop()
	must(t, 0, open(within(t, patience))) // in the place of the first
}
