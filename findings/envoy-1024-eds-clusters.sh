#!/usr/bin/env bash
# Guess: an Envoy with 1,100 clusters of type EDS, each with its own api_config_source
# to the one EDS server, gets the endpoints of 1,100 services.
# What happens: Envoy opens a gRPC stream for each cluster, and its own circuit breaker
# for the EDS server's cluster (max_requests, 1,024 unless set) lets no more through.
# The clusters left over, chosen by chance, stay without endpoints. They also hold back
# all listeners for 15 s; then Envoy logs "initial fetch timed out" for each, which names
# neither the cluster nor the limit. With max_requests set, or over ADS (one stream),
# all get their endpoints.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: set circuit_breakers on the cluster that leads to it, or
# use ADS, before an Envoy has a thousand such clusters; watch
# cluster.NAME.upstream_rq_pending_overflow of that cluster.
# Seen:
#   lines that say a fetch timed out: 76
#   1,100 clusters, EDS: {'streams': 1024, 'clusters without endpoints': 76, 'listeners held back 15 s': True, 'log names a cluster or the limit': False}
#   lines that say a fetch timed out: 0
#   the same with max_requests 10000: {'streams': 1100, 'clusters without endpoints': 0, 'listeners held back 15 s': False, 'log names a cluster or the limit': False}
#   lines that say a fetch timed out: 0
#   the same over ADS: {'streams': 1, 'clusters without endpoints': 0, 'listeners held back 15 s': False, 'log names a cluster or the limit': False}
#   as stated: past 1,024 EDS clusters the rest stays without endpoints, and no log line says why
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

many = 1100
a = Backend("a")


def run(api, **breakers):
    def answer(request, send):
        if not request.response_nonce and request.type_url == EDS:
            send(sotw("1", *(assignment(name, [a.port]) for name in request.resource_names)))

    plane = Plane(on_request=answer, threads=many + 100)
    ads = {"dynamic_resources": {"ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [
        {"envoy_grpc": {"cluster_name": "xds"}}]}}} if api == "ADS" else {}
    clusters = [eds_cluster(f"svc{i}" if i else "svc", api) for i in range(many)]
    begun = time.monotonic()
    envoy = Envoy(bootstrap(0, *clusters, xds={**xds_cluster(plane.port), **breakers}, **ads))
    envoy.port()
    held_back = time.monotonic() - begun > 14
    time.sleep(5)
    without = sum(line.endswith(": 0") for line in envoy.admin("/stats?filter=membership_total").splitlines())
    said = envoy.logged()
    envoy.stop()
    plane.stop(0)
    print(f"lines that say a fetch timed out: {said.count('initial fetch timed out')}")
    return {"streams": len(plane.opened), "clusters without endpoints": without, "listeners held back 15 s": held_back,
            "log names a cluster or the limit": "svc" in said or "overflow" in said or "circuit" in said}


ok = {"clusters without endpoints": 0, "listeners held back 15 s": False, "log names a cluster or the limit": False}
check("1,100 clusters, EDS", run("GRPC"), {**ok, "streams": 1024, "clusters without endpoints": 76, "listeners held back 15 s": True})
raised = {"circuit_breakers": {"thresholds": [{"max_requests": 10000}]}}
check("the same with max_requests 10000", run("GRPC", **raised), {**ok, "streams": 1100})
check("the same over ADS", run("ADS"), {**ok, "streams": 1})
finish("past 1,024 EDS clusters the rest stays without endpoints, and no log line says why")
PY
