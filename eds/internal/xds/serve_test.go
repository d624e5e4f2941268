package xds

import (
	"context"
	"net"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

func TestServeEndsPromptlyWithOpenStreams(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))
	var streams []interface{ recv() (reply, error) }
	for _, open := range transports {
		c := open(t, s.conn)
		c.subscribe("web")
		next(t, c, "1", "web: "+hostA)
		streams = append(streams, c)
	}
	health, err := healthv1.NewHealthClient(s.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	must(t, err)
	_, err = health.Recv()
	must(t, err)

	began := time.Now()
	must(t, s.stop())
	if took := time.Since(began); took > stopTimeout {
		t.Errorf("took %s, which means that it was forced", took)
	}
	for _, c := range streams {
		if _, err := c.recv(); err == nil {
			t.Error("a stream goes on")
		}
	}
	if list := s.Clients(); len(list) != 0 {
		t.Errorf("clients that are gone: %+v", list)
	}
}

func TestServeEndsThoughAClientIsSilent(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	conn, err := net.Dial("tcp", s.conn.Target())
	must(t, err)
	defer func() { _ = conn.Close() }()
	time.Sleep(10 * time.Millisecond) // accepted, and in the middle of the handshake
	began := time.Now()
	must(t, s.stop())
	if took := time.Since(began); took > 2*handshakeTime {
		t.Errorf("took %s", took)
	}
}

func TestServeEndsThoughAStreamCannotWrite(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.Update(settled(crowd(1_500, 1)))
	conn, err := grpc.NewClient(s.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(64<<10)) // one that does not grow with what the connection carries
	must(t, err)
	defer func() { _ = conn.Close() }()
	c := openEDS(t, conn)
	c.subscribe("crowd")
	// It acknowledges and never reads: the first response does not fit the window.
	s.eventually(t, "pushed", func(Client) bool { return s.waitsForACK("1") })
	s.Update(settled(crowd(1_500, 2)))
	c.send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"crowd"}, ResponseNonce: "1"})
	s.eventually(t, "pushed once more", func(Client) bool { return s.waitsForACK("2") })
	began := time.Now()
	must(t, s.stop())
	if took := time.Since(began); took > 10*stopTimeout {
		t.Errorf("took %s", took)
	}
}

// waitsForACK reports whether a stream was sent a response under nonce.
func (s *running) waitsForACK(nonce string) bool {
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	for c := range s.clients.streams {
		c.acks.mu.Lock()
		defer c.acks.mu.Unlock()
		if c.acks.find(nonce) >= 0 {
			return true
		}
	}
	return false
}

func TestServeReportsABrokenListener(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, lis.Close())
	if err := New(Options{}).Serve(t.Context(), lis); err == nil {
		t.Error("no error")
	}
}

func TestHealthIsServingOnceSettled(t *testing.T) {
	s := start(t, Options{})
	health := healthv1.NewHealthClient(s.conn)
	status := func() healthv1.HealthCheckResponse_ServingStatus {
		resp, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		must(t, err)
		return resp.GetStatus()
	}
	s.Update(unsettled())
	if got := status(); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("before: %s", got)
	}
	s.Update(settled())
	if got := status(); got != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("after: %s", got)
	}
}

func TestReflectionListsTheServices(t *testing.T) {
	s := start(t, Options{})
	stream, err := reflectionv1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	must(t, err)
	must(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
	resp, err := stream.Recv()
	must(t, err)
	found := map[string]bool{}
	for _, svc := range resp.GetListServicesResponse().GetService() {
		found[svc.GetName()] = true
	}
	for _, want := range []string{"envoy.service.endpoint.v3.EndpointDiscoveryService", "envoy.service.discovery.v3.AggregatedDiscoveryService", "grpc.health.v1.Health"} {
		if !found[want] {
			t.Errorf("%s is not listed: %v", want, found)
		}
	}
}

// The stream's end must not be seen as an error of the client's making.
func TestStreamsOfOneConnectionAreSeparate(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).StreamAggregatedResources(ctx)
	must(t, err)
	broken := &sotwClient{t: t, stream: stream}
	broken.subscribe("web")
	next(t, broken, "1", "web: "+hostA)
	whole := openADS(t, s.conn)
	whole.subscribe("web")
	whole.ack(next(t, whole, "1", "web: "+hostA))
	cancel()
	s.Update(settled(service("web", hostB)))
	next(t, whole, "2", "web: "+hostB)
}
