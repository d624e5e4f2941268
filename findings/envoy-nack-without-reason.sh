#!/usr/bin/env bash
# Guess: the error_detail of a NACK says what was wrong.
# What happens: it begins with the whole resource as text, the reason comes last, and it is
# cut at about 4 KiB. With one endpoint the reason is there, with 200 it is lost: the
# server learns that its assignment was refused and not why. Envoy's own log has the
# same text, whole.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: a NACK shown as it came is a screen of endpoints. A server
# has to check its own assignments; the log of the Envoy has the reason.
# Seen:
#   1 endpoint: {'reason in the NACK': True, 'bytes': 568, "refusals with reason in Envoy's log": 1}
#   200 endpoints: {'reason in the NACK': False, 'bytes': 4110, "refusals with reason in Envoy's log": 2}
#   as stated: the text of a NACK is cut before its reason
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

plane = Plane()
envoy = Envoy(bootstrap(plane.port, eds_cluster()))
wait("a subscription", lambda: plane.heard)


def nack(version, count):
    """An assignment of `count` endpoints, of which the last has a weight of 0, which is not allowed."""
    good = [endpoint(10000 + i, load_balancing_weight=1) for i in range(count - 1)]
    plane.send(sotw(version, assignment("svc", [{"lb_endpoints": [*good, endpoint(9999, load_balancing_weight=0)]}])))
    refused = wait("a NACK", lambda: [r for r in plane.heard if r.response_nonce == version])[0].error_detail.message
    reason = "must be greater than or equal to 1"
    time.sleep(1)
    return {"reason in the NACK": reason in refused, "bytes": len(refused), "refusals with reason in Envoy's log": envoy.logged().count(reason)}


check("1 endpoint", nack("1", 1), lambda s: s["reason in the NACK"] and s["refusals with reason in Envoy's log"] == 1)
check("200 endpoints", nack("2", 200), lambda s: not s["reason in the NACK"] and 4000 < s["bytes"] < 4300 and s["refusals with reason in Envoy's log"] == 2)
finish("the text of a NACK is cut before its reason")
PY
