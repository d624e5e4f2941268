package xds

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"go.uber.org/goleak"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test.
const patience = 10 * time.Second

// host is a healthy self-registered host.
func host(addr string) *registry.Host {
	return &registry.Host{
		Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort(addr), Weight: 1, Health: fleet.Healthy},
		ID:       "00000000-0000-4000-8000-000000000001", Source: registry.Gossip, State: "healthy", Served: true,
	}
}

func service(name string, addrs ...string) registry.Service {
	s := registry.Service{Name: name}
	for _, a := range addrs {
		s.Hosts = append(s.Hosts, host(a))
	}
	return s
}

// crowd is a service of n endpoints, the first of which has a weight.
func crowd(n int, weight uint32) registry.Service {
	s := registry.Service{Name: "crowd"}
	for i := range n {
		s.Hosts = append(s.Hosts, host(fmt.Sprintf("10.1.%d.%d:80", i/250, i%250+1)))
	}
	s.Hosts[0].Weight = weight
	return s
}

func settled(services ...registry.Service) *registry.Snapshot {
	return &registry.Snapshot{Settled: true, Services: services}
}

func unsettled(services ...registry.Service) *registry.Snapshot {
	return &registry.Snapshot{Services: services}
}

// running is a Server on a port of its own.
type running struct {
	*Server
	conn *grpc.ClientConn
	stop func() error // ends Serve and returns what it returned
}

// abrupt is New without farewells, for tests that are about something else.
func abrupt(opts Options) *Server {
	s := New(opts)
	s.farewell = 0
	return s
}

func start(t testing.TB, opts Options) *running {
	t.Helper()
	return serve(t, abrupt(opts))
}

func serve(t testing.TB, s *Server) *running {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	stop := sync.OnceValue(func() error { cancel(); return <-served })
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20))) // Envoy has no limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &running{Server: s, conn: conn, stop: stop}
}

// reply is a response of either protocol.
type reply struct {
	nonce   string
	version string
	items   []string            // "name@version", sorted; delta only
	hosts   map[string][]string // by name: the addresses
}

// subscriber is a client of one stream, whatever its protocol.
type subscriber interface {
	subscribe(names ...string)
	recv() (reply, error)
	ack(reply)
	nack(reply, string)
}

// transports opens a subscriber over each of the four streams.
var transports = map[string]func(t *testing.T, conn *grpc.ClientConn) subscriber{
	TransportEDS:      func(t *testing.T, conn *grpc.ClientConn) subscriber { return openEDS(t, conn) },
	TransportADS:      func(t *testing.T, conn *grpc.ClientConn) subscriber { return openADS(t, conn) },
	TransportDeltaEDS: func(t *testing.T, conn *grpc.ClientConn) subscriber { return openDeltaEDS(t, conn) },
	TransportDeltaADS: func(t *testing.T, conn *grpc.ClientConn) subscriber { return openDeltaADS(t, conn) },
}

// onEachStream runs a test over each of the four streams.
func onEachStream(t *testing.T, test func(t *testing.T, s *running, c subscriber)) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{})
			test(t, s, open(t, s.conn))
		})
	}
}

var node = &corev3.Node{Id: "envoy-1", Cluster: "test"}

type sotwClient struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	names  []string
	last   reply // accepted
}

func openEDS(t *testing.T, conn *grpc.ClientConn) *sotwClient {
	stream, err := endpointservicev3.NewEndpointDiscoveryServiceClient(conn).StreamEndpoints(t.Context())
	must(t, err)
	return &sotwClient{t: t, stream: stream}
}

func openADS(t *testing.T, conn *grpc.ClientConn) *sotwClient {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context())
	must(t, err)
	return &sotwClient{t: t, stream: stream}
}

func (c *sotwClient) send(req *discoveryv3.DiscoveryRequest) {
	c.t.Helper()
	req.TypeUrl = typeV3
	must(c.t, c.stream.Send(req))
}

func (c *sotwClient) subscribe(names ...string) {
	c.names = names
	c.send(&discoveryv3.DiscoveryRequest{Node: node, ResourceNames: names, VersionInfo: c.last.version, ResponseNonce: c.last.nonce})
}

func (c *sotwClient) ack(r reply) {
	c.last = r
	c.send(&discoveryv3.DiscoveryRequest{ResourceNames: c.names, VersionInfo: r.version, ResponseNonce: r.nonce})
}

func (c *sotwClient) nack(r reply, why string) {
	c.send(&discoveryv3.DiscoveryRequest{ResourceNames: c.names, VersionInfo: c.last.version, ResponseNonce: r.nonce, ErrorDetail: &statusv1.Status{Message: why}})
}

func (c *sotwClient) recv() (reply, error) {
	resp, err := c.stream.Recv()
	if err != nil {
		return reply{}, err
	}
	r := reply{nonce: resp.GetNonce(), version: resp.GetVersionInfo(), hosts: map[string][]string{}}
	for _, res := range resp.GetResources() {
		r.add(c.t, res)
	}
	return r, nil
}

type deltaClient struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
}

func openDeltaEDS(t *testing.T, conn *grpc.ClientConn) *deltaClient {
	stream, err := endpointservicev3.NewEndpointDiscoveryServiceClient(conn).DeltaEndpoints(t.Context())
	must(t, err)
	return &deltaClient{t: t, stream: stream}
}

func openDeltaADS(t *testing.T, conn *grpc.ClientConn) *deltaClient {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	must(t, err)
	return &deltaClient{t: t, stream: stream}
}

func (c *deltaClient) send(req *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	req.TypeUrl = typeV3
	must(c.t, c.stream.Send(req))
}

func (c *deltaClient) subscribe(names ...string) {
	c.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, ResourceNamesSubscribe: names})
}

func (c *deltaClient) ack(r reply) {
	c.send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.nonce})
}

func (c *deltaClient) nack(r reply, why string) {
	c.send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.nonce, ErrorDetail: &statusv1.Status{Message: why}})
}

func (c *deltaClient) recv() (reply, error) {
	resp, err := c.stream.Recv()
	if err != nil {
		return reply{}, err
	}
	r := reply{nonce: resp.GetNonce(), version: resp.GetSystemVersionInfo(), hosts: map[string][]string{}}
	if len(resp.GetRemovedResources()) > 0 {
		c.t.Errorf("resources removed: %v", resp.GetRemovedResources())
	}
	for _, res := range resp.GetResources() {
		r.items = append(r.items, res.GetName()+"@"+res.GetVersion())
		r.add(c.t, res.GetResource())
	}
	slices.Sort(r.items)
	return r, nil
}

func (r *reply) add(t *testing.T, res *anypb.Any) {
	var cla endpointv3.ClusterLoadAssignment
	must(t, res.UnmarshalTo(&cla))
	r.addAssignment(&cla)
}

func (r *reply) addAssignment(cla *endpointv3.ClusterLoadAssignment) {
	addrs := []string{}
	for _, group := range cla.GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			a := e.GetEndpoint().GetAddress().GetSocketAddress()
			addr := netip.AddrPortFrom(netip.MustParseAddr(a.GetAddress()), uint16(a.GetPortValue())).String()
			if e.GetHealthStatus() != corev3.HealthStatus_HEALTHY {
				addr += " leaves"
			}
			addrs = append(addrs, addr)
		}
	}
	r.hosts[cla.GetClusterName()] = addrs
}

// next receives a reply and compares it with the nonce, which counts the replies of a
// stream and so shows that there was none in between, and with the endpoints, as
// "name: address, address", sorted.
func next(t *testing.T, c subscriber, nonce string, want ...string) reply {
	t.Helper()
	type result struct {
		reply reply
		err   error
	}
	got := make(chan result, 1)
	go func() {
		r, err := c.recv()
		got <- result{r, err}
	}()
	select {
	case r := <-got:
		must(t, r.err)
		if r.reply.nonce != nonce {
			t.Fatalf("nonce is %s, want %s: %v", r.reply.nonce, nonce, r.reply.hosts)
		}
		if have := r.reply.lines(); !slices.Equal(have, want) {
			t.Fatalf("reply is %q, want %q", have, want)
		}
		return r.reply
	case <-time.After(patience):
		t.Fatalf("no reply, want %q", want)
		return reply{}
	}
}

func (r reply) lines() []string {
	lines := []string{}
	for name, addrs := range r.hosts {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s", name, strings.Join(addrs, ", "))))
	}
	slices.Sort(lines)
	return lines
}

// eventually waits until the one client there is fits.
func (s *running) eventually(t *testing.T, what string, fits func(Client) bool) Client {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if list := s.Clients(); len(list) == 1 && fits(list[0]) {
			return list[0]
		}
	}
	t.Fatalf("never: %s; the clients are %+v", what, s.Clients())
	return Client{}
}

func subscribed(names ...string) func(Client) bool {
	return func(c Client) bool {
		var have []string
		for _, s := range c.Services {
			have = append(have, s.Name)
		}
		return slices.Equal(have, names)
	}
}

func acked(name string) func(Client) bool {
	return func(c Client) bool {
		for _, s := range c.Services {
			if s.Name == name {
				return s.Acked != "" && s.Acked == s.Sent
			}
		}
		return false
	}
}

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, strings.TrimSpace(string(b)))
	return len(b), nil
}

func (l *lines) with(parts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			found = append(found, line)
		}
	}
	return found
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
