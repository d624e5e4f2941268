#!/usr/bin/env bash
# Guess: an assignment sent with a ttl (envoy.service.discovery.v3.Resource.ttl) is
# dropped by Envoy when the ttl ends without a heartbeat, so that Envoy does not serve
# endpoints for ever that a dead EDS server once named.
# What happens: the ttl ends, Envoy counts one more cluster.svc.update_empty, keeps the
# endpoints and goes on serving them; nothing is logged, nothing is sent to the server.
# Alike for EDS and delta EDS: the end of a ttl is a removal, and those Envoy ignores for
# this type (envoy-eds-removal.sh).
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: a ttl on assignments is no protection. What does take
# endpoints out is policy.endpoint_stale_after; see envoy-eds-stale-after.sh first.
# Seen:
#   GRPC: requests after the ttl's end: {'a': 20}
#   GRPC: endpoints then: 1
#   GRPC: requests to the EDS server (subscription, ACK): 2
#   GRPC: lines logged: 0
#   DELTA_GRPC: requests after the ttl's end: {'a': 20}
#   DELTA_GRPC: endpoints then: 1
#   DELTA_GRPC: requests to the EDS server (subscription, ACK): 2
#   DELTA_GRPC: lines logged: 0
#   as stated: an assignment's ttl ends and its endpoints go on serving
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *
from google.protobuf.duration_pb2 import Duration

for api in "GRPC", "DELTA_GRPC":
    a = Backend("a")
    plane = Plane()
    envoy = Envoy(bootstrap(plane.port, eds_cluster(api=api)))
    wait("a subscription", lambda: plane.heard)
    mortal = discovery.Resource(name="svc", version="1", resource=packed(assignment("svc", [a.port])), ttl=Duration(seconds=1))
    plane.send(discovery.DiscoveryResponse(version_info="1", nonce="1", type_url=EDS, resources=[packed(mortal)])
               if api == "GRPC" else
               discovery.DeltaDiscoveryResponse(system_version_info="1", nonce="1", type_url=EDS, resources=[mortal]))
    envoy.port()
    wait("the end of the ttl to be counted", lambda: envoy.stat("cluster.svc.update_empty"), 10)
    time.sleep(2)
    check(f"{api}: requests after the ttl's end", envoy.shares(20), {"a": 20})
    check(f"{api}: endpoints then", envoy.stat("cluster.svc.membership_total"), 1)
    check(f"{api}: requests to the EDS server (subscription, ACK)", len(plane.heard), 2)
    lines = [line for line in envoy.logged().splitlines() if line and "global_downstream_max_connections" not in line]
    check(f"{api}: lines logged", len(lines), 0)
    envoy.stop()
finish("an assignment's ttl ends and its endpoints go on serving")
PY
