#!/usr/bin/env bash
# Guess: a server that is told that its assignment is refused sends the next one when
# there is one, or waits a little before it sends the same again.
# What happens: over state-of-the-world EDS, go-control-plane's SnapshotCache answers
# every NACK at once with the same version. Envoy refuses it at once, and so on: more than
# a thousand refusals a second here, each a line in Envoy's log and the whole assignment
# on the wire, until the snapshot changes. Over delta EDS it is sent once.
# Versions: go-control-plane 0.14.0 with envoy 1.40.0, grpc-go 1.85.0, Envoy 1.40.0.
# For users of an EDS server built on it: call ValidateAll on every assignment before
# SetSnapshot, and alert on Envoy's update_rejected.
# Seen:
#   GRPC: refusals in 3 s: 3950, lines in Envoy's log: 3909
#   GRPC: again and again: True
#   DELTA_GRPC: refusals in 3 s: 0, lines in Envoy's log: 2
#   DELTA_GRPC: again and again: False
#   as stated: go-control-plane sends what was refused again at once, without end; over delta it does not
. "$(dirname "$0")/lib/begin.sh"
envoy_140
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	eds "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	address := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 9}}}}
	refused := &endpoint.ClusterLoadAssignment{ClusterName: "svc", Endpoints: []*endpoint.LocalityLbEndpoints{{
		LbEndpoints: []*endpoint.LbEndpoint{{LoadBalancingWeight: wrapperspb.UInt32(0),
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address}}}}}}}
	snapshot, err := cache.NewSnapshot("1", map[resource.Type][]types.Resource{resource.EndpointType: {refused}})
	if err != nil {
		panic(err)
	}
	snapshots := cache.NewSnapshotCache(false, cache.IDHash{}, nil)
	if err := snapshots.SetSnapshot(context.Background(), "n", snapshot); err != nil {
		panic(err)
	}
	s := grpc.NewServer()
	eds.RegisterEndpointDiscoveryServiceServer(s, server.NewServer(context.Background(), snapshots, nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	panic(s.Serve(l))
}
GO
go mod init finding >/dev/null 2>&1
go mod edit -require=github.com/envoyproxy/go-control-plane@v0.14.0 -require=github.com/envoyproxy/go-control-plane/envoy@v1.40.0 \
	-require=google.golang.org/grpc@v1.85.0
GOFLAGS=-mod=mod go build -o server . 2>build.log || { cat build.log; exit 1; }
python <<'PY'
from plane import *

server = subprocess.Popen(["./server"], stdout=subprocess.PIPE, text=True)
processes.append(type("Server", (), {"stop": server.kill}))
port = int(server.stdout.readline())
for api in "GRPC", "DELTA_GRPC":
    envoy = Envoy(bootstrap(port, eds_cluster(api=api)))
    wait("a refusal", lambda: envoy.stat("cluster.svc.update_rejected"))
    before = envoy.stat("cluster.svc.update_rejected")
    time.sleep(3)
    refused = envoy.stat("cluster.svc.update_rejected") - before
    lines = envoy.logged().count("LoadBalancingWeight: value must be")
    envoy.stop()
    print(f"{api}: refusals in 3 s: {refused}, lines in Envoy's log: {lines}")
    often = refused > 100 and lines > 100
    check(f"{api}: again and again", often, api == "GRPC")
finish("go-control-plane sends what was refused again at once, without end; over delta it does not")
PY
