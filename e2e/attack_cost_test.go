package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/rollcall-fleet/rollcall/envoy"
)

// costs fails the test if the EDS server takes more than so many megabytes more while
// attack runs, and after it.
func (h *harness) costs(most float64, attack func()) {
	h.t.Helper()
	const rss = "process_resident_memory_bytes"
	before := must2(h.metric(within(h.t, patience), rss))(h.t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		attack()
	}()
	highest := before
	for {
		highest = max(highest, must2(h.metric(within(h.t, patience), rss))(h.t))
		select {
		case <-done:
			h.t.Logf("memory went from %.0f to %.0f MB", before/1e6, highest/1e6)
			if highest > before+most*1e6 {
				h.t.Errorf("memory went from %.0f to %.0f MB, at most %.0f more are allowed", before/1e6, highest/1e6, most)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Each says as much about itself as a request may have, asks for types that nobody
// serves, refuses what it is sent at length, and stays.
func TestTwoHundredHostileClientsCostLittle(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream()
	h.serves(one)
	about := &corev3.Node{Id: "hostile", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
	for i := range 900 {
		about.Metadata.Fields[fmt.Sprint(i)] = structpb.NewStringValue(strings.Repeat("x", 1000))
	}
	load := h.load()
	h.costs(200, func() {
		for range 200 {
			conn := must2(grpc.NewClient(h.Addresses.XDS, grpc.WithTransportCredentials(insecure.NewCredentials())))(t)
			t.Cleanup(func() { _ = conn.Close() })
			stream := must2(discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context()))(t)
			must(t, 0, stream.Send(&discoveryv3.DiscoveryRequest{Node: about, TypeUrl: resource.EndpointType, ResourceNames: []string{h.Service}, VersionInfo: strings.Repeat("v", 500_000)}))
			must2(stream.Recv())(t)
			for i := range 5 {
				must(t, 0, stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: fmt.Sprintf("%0256d", i), VersionInfo: strings.Repeat("v", 200_000)}))
			}
		}
	})
	h.isUnderWay(load)
	h.noneFailed(load)
}

// An empty message takes 2 bytes in a request, and each name that is let go of under the
// wildcard is answered.
func TestRequestsOfManySmallPartsCostLittle(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.lists(h.upstream())
	details, names := make([]*anypb.Any, 1_000_000), make([]string, 400_000)
	for i := range details {
		details[i] = &anypb.Any{}
	}
	for i := range names {
		names[i] = strconv.FormatInt(int64(i), 36)
	}
	node := &corev3.Node{Id: "hostile"}
	h.costs(200, func() {
		for range 10 {
			conn := must2(grpc.NewClient(h.Addresses.XDS, grpc.WithTransportCredentials(insecure.NewCredentials())))(t)
			t.Cleanup(func() { _ = conn.Close() })
			ads := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
			sotw := must2(ads.StreamAggregatedResources(t.Context()))(t)
			must(t, 0, sotw.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: resource.EndpointType, ResourceNames: []string{h.Service}, ErrorDetail: &status.Status{Details: details}}))
			delta := must2(ads.DeltaAggregatedResources(t.Context()))(t)
			must(t, 0, delta.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.EndpointType, ResourceNamesSubscribe: []string{"*"}}))
			must2(delta.Recv())(t)
			must(t, 0, delta.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesUnsubscribe: names}))
			if _, err := delta.Recv(); grpcstatus.Code(err) != codes.InvalidArgument {
				t.Errorf("names that it never asked for are let go of: %v", err)
			}
		}
	})
}

// A tree of what an Envoy says about itself takes many times its bytes.
func TestLargePollsCostLittle(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	one := h.upstream()
	h.lists(one)
	deep := strings.Repeat(`{"a":[`, 100) + strings.Repeat(`{},`, 300_000) + `{}` + strings.Repeat(`]}`, 100)
	body := []byte(`{"node":{"id":"hostile","metadata":` + deep + `},"resource_names":["` + h.Service + `"]}`)
	h.costs(200, func() {
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() { h.poll(t.Context(), body) })
		}
		wg.Wait()
	})
}

// Polls whose names are long are many clients, each of which is remembered for a minute.
func TestPollsWithLongNamesCostLittle(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.lists(h.upstream())
	h.costs(200, func() {
		for i := range 2000 {
			names := make([]string, 30)
			for j := range names {
				names[j] = fmt.Sprintf(`"%0*d"`, 1000, i*100+j)
			}
			h.poll(t.Context(), []byte(`{"node":{"id":"hostile"},"resource_names":[`+strings.Join(names, ",")+`]}`))
		}
	})
	if status := h.poll(t.Context(), []byte(`{"node":{"id":"envoy"},"resource_names":["`+h.Service+`"]}`)); status != http.StatusOK && status != http.StatusServiceUnavailable {
		t.Errorf("a poll is answered %d", status)
	}
}

// poll returns the status of an answer, 0 where there was none.
func (h *harness) poll(ctx context.Context, body []byte) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.Addresses.HTTP+"/v3/discovery:endpoints", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
