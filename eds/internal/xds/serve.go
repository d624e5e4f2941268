package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/budget"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// The settings of the gRPC server.
const (
	readBuffer    = 4 << 10          // bytes, of each connection: requests are small and Envoys many
	handshakeTime = 5 * time.Second  // Stop waits for handshakes, so this bounds Serve too
	pingAfter     = 10 * time.Second // of silence, to find an Envoy that vanished
	pingTimeout   = 5 * time.Second
	minClientPing = time.Second // below any interval that an Envoy is set to ping at
	stopTimeout   = 2 * time.Second
	maxHeaders    = 64 << 10 // bytes of a stream's; Envoy sends less than 1 KiB
)

// What a request may contain: in its first one a client that reconnects over delta sends
// each name twice, once with the version that it has.
const (
	nodeRoom    = 1 << 20 // bytes; Envoy's node, with 500 extensions, takes 50 KB
	versionRoom = 64
	fieldRoom   = 16 // of a name and of a version
)

// requestSize is the maximum size of a request, in bytes, with this number of names and
// bytes of names.
func requestSize(names, size int) int { return nodeRoom + 2*size + names*(versionRoom+2*fieldRoom) }

// Serve serves gRPC on lis until ctx ends, and closes lis. It returns once every
// stream has ended, at most five seconds later: nil then, an error if lis broke.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.close()
	server := s.grpcServer(ctx)
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	select {
	case err := <-done:
		server.Stop()
		return fmt.Errorf("serve xDS on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	// The end of ctx has ended the streams, or GracefulStop would wait for them.
	// One that cannot write to its client has not noticed: Stop cuts it off.
	force := time.AfterFunc(stopTimeout, server.Stop)
	defer force.Stop()
	server.GracefulStop()
	if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve xDS on %s: %w", lis.Addr(), err)
	}
	return nil
}

// grpcServer registers everything that is served. ctx ends its streams.
func (s *Server) grpcServer(ctx context.Context) *grpc.Server {
	transport := insecure.NewCredentials()
	if s.opts.TLS != nil {
		transport = credentials.NewTLS(s.opts.TLS)
	}
	server := grpc.NewServer(
		grpc.Creds(metered{transport, s.room, func() { s.opts.Refused(refusedBytes) }}),
		grpc.ForceServerCodecV2(newCodec(s.opts.MaxNames)),
		grpc.MaxConcurrentStreams(uint32(s.opts.MaxStreams)),
		grpc.MaxRecvMsgSize(requestSize(s.opts.MaxNames, s.opts.MaxNameBytes)),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ReadBufferSize(readBuffer),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minClientPing, PermitWithoutStream: true}),
		grpc.ChainStreamInterceptor(catchStream(s.opts.Panics), s.boundOthers(), endWith(ctx)),
		grpc.UnaryInterceptor(catchCall(s.opts.Panics)),
	)
	endpointservicev3.RegisterEndpointDiscoveryServiceServer(server, endpointService{server: s})
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, aggregatedService{server: s})
	healthv1.RegisterHealthServer(server, s.health)
	reflection.Register(server)
	return server
}

type endpointService struct {
	endpointservicev3.UnimplementedEndpointDiscoveryServiceServer
	server *Server
}

// StreamEndpoints serves EDS, state of the world.
func (e endpointService) StreamEndpoints(stream endpointservicev3.EndpointDiscoveryService_StreamEndpointsServer) error {
	return e.server.serveSotw(stream, TransportEDS, typeV3)
}

// DeltaEndpoints serves EDS, incremental.
func (e endpointService) DeltaEndpoints(stream endpointservicev3.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return e.server.serveDelta(stream, TransportDeltaEDS, typeV3)
}

type aggregatedService struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
}

// StreamAggregatedResources serves ADS, state of the world.
func (a aggregatedService) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.server.serveSotw(stream, TransportADS, resourcev3.AnyType)
}

// DeltaAggregatedResources serves ADS, incremental.
func (a aggregatedService) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.server.serveDelta(stream, TransportDeltaADS, resourcev3.AnyType)
}

func (s *Server) serveSotw(grpcStream streamv3.Stream, transport, typeURL string) error {
	return s.serveStream(grpcStream.Context(), transport, typeURL, func(st *stream) error {
		server := sotw.NewServer(grpcStream.Context(), st, st, sotw.WithLogger(libraryLogger(s.logger)))
		return server.StreamHandler(sotwStream{grpcStream, st}, typeURL)
	})
}

func (s *Server) serveDelta(grpcStream streamv3.DeltaStream, transport, typeURL string) error {
	return s.serveStream(grpcStream.Context(), transport, typeURL, func(st *stream) error {
		server := delta.NewServer(grpcStream.Context(), st, st, delta.WithLogger(libraryLogger(s.logger)))
		return server.DeltaStreamHandler(deltaStream{grpcStream, st}, typeURL)
	})
}

// serveStream runs one stream from beginning to end.
func (s *Server) serveStream(ctx context.Context, transport, typeURL string, handle func(*stream) error) error {
	address, state := peerOf(ctx)
	id, err := s.named(state)
	if err != nil {
		s.logRefusal(slog.LevelWarn, "stream refused: client certificate is not usable", "peer", address, "err", err)
		return status.Error(codes.Unauthenticated, err.Error())
	}
	c, ok := s.clients.open(transport, address, time.Now())
	if !ok {
		s.opts.Refused(refusedClient)
		s.logRefusal(slog.LevelWarn, "stream refused: too many clients, in total or from this address", "peer", address, "max", s.clients.max)
		return status.Errorf(codes.ResourceExhausted, "too many clients: at most %d are allowed, at most half of them from one address", s.clients.max)
	}
	if end := certs.Ends(state); !end.IsZero() {
		defer s.expires(ctx, c, end).Stop()
	}
	st := s.newStream(c, typeURL)
	st.id = id
	defer s.end(st)
	s.logger.Debug("stream opened", "transport", transport, "peer", address)
	err = handle(st)
	s.logger.Debug("stream closed", "transport", transport, "peer", address, "err", err)
	if context.Cause(ctx) == errCutExpired {
		return errCutExpired
	}
	return err
}

// errCutExpired ends a stream whose client's certificate has ended, if Options say so.
var errCutExpired = status.Error(codes.Unauthenticated, "the client certificate has expired")

// expires marks c once its certificate has ended. Its stream stays, unless Options
// say otherwise: an Envoy reads its certificate only as it starts, and one that is cut off
// receives no more changes.
func (s *Server) expires(ctx context.Context, c *client, end time.Time) *time.Timer {
	return time.AfterFunc(time.Until(end), func() {
		node := s.clients.expire(c, end)
		s.logRefusal(slog.LevelWarn, "client certificate has expired: renew it", "node", node, "peer", c.peer, "expired", end.UTC().Format(time.RFC3339), "cut", s.opts.CutExpired)
		if cut, ok := ctx.Value(cutKey{}).(context.CancelCauseFunc); ok && s.opts.CutExpired {
			cut(errCutExpired)
		}
	})
}

// cutKey is the key of the function in a stream's context that ends the stream.
type cutKey struct{}

// end forgets a stream; one that the client did not close counts as broken.
func (s *Server) end(st *stream) {
	s.cache.forget(st.watcher)
	s.clients.close(st.client, !st.closed.Load(), time.Now())
	s.lookSoon()
}

// maxOtherStreams bounds the open streams of health and reflection; one address may have a
// quarter of them. Such streams only wait for changes of health.
const maxOtherStreams = 1000

// boundOthers bounds all streams but those of discovery, which the table of clients bounds.
func (s *Server) boundOthers() grpc.StreamServerInterceptor {
	discovery := []string{"/envoy.service.endpoint.v3.EndpointDiscoveryService/", "/envoy.service.discovery.v3.AggregatedDiscoveryService/"}
	room := budget.New(budget.Options{Total: maxOtherStreams, Waiting: maxOtherStreams})
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if slices.ContainsFunc(discovery, func(prefix string) bool { return strings.HasPrefix(info.FullMethod, prefix) }) {
			return handler(srv, stream)
		}
		address, _ := peerOf(stream.Context())
		from := fleet.PartyOf(address)
		if room.Take(stream.Context(), from, 1) != nil {
			s.opts.Refused(refusedClient)
			return status.Errorf(codes.ResourceExhausted, "too many streams of health and reflection: at most %d are allowed, at most a quarter of them from one address", maxOtherStreams)
		}
		defer room.Give(from, 1)
		return handler(srv, stream)
	}
}

// endWith makes the streams of every service end with ctx too: health and reflection know
// only their stream's own context.
func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		both, cancel := context.WithCancelCause(stream.Context())
		defer cancel(nil)
		defer context.AfterFunc(ctx, func() { cancel(nil) })()
		return handler(srv, ending{stream, context.WithValue(both, cutKey{}, cancel)})
	}
}

type ending struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the stream or the server.
func (e ending) Context() context.Context { return e.ctx }
