#!/usr/bin/env bash
# Guess: a delta EDS server that names a service in removed_resources has taken its
# endpoints out of Envoy, all the more once Envoy has acknowledged it.
# What happens: Envoy acknowledges, keeps the endpoints, and goes on sending them
# requests. It counts the response as cluster.svc.update_empty. Only an assignment
# without endpoints takes the last one out.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: one that "deletes" a service keeps its dead endpoints in
# every Envoy. When a service has lost its last endpoint, send its assignment, empty.
# Seen:
#   20 requests before: {'a': 20}
#   answer to removed_resources: ACK
#   20 requests 2 s after the removal: {'a': 20}
#   endpoints Envoy has then: 1
#   20 requests after an empty assignment: {'503': 20}
#   as stated: removed_resources is acknowledged and changes nothing; an empty assignment removes the endpoints
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

a = Backend("a")
plane = Plane()
envoy = Envoy(bootstrap(plane.port, eds_cluster(api="DELTA_GRPC")))
wait("a subscription", lambda: plane.heard)
plane.send(delta("1", assignment("svc", [a.port])))
envoy.port()
check("20 requests before", envoy.shares(20), {"a": 20})

plane.send(delta("2", removed=["svc"]))
ack = wait("an answer to the removal", lambda: [r for r in plane.heard if r.response_nonce == "2"])[0]
check("answer to removed_resources", ack.error_detail.message or "ACK", "ACK")
time.sleep(2)
check("20 requests 2 s after the removal", envoy.shares(20), {"a": 20})
check("endpoints Envoy has then", envoy.stat("cluster.svc.membership_total"), 1)

plane.send(delta("3", assignment("svc", [])))
wait("the empty assignment to count", lambda: envoy.stat("cluster.svc.membership_total") == 0)
check("20 requests after an empty assignment", envoy.shares(20), {"503": 20})
finish("removed_resources is acknowledged and changes nothing; an empty assignment removes the endpoints")
PY
