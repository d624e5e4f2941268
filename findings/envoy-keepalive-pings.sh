#!/usr/bin/env bash
# Guess: Envoy's HTTP/2 keepalive (connection_keepalive) on the cluster of the EDS server
# finds a server that hangs, and costs a healthy one nothing.
# What happens: a gRPC server with its defaults allows one ping in five minutes on a
# connection on which it sends nothing, and an EDS server sends nothing while nothing
# changes. After a few pings it closes the connection, and Envoy connects again, for
# ever: with an interval of 1 s every stream lived 4.2 to 4.9 s. Envoy logs no warning,
# requests do not suffer, so it is only seen as EDS streams that come and go.
# Versions: Envoy 1.40.0; grpcio 1.85.3 as the server, its options as they are and with
# grpc.http2.min_ping_interval_without_data_ms. grpc-go has the same rule and default
# (keepalive.EnforcementPolicy, MinTime 5 min; read, not run here).
# For users of an EDS server: before Envoys are given a keepalive, the server must allow
# pings that often.
# Seen:
#   streams lived [4.3, 4.3, 4.3, 4.2] s; keepalive timeouts: 0
#   requests at the end: {'a': 20}
#   lines Envoy logged: 0
#   server's defaults: streams closed in 20 s: 4
#   streams lived [] s; keepalive timeouts: 0
#   requests at the end: {'a': 20}
#   lines Envoy logged: 0
#   server that allows a ping each 0.5 s: 0
#   as stated: a gRPC server with its defaults cuts an Envoy that sends keepalive pings, again and again
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

a = Backend("a")


def streams(*options):
    """How many streams Envoy opens in 20 s with a keepalive of 1 s, and how its requests fare."""
    def answer(request, send):
        if not request.response_nonce:
            send(sotw("1", assignment("svc", [a.port])))

    plane = Plane(on_request=answer, options=options)
    xds = xds_cluster(plane.port, connection_keepalive={"interval": "1s", "timeout": "5s"})
    envoy = Envoy(bootstrap(0, eds_cluster(), xds=xds))
    envoy.port()
    time.sleep(20)
    lives = [round(closed - opened, 1) for (opened, _), (closed, _) in zip(plane.opened, plane.closed)]
    print(f"streams lived {lives} s; keepalive timeouts: {envoy.stat('cluster.xds.http2.keepalive_timeout')}")
    check("requests at the end", envoy.shares(20), {"a": 20})
    warned = [line for line in envoy.logged().splitlines() if "global_downstream_max_connections" not in line and line]
    check("lines Envoy logged", len(warned), 0)
    envoy.stop()
    return len(lives)


check("server's defaults: streams closed in 20 s", streams(), lambda n: 3 <= n <= 7)
allowed = ("grpc.http2.min_ping_interval_without_data_ms", 500), ("grpc.http2.min_recv_ping_interval_without_data_ms", 500)
check("server that allows a ping each 0.5 s", streams(*allowed), 0)
finish("a gRPC server with its defaults cuts an Envoy that sends keepalive pings, again and again")
PY
