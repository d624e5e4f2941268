#!/usr/bin/env bash
# Guess: a hot-restarted Envoy takes over once it knows what its parent knew, or the
# parent, which has the endpoints, serves on.
# What happens: the child asks the EDS server from nothing. If the server is silent, as
# one that has just started itself may be, the child waits 15 s (initial_fetch_timeout),
# then takes over with no endpoints and answers 503, beside a parent that had them all.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: answer an Envoy that asks without a version within 15 s,
# with what it needs; do not hot restart Envoys while EDS servers are being restarted.
# Seen:
#   parent: {'a': 20}
#   endpoints of the parent: 1
#   answers until the child took over: [200]
#   it took over after seconds: 15.1
#   20 requests then: {503: 20}
#   endpoints of the child: 0
#   as stated: after 15 s of silence a hot-restarted child takes over without endpoints
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

a = Backend("a")
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
plane = Plane()
config = bootstrap(plane.port, eds_cluster())
config["static_resources"]["listeners"][0]["address"] = address(port)
parent = Envoy(config, "--use-dynamic-base-id", "--base-id-path", "base", hot_restart=True)
wait("a subscription", lambda: plane.heard)
plane.send(sotw("1", assignment("svc", [a.port])))
check("parent", parent.shares(20), {"a": 20})
check("endpoints of the parent", parent.stat("cluster.svc.membership_total"), 1)

asked, begun = len(plane.opened), time.monotonic()
child = Envoy(config, "--base-id", open("base").read().strip(), "--restart-epoch", "1", hot_restart=True)
wait("the child's subscription", lambda: len(plane.opened) > asked)
state = lambda: json.loads(child.admin("/server_info"))["state"]
served = collections.Counter()
while state() != "LIVE" and time.monotonic() < begun + 30:
    served[get(port, "/")[0]] += 1
    time.sleep(0.1)
took = time.monotonic() - begun
served.pop(503, None)  # those between the child's taking over and its saying so
check("answers until the child took over", list(served), [200])
check("it took over after seconds", round(took, 1), lambda s: 14 <= s <= 20)
time.sleep(1)
check("20 requests then", dict(collections.Counter(get(port, "/")[0] for _ in range(20))), {503: 20})
check("endpoints of the child", child.stat("cluster.svc.membership_total"), 0)
finish("after 15 s of silence a hot-restarted child takes over without endpoints")
PY
