#!/usr/bin/env bash
# Guess: an endpoint's additional_addresses are tried when its address does not answer
# within connect_timeout.
# What happens: the next address is tried 300 ms after the first, and connect_timeout is
# the time for all of them together. With connect_timeout 0.25 s, common for
# connections inside a data center, a primary that swallows packets is never replaced:
# every request is a 503. With 2 s each new connection takes 0.3 s.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server that sends two addresses for an endpoint: connect_timeout
# must be well above 300 ms times the number of addresses.
# Seen:
#   connect_timeout 0.25s: first answer after 0.26 s
#   connect_timeout 0.25s: {'503': 5}
#   connect_timeout 2s: first answer after 0.31 s
#   connect_timeout 2s: {'a': 5}
#   as stated: a second address is tried after 300 ms, so never with a connect_timeout below that
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

full = socket.socket()  # its queue is full: further connections get no answer
full.bind(("127.0.0.1", 0))
full.listen(0)
waiting = [socket.socket() for _ in range(8)]
for s in waiting:
    s.setblocking(False)
    s.connect_ex(full.getsockname())
a = Backend("a")


def run(connect_timeout):
    plane = Plane()
    envoy = Envoy(bootstrap(plane.port, eds_cluster(connect_timeout=connect_timeout)))
    wait("a subscription", lambda: plane.heard)
    both = {"endpoint": {"address": address(full.getsockname()[1]), "additional_addresses": [{"address": address(a.port)}]}}
    plane.send(sotw("1", assignment("svc", [{"lb_endpoints": [both]}])))
    port, begun = envoy.port(), time.monotonic()
    shares = envoy.shares(1)
    print(f"connect_timeout {connect_timeout}: first answer after {time.monotonic() - begun:.2f} s")
    shares = envoy.shares(5)
    envoy.stop()
    return shares


check("connect_timeout 0.25s", run("0.25s"), {"503": 5})
check("connect_timeout 2s", run("2s"), {"a": 5})
finish("a second address is tried after 300 ms, so never with a connect_timeout below that")
PY
