#!/usr/bin/env bash
# Guess: Envoy refuses an assignment that names one address and port twice, as gRPC's
# clients do, or the later entry, or the healthier one, wins.
# What happens: Envoy acknowledges it and uses the first entry, silently: its health, and
# its weight. An address first UNHEALTHY and then HEALTHY gets no requests.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: when two sources may name one address, the server decides
# which entry it sends; the order inside an assignment must not be left to chance.
# Seen:
#   UNHEALTHY, then HEALTHY: ('ACK', {'503': 100})
#   HEALTHY, then UNHEALTHY: ('ACK', {'a': 100})
#   UNHEALTHY, then HEALTHY in another locality: ('ACK', {'503': 100})
#   weight 1, then 9, beside another of 1: ('ACK', {'a': 50, 'b': 50})
#   lines logged: 0
#   as stated: of two entries with one address the first counts, and nothing says so
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

a, b = Backend("a"), Backend("b")
plane = Plane()
envoy = Envoy(bootstrap(plane.port, eds_cluster()))
wait("a subscription", lambda: plane.heard)


def run(version, *endpoints, apart=False):
    localities = [{"lb_endpoints": [e], "locality": {"zone": str(i)}} for i, e in enumerate(endpoints)] if apart else [{"lb_endpoints": endpoints}]
    plane.send(sotw(version, assignment("svc", localities)))
    answer = wait("an answer", lambda: [r for r in plane.heard if r.response_nonce == version])[0]
    time.sleep(0.5)
    return answer.error_detail.message or "ACK", envoy.shares(100)


sick, well = (endpoint(a.port, health_status=h) for h in ("UNHEALTHY", "HEALTHY"))
check("UNHEALTHY, then HEALTHY", run("1", sick, well), ("ACK", {"503": 100}))
check("HEALTHY, then UNHEALTHY", run("2", well, sick), ("ACK", {"a": 100}))
check("UNHEALTHY, then HEALTHY in another locality", run("3", sick, well, apart=True), ("ACK", {"503": 100}))
light, heavy, other = endpoint(a.port, load_balancing_weight=1), endpoint(a.port, load_balancing_weight=9), endpoint(b.port, load_balancing_weight=1)
check("weight 1, then 9, beside another of 1", run("4", light, heavy, other), ("ACK", {"a": 50, "b": 50}))
check("lines logged", len([l for l in envoy.logged().splitlines() if l and "global_downstream_max_connections" not in l]), 0)
finish("of two entries with one address the first counts, and nothing says so")
PY
