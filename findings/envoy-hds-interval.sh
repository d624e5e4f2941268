#!/usr/bin/env bash
# Guess: an HDS server that asks for a health check with interval 0.5 s learns within a
# few intervals that an endpoint fails.
# What happens: Envoy checks once and then not again for a minute: what it checks on
# behalf of an HDS server carries no traffic, so no_traffic_interval holds, which is 60 s
# unless set, and interval does not. Every report in between says HEALTHY. With
# no_traffic_interval also 0.5 s the failure is in a report after a second or two.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server that lets Envoys check endpoints: it must send both. Active
# checks of an ordinary cluster without traffic have the same minute.
# Seen:
#   {}: checks in 10.0 s: 0, reports: 10
#   interval 0.5 s: report and checks 10 s after it began to fail: ('HEALTHY', 0)
#   {'no_traffic_interval': '0.5s'}: checks in 1.0 s: 2, reports: 1
#   no_traffic_interval 0.5 s as well: ('UNHEALTHY', 2)
#   as stated: HDS checks run at no_traffic_interval, 60 s unless set
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

HEALTHY, UNHEALTHY = 1, 2
idle = {"name": "svc", "type": "STATIC", "load_assignment": {"cluster_name": "svc"}}


def run(**more):
    a = Backend("a")
    plane = Plane()
    hds = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}
    envoy = Envoy(bootstrap(plane.port, idle, hds_config=hds))
    wait("HDS's first message", lambda: plane.heard)
    plane.send(json_format.ParseDict({"interval": "1s", "cluster_health_checks": [{
        "cluster_name": "svc",
        "health_checks": [{"timeout": "1s", "interval": "0.5s", "unhealthy_threshold": 2, "healthy_threshold": 1,
                           "http_health_check": {"path": "/"}, **more}],
        "locality_endpoints": [{"endpoints": [{"address": address(a.port)}]}]}]}, hds_pb2.HealthCheckSpecifier()))
    status = lambda: [e.health_status for r in plane.heard[-1:] for c in r.endpoint_health_response.cluster_endpoints_health
                      for l in c.locality_endpoints_health for e in l.endpoints_health]
    wait("HEALTHY in a report", lambda: status() == [HEALTHY])
    a.handler.status, a.handler.asked = 503, 0
    reports = len(plane.heard)
    begun = time.monotonic()
    while time.monotonic() < begun + 10 and status() != [UNHEALTHY]:
        time.sleep(0.05)
    print(f"{more}: checks in {time.monotonic() - begun:.1f} s: {a.handler.asked}, reports: {len(plane.heard) - reports}")
    envoy.stop()
    return "UNHEALTHY" if status() == [UNHEALTHY] else "HEALTHY", min(a.handler.asked, 2)


check("interval 0.5 s: report and checks 10 s after it began to fail", run(), ("HEALTHY", 0))
check("no_traffic_interval 0.5 s as well", run(no_traffic_interval="0.5s"), ("UNHEALTHY", 2))
finish("HDS checks run at no_traffic_interval, 60 s unless set")
PY
