#!/usr/bin/env bash
# Guess: policy.endpoint_stale_after marks the endpoints unhealthy when no new
# assignment came in time (so its description), and the Envoy that ran out of news asks
# for it, or a server that is still connected need do nothing since nothing changed.
# What happens: Envoy removes every endpoint (membership_total 0: no panic mode helps,
# with a panic threshold of 100 % it still answers 503) and sends nothing to the
# server, whose stream is open and whose version Envoy has acknowledged. It stays so
# until the server sends the assignment again, for which the same content is enough.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: with a server that sends only changes, this policy is an
# outage of every quiet service. It needs a server that repeats assignments in time.
# Seen:
#   20 requests at first: {'a': 20}
#   20 requests 3 s after the assignment went stale, panic threshold 100 %: {'503': 20}
#   endpoints then: 0
#   what the server has heard: ['subscription', '1']
#   streams closed: 0
#   20 requests after the same was sent again: {'a': 20}
#   as stated: endpoint_stale_after removes all endpoints, and Envoy does not ask for them
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

a = Backend("a")
plane = Plane()
always_panic = {"healthy_panic_threshold": {"value": 100}}
envoy = Envoy(bootstrap(plane.port, eds_cluster(common_lb_config=always_panic)))
wait("a subscription", lambda: plane.heard)
mortal = assignment("svc", [a.port], policy={"endpoint_stale_after": "2s"})
plane.send(sotw("1", mortal))
check("20 requests at first", envoy.shares(20), {"a": 20})
wait("the endpoints to be stale", lambda: envoy.stat("cluster.svc.assignment_stale"), 10)
time.sleep(3)
check("20 requests 3 s after the assignment went stale, panic threshold 100 %", envoy.shares(20), {"503": 20})
check("endpoints then", envoy.stat("cluster.svc.membership_total"), 0)
check("what the server has heard", [r.version_info or "subscription" for r in plane.heard], ["subscription", "1"])
check("streams closed", len(plane.closed), 0)
plane.send(sotw("2", mortal))
wait("the endpoint to return", lambda: envoy.stat("cluster.svc.membership_total") == 1, 2)
check("20 requests after the same was sent again", envoy.shares(20), {"a": 20})
finish("endpoint_stale_after removes all endpoints, and Envoy does not ask for them")
PY
