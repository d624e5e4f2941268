"""A proxyless gRPC backend, and the Listener and Cluster that lead a client to service svc."""
from plane import *
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as manager_pb2

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def listener(name="svc", **action):
    manager = json_format.ParseDict({
        "route_config": {"virtual_hosts": [{"domains": ["*"], "routes": [
            {"match": {"prefix": ""}, "route": {"cluster": "svc", **action}}]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}, manager_pb2.HttpConnectionManager())
    made = listener_pb2.Listener(name=name)
    made.api_listener.api_listener.Pack(manager)
    return made


def cluster():
    return json_format.ParseDict(
        {"name": "svc", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}, cluster_pb2.Cluster())


def locality(*endpoints, **more):
    return {"locality": {}, "load_balancing_weight": 1, "lb_endpoints": endpoints, **more}


class Answers(Plane):
    """Answers the first request for each type on each stream with `resources[type]`."""
    made = 0

    def __init__(self, localities, balancing={}, **action):
        Answers.made += 1
        self.name = f"svc{Answers.made}"  # grpcio keeps one xDS client for each target
        self.resources = {LISTENER: [listener(self.name, **action)], CLUSTER: [json_format.ParseDict(balancing, cluster())],
                          EDS: [assignment("svc", localities)]}
        super().__init__(on_request=self._answer)

    def channel(self, *options):
        os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = self.bootstrap()
        return grpc.insecure_channel("xds:///" + self.name, options=options)

    def leave(self, channel):
        """grpcio reads the bootstrap again only when its last xDS channel is gone."""
        channel.close()
        wait("the client to leave", lambda: len(self.closed) == len(self.opened))
        time.sleep(2)

    def _answer(self, request, send):
        if not request.response_nonce and request.type_url in self.resources:
            self.give(request.type_url, send)

    def give(self, kind, send=None):
        (send or self.send)(discovery.DiscoveryResponse(
            version_info=str(time.monotonic()), nonce=str(time.monotonic()), type_url=kind,
            resources=map(packed, self.resources[kind])))

    def bootstrap(self):
        return json.dumps({"node": {"id": "n", "locality": {}}, "xds_servers": [{
            "server_uri": f"127.0.0.1:{self.port}", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}]})


class GrpcBackend(grpc.GenericRpcHandler):
    """Answers every unary call with its own name, after `delay` seconds."""

    def __init__(self, name, delay=0):
        self.name, self.delay, self.calls = name, delay, 0
        server = grpc.server(futures.ThreadPoolExecutor(16))
        server.add_generic_rpc_handlers([self])
        self.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.server = server

    def service(self, _):
        def answer(*_):
            self.calls += 1
            time.sleep(self.delay)
            return self.name.encode()
        return grpc.unary_unary_rpc_method_handler(answer)


def call(channel, timeout=10):
    """What one call got: the backend's name, or the status; and after how many seconds."""
    begun = time.monotonic()
    try:
        said = channel.unary_unary("/any.Service/Call")(b"", timeout=timeout).decode()
    except grpc.RpcError as e:
        said = e.code().name + ": " + e.details()
    return said, round(time.monotonic() - begun, 3)
