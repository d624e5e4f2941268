"""A hand-fed xDS server, plain HTTP backends and a real Envoy, for the findings."""
import collections, http.client, http.server, json, os, queue, signal, socket, subprocess, sys, tempfile, threading, time, traceback
from concurrent import futures

import envoy, grpc
from google.protobuf import any_pb2, json_format
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from envoy.service.health.v3 import hds_pb2
from envoy.service.load_stats.v3 import lrs_pb2

EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
ENVOY = os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy")
METHODS = {
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints": (discovery.DiscoveryRequest,),
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints": (discovery.DeltaDiscoveryRequest,),
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": (discovery.DiscoveryRequest,),
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources": (discovery.DeltaDiscoveryRequest,),
    "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats": (lrs_pb2.LoadStatsRequest,),
    "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck": (hds_pb2.HealthCheckRequestOrEndpointHealthResponse,),
}
processes = []  # each has a stop()


def end(code):
    """Leaves no process behind, and does not wait for threads."""
    for process in processes:
        process.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _broken(*error):
    traceback.print_exception(*error)
    end(1)


sys.excepthook = _broken
signal.signal(signal.SIGTERM, lambda *_: end(1))


class Plane:
    """Keeps what clients say in `heard`, and sends what `send` is given on the newest stream.
    `on_request(request, send)`, if set, may answer at once."""

    def __init__(self, on_request=None, threads=64, options=()):
        self.heard, self.opened, self.closed, self._newest, self.on_request = [], [], [], None, on_request
        server = grpc.server(futures.ThreadPoolExecutor(threads), options=list(options))
        server.add_generic_rpc_handlers([self])
        self.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.stop = server.stop

    def service(self, call):
        if call.method in METHODS:
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._stream(call.method, requests, context),
                request_deserializer=METHODS[call.method][0].FromString,
                response_serializer=lambda m: m.SerializeToString())

    def _stream(self, method, requests, context):
        out = queue.Queue()
        self.opened.append((time.monotonic(), method))
        self._newest = out.put

        def read():
            try:
                for request in requests:
                    self.heard.append(request)
                    if self.on_request:
                        self.on_request(request, out.put)
            except Exception:
                pass
            self.closed.append((time.monotonic(), method))
            out.put(None)

        threading.Thread(target=read, daemon=True).start()
        yield from iter(out.get, None)

    def send(self, message):
        self._newest(message)


def assignment(name, localities, **policy):
    """localities: dicts as in the protocol, or a list of ports for one locality of 127.0.0.1."""
    if localities and isinstance(localities[0], int):
        localities = [{"lb_endpoints": [endpoint(p) for p in localities]}]
    return json_format.ParseDict({"cluster_name": name, "endpoints": localities, **policy}, endpoint_pb2.ClusterLoadAssignment())


def endpoint(port, **more):
    return {"endpoint": {"address": address(port)}, **more}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def packed(message):
    box = any_pb2.Any()
    box.Pack(message)
    return box


def sotw(version, *messages):
    return discovery.DiscoveryResponse(version_info=version, nonce=version, type_url=EDS, resources=map(packed, messages))


def delta(version, *messages, removed=()):
    return discovery.DeltaDiscoveryResponse(
        system_version_info=version, nonce=version, type_url=EDS, removed_resources=removed,
        resources=[discovery.Resource(name=m.cluster_name, version=version, resource=packed(m)) for m in messages])


def wait(what, condition, seconds=20):
    last = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > last:
            print(f"changed: waited {seconds} s in vain for {what}")
            end(1)
        time.sleep(0.02)
    return value


class Backend:
    """Answers every request with its own name."""

    def __init__(self, name):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            status, asked = 200, 0

            def do_GET(self):
                Handler.asked += 1
                self.send_response(Handler.status)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_):
                pass

        self.handler = Handler
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()


def eds_cluster(name="svc", api="GRPC", **more):
    source = {"ads": {}} if api == "ADS" else {"api_config_source": {
        "api_type": api, "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}}
    return {"name": name, "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", **source}},
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}}, **more}


def xds_cluster(port, **more):
    return {"name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": more}}},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint(port)]}]}}


def bootstrap(xds_port, *clusters, xds=None, **more):
    manager = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
               "stat_prefix": "in", "codec_type": "AUTO",
               "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                   {"match": {"prefix": "/"}, "route": {"cluster": "svc"}}]}]},
               "http_filters": [{"name": "router", "typed_config": {
                   "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
    return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(0)},
            "static_resources": {
                "clusters": [*clusters, xds or xds_cluster(xds_port)],
                "listeners": [{"name": "in", "address": address(0), "filter_chains": [
                    {"filters": [{"name": "http", "typed_config": manager}]}]}]}, **more}


class Envoy:
    def __init__(self, config, *flags, hot_restart=False):
        self.folder = tempfile.mkdtemp(dir=".")
        path = os.path.join(self.folder, "envoy.json")
        with open(path, "w") as f:
            json.dump(config, f)
        self.log = os.path.join(self.folder, "log")
        self._admin = os.path.join(self.folder, "admin")
        self.process = subprocess.Popen(
            [ENVOY, "-c", path, "--concurrency", "1", "--admin-address-path", self._admin, "--log-path", self.log, "-l", "warning", "--file-flush-interval-msec", "50",
             *([] if hot_restart else ["--disable-hot-restart"]), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.append(self)
        wait("Envoy's admin port", lambda: self.process.poll() is not None or self._answers())

    def _answers(self):
        try:
            return bool(self.admin("/server_info"))
        except (FileNotFoundError, ValueError, ConnectionRefusedError):
            return False  # the file comes before the port listens

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def logged(self):
        with open(self.log) as f:
            return f.read()

    def admin(self, path):
        with open(self._admin) as f:
            host, port = f.read().rsplit(":", 1)
        return get(int(port), path)[1]

    def stat(self, name):
        lines = dict(line.split(": ", 1) for line in self.admin(f"/stats?filter=^{name}$").splitlines())
        return int(lines.get(name, "0"))

    def port(self):
        """The listener's port, once it is open."""
        def open_port():
            for status in json.loads(self.admin("/listeners?format=json")).get("listener_statuses", []):
                port = status["local_address"]["socket_address"]["port_value"]
                with socket.socket() as probe:  # it is listed before it listens
                    return port if probe.connect_ex(("127.0.0.1", port)) == 0 else None
        return wait("Envoy's listener", open_port, 30)

    def shares(self, count):
        """How many of `count` requests got which answer: a backend's name, or the status code."""
        port, seen = self.port(), collections.Counter()
        for _ in range(count):
            status, body = get(port, "/")
            seen[body if status == 200 else str(status)] += 1
        return dict(sorted(seen.items()))


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


_changed = []


def check(what, seen, stated):
    """Prints what was seen; `stated` is a value, or a function that says whether it is as stated."""
    good = stated(seen) if callable(stated) else seen == stated
    print(f"{what}: {seen}" + ("" if good else f"   CHANGED{'' if callable(stated) else f', was {stated}'}"), flush=True)
    if not good:
        _changed.append(what)


def finish(statement):
    if _changed:
        print("changed: " + "; ".join(_changed))
        end(1)
    print("as stated: " + statement)
    end(0)
