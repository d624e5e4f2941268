package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
)

// atOnce is how many clients connect at one time.
const atOnce = 50

// The windows that an Envoy opens by default (Http2ProtocolOptions), and how much it
// reads at a time (as strace shows for 1.40). With HTTP/2's own windows of 64 KB
// a server waits for its client many times in a large response.
const (
	streamWindow = 16 << 20
	connWindow   = 24 << 20
	readSize     = 128 << 10
)

// crowd is many clients, each with a connection and a stream of its own, as an
// Envoy has. Each subscribes to every service.
type crowd struct {
	conns []*grpc.ClientConn
	all   []*client
	wg    sync.WaitGroup
	stop  context.CancelFunc

	buffers dirty

	mu     sync.Mutex
	target int // the mark that is waited for
	left   int // clients that have not seen it
	seen   []time.Time
	done   chan struct{}
	failed error
}

// client is one of them.
type client struct {
	stream   grpc.ClientStream
	delta    bool
	names    []string
	synced   chan struct{} // closed once everything was received
	stalled  chan struct{} // closed to make it read again; nil while it reads
	messages int           // guarded by crowd.mu, as is what follows
	mark     int
}

func connect(ctx context.Context, addr string, f fanOut) (*crowd, error) {
	ctx, stop := context.WithCancel(ctx)
	c := &crowd{stop: stop, conns: make([]*grpc.ClientConn, f.clients), all: make([]*client, f.clients)}
	names := make([]string, f.Services)
	for i := range names {
		names[i] = name(i)
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range f.clients {
		group.Go(func() error { return c.open(ctx, addr, i, names, f) })
	}
	if err := group.Wait(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *crowd) open(ctx context.Context, addr string, i int, names []string, f fanOut) error {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire{}), grpc.MaxCallRecvMsgSize(256<<20)),
	}
	if i >= f.narrow {
		opts = append(opts, grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
			grpc.WithReadBufferSize(readSize), experimental.WithBufferPool(&c.buffers))
	}
	conn, err := grpc.NewClient(addr, opts...)
	if err != nil {
		return err
	}
	c.conns[i] = conn
	method := "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"
	if f.delta {
		method = "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	cl := &client{stream: stream, delta: f.delta, names: names, synced: make(chan struct{})}
	c.all[i] = cl
	if err := cl.subscribe(&corev3.Node{Id: fmt.Sprint("client-", i), Cluster: "fanout"}); err != nil {
		return err
	}
	c.wg.Go(func() { c.follow(cl) })
	select {
	case <-cl.synced:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("client %d did not receive %d services within %s", i, len(names), patience)
	}
}

func (cl *client) subscribe(node *corev3.Node) error {
	if cl.delta {
		return cl.stream.SendMsg(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.EndpointType, ResourceNamesSubscribe: cl.names})
	}
	return cl.stream.SendMsg(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: resource.EndpointType, ResourceNames: cl.names})
}

func (cl *client) ack(m *message) error {
	if cl.delta {
		return cl.stream.SendMsg(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResponseNonce: m.nonce})
	}
	return cl.stream.SendMsg(&discoveryv3.DiscoveryRequest{
		TypeUrl: resource.EndpointType, ResourceNames: cl.names, VersionInfo: m.version, ResponseNonce: m.nonce,
	})
}

// follow reads and acknowledges until the stream ends.
func (c *crowd) follow(cl *client) {
	received := 0
	for {
		var m message
		if err := cl.stream.RecvMsg(&m); err != nil {
			c.fail(err)
			return
		}
		now := time.Now()
		if received < len(cl.names) {
			if received += m.resources; received >= len(cl.names) {
				close(cl.synced)
			}
		}
		stalled := c.note(cl, &m, now)
		if err := cl.ack(&m); err != nil {
			c.fail(err)
			return
		}
		if stalled != nil {
			<-stalled
		}
	}
}

func (c *crowd) note(cl *client, m *message, now time.Time) (stalled chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl.messages++
	if cl.mark < c.target && m.mark >= c.target {
		c.seen = append(c.seen, now)
		if c.left--; c.left == 0 {
			close(c.done)
		}
	}
	cl.mark = max(cl.mark, m.mark)
	return cl.stalled
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
}

// expect makes wait wait for mark, on all clients that read.
func (c *crowd) expect(mark int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.target, c.left, c.seen, c.done = mark, 0, nil, make(chan struct{})
	for _, cl := range c.all {
		cl.messages = 0
		if cl.stalled == nil {
			c.left++
		}
	}
}

// wait returns when each client had what was expected.
func (c *crowd) wait() ([]time.Time, error) {
	select {
	case <-c.done:
	case <-time.After(patience):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left > 0 {
		return nil, fmt.Errorf("%d of %d clients did not receive mark %d within %s: %w", c.left, len(c.all), c.target, patience, c.failed)
	}
	return c.seen, nil
}

// most is the largest number of messages that a client got since expect.
func (c *crowd) most() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := 0
	for _, cl := range c.all {
		most = max(most, cl.messages)
	}
	return most
}

// stall makes the first client acknowledge its next message and then stop reading.
func (c *crowd) stall() (resume func()) {
	ch := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[0].stalled = ch
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all[0].stalled = nil
		close(ch)
	}
}

func (c *crowd) close() {
	c.stop()
	c.wg.Wait()
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
}
