#!/usr/bin/env bash
# Guess: a cluster with lrs_server {self: {}} reports its load to the server that it
# came from; the field is described as switching load reporting on.
# What happens: Envoy accepts the cluster and never opens a load report stream, over ADS
# or delta ADS, and logs nothing. Only cluster_manager.load_stats_config in the
# bootstrap opens one, and then clusters with and without lrs_server can be asked for.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3). gRPC's
# clients do follow lrs_server (measured elsewhere, not by this script).
# For users of an xDS server: load reports of Envoys need their bootstraps changed; the
# server cannot switch them on.
# Seen:
#   ADS: ({'a': 20}, ['StreamAggregatedResources'])
#   delta ADS: ({'a': 20}, ['DeltaAggregatedResources'])
#   ADS, load_stats_config in the bootstrap: ({'a': 20}, ['StreamAggregatedResources', 'StreamLoadStats'])
#   as stated: lrs_server opens no stream; load_stats_config does
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

a = Backend("a")


def run(api, **more):
    def answer(request, send):
        if request.type_url == EDS and not request.response_nonce:
            send(delta("1", assignment("svc", [a.port])) if "DELTA" in api else sotw("1", assignment("svc", [a.port])))

    def hear(request, send):
        if hasattr(request, "type_url"):
            answer(request, send)

    plane = Plane(on_request=hear)
    ads = {"dynamic_resources": {"ads_config": {"api_type": api, "transport_api_version": "V3", "grpc_services": [
        {"envoy_grpc": {"cluster_name": "xds"}}]}}}
    envoy = Envoy(bootstrap(plane.port, eds_cluster(api="ADS", lrs_server={"self": {}}), **ads, **more))
    shares = envoy.shares(20)
    time.sleep(8)
    streams = sorted(method.rsplit("/", 1)[1] for _, method in plane.opened)
    envoy.stop()
    return shares, streams


check("ADS", run("GRPC"), ({"a": 20}, ["StreamAggregatedResources"]))
check("delta ADS", run("DELTA_GRPC"), ({"a": 20}, ["DeltaAggregatedResources"]))
in_bootstrap = {"cluster_manager": {"load_stats_config": {
    "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}}}
check("ADS, load_stats_config in the bootstrap", run("GRPC", **in_bootstrap), ({"a": 20}, ["StreamAggregatedResources", "StreamLoadStats"]))
finish("lrs_server opens no stream; load_stats_config does")
PY
