package xds

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// errPanicked ends a stream whose handler panicked; its client reconnects.
var errPanicked = status.Error(codes.Internal, "internal error: the log of this EDS server has the cause")

// catchStream makes a panic end its stream only: gRPC would let it end the process.
func catchStream(c panics.Catcher) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer c.Catch(panics.XDS, func(any) { err = errPanicked })
		return handler(srv, stream)
	}
}

// catchCall is catchStream for a call with one answer.
func catchCall(c panics.Catcher) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		defer c.Catch(panics.XDS, func(any) { err = errPanicked })
		return handler(ctx, req)
	}
}
