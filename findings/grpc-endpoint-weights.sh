#!/usr/bin/env bash
# Guess: gRPC clients follow the endpoints' load_balancing_weight under ROUND_ROBIN, as
# Envoy does (1, 1, 8 gives 10 %, 10 %, 80 %).
# What happens: grpcio spreads calls evenly over the endpoints of a locality. Weights of
# localities do count: with a locality for each endpoint the shares are as meant, and
# with RING_HASH they are also.
# Versions: Envoy 1.40.0, grpcio 1.85.3. grpc-go 1.85.0, grpc-js-xds 1.14.1 and grpc-java
# 1.85.1 do the same (measured elsewhere, not by this script).
# For users of an EDS server: a canary with weight 1 beside 99 gets a full share from
# gRPC clients, unless the server gives each weight a locality of its own.
# Seen:
#   Envoy, ROUND_ROBIN, weights 1, 1, 8: {'a': 50, 'b': 50, 'c': 400}
#   grpcio, ROUND_ROBIN, weights 1, 1, 8 in one locality: {'a': 167, 'b': 166, 'c': 167}
#   grpcio, ROUND_ROBIN, a locality for each: {'a': 54, 'b': 54, 'c': 392}
#   grpcio, RING_HASH, weights 1, 1, 8 in one locality: {'a': 45, 'b': 65, 'c': 390}
#   as stated: gRPC's ROUND_ROBIN ignores the weights of endpoints, not those of localities
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from proxyless import *

weights = {"a": 1, "b": 1, "c": 8}
backends = [GrpcBackend(name) for name in weights]
weighted = [endpoint(b.port, load_balancing_weight=weights[b.name]) for b in backends]
together = [locality(*weighted)]
apart = [{**locality(e), "locality": {"sub_zone": b.name}, "load_balancing_weight": weights[b.name]} for b, e in zip(backends, weighted)]


def shares(localities, **balancing):
    plane = Answers(localities, balancing)
    channel = plane.channel()
    end = time.monotonic() + 20
    while len({call(channel)[0] for _ in range(60)} & set(weights)) < 3 and time.monotonic() < end:
        time.sleep(0.2)  # until all are connected
    seen = dict(sorted(collections.Counter(call(channel)[0] for _ in range(500)).items()))
    plane.leave(channel)
    return seen


even = lambda seen: all(150 <= seen.get(name, 0) <= 185 for name in weights)
meant = lambda seen: seen.get("c", 0) > 340 and all(20 <= seen.get(name, 0) <= 90 for name in "ab")
web = [Backend(name) for name in weights]
plane = Plane()
envoy = Envoy(bootstrap(plane.port, eds_cluster()))
wait("a subscription", lambda: plane.heard)
plane.send(sotw("1", assignment("svc", [locality(*(endpoint(b.port, load_balancing_weight=w) for b, w in zip(web, weights.values())))])))
check("Envoy, ROUND_ROBIN, weights 1, 1, 8", envoy.shares(500), meant)
envoy.stop()
check("grpcio, ROUND_ROBIN, weights 1, 1, 8 in one locality", shares(together), even)
check("grpcio, ROUND_ROBIN, a locality for each", shares(apart), meant)
check("grpcio, RING_HASH, weights 1, 1, 8 in one locality", shares(together, lb_policy="RING_HASH"), meant)
finish("gRPC's ROUND_ROBIN ignores the weights of endpoints, not those of localities")
PY
