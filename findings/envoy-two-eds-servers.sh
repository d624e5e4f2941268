#!/usr/bin/env bash
# Guess: an Envoy that is to survive the loss of an EDS server is given two
# grpc_services, since the field says: "If > 1 cluster is defined, services will be
# cycled through if any kind of failure occurs" (config_source.proto).
# What happens: Envoy refuses to start with more than one, for EDS and for ADS, state of
# the world or delta. Two endpoints in the one cluster do what was wanted: Envoy
# connects to the second when the first refuses.
# Versions: Envoy 1.40.0; the server is a few lines of Python (grpcio 1.85.3).
# For users of an EDS server: name all EDS servers as endpoints of one cluster.
# Seen:
#   EDS GRPC: ApiConfigSource::(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified
#   ADS GRPC: ApiConfigSource::(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified
#   EDS DELTA_GRPC: ApiConfigSource::(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified
#   ADS DELTA_GRPC: ApiConfigSource::(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified
#   one cluster with two endpoints, the first refuses: {'a': 20}
#   as stated: two grpc_services are refused; two endpoints of one cluster work
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from plane import *

refusing = socket.socket()  # bound and not listening: the port stays ours, and refuses
refusing.bind(("127.0.0.1", 0))
a = Backend("a")
plane = Plane()
two = [{"envoy_grpc": {"cluster_name": "xds"}}] * 2


def refusal(config):
    with open("two.json", "w") as f:
        json.dump(config, f)
    said = subprocess.run([ENVOY, "--mode", "validate", "-c", "two.json", "-l", "error"], capture_output=True, text=True)
    return said.returncode and (said.stdout + said.stderr).split("envoy.config.core.v3.")[-1].split(":  ")[0].split(": goo")[0]


for api in "GRPC", "DELTA_GRPC":
    cluster = eds_cluster(api=api)
    cluster["eds_cluster_config"]["eds_config"]["api_config_source"]["grpc_services"] = two
    ads = {"ads_config": {"api_type": api, "transport_api_version": "V3", "grpc_services": two}}
    for kind, config in ("EDS", bootstrap(plane.port, cluster)), ("ADS", bootstrap(plane.port, eds_cluster(api="ADS"), dynamic_resources=ads)):
        check(f"{kind} {api}", refusal(config), "ApiConfigSource::(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified")

xds = xds_cluster(refusing.getsockname()[1])
xds["load_assignment"]["endpoints"][0]["lb_endpoints"].append(endpoint(plane.port))
envoy = Envoy(bootstrap(0, eds_cluster(), xds=xds))
wait("a subscription at the second server", lambda: plane.heard, 30)
plane.send(sotw("1", assignment("svc", [a.port])))
check("one cluster with two endpoints, the first refuses", envoy.shares(20), {"a": 20})
finish("two grpc_services are refused; two endpoints of one cluster work")
PY
