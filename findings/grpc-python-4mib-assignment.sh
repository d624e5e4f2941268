#!/usr/bin/env bash
# Guess: an xDS client that takes what the server sends, as Envoy does; or, if a response
# is too large for it, a NACK that says so.
# What happens: grpcio's xDS client takes no response over 4 MiB, gRPC's default for a
# message, which no option of the channel that is in use here changes. It drops the
# stream, connects again with back-off, is sent the same again, and so on; there is no
# NACK. Calls go on to the endpoints it last knew, with none of the changes since; a new
# client waits until the deadline of its call, and is not told why.
# Versions: grpcio 1.85.3, xds-protos 1.85.0. Here 17,000 endpoints with 200 bytes of
# metadata each. State-of-the-world EDS puts all assignments a client wants into one
# response, so what counts is their sum.
# For users of an EDS server: keep what one gRPC client is sent below 4 MiB; short
# metadata; a client whose stream ends after every response is likely one of these.
# Seen:
#   first call: old
#   assignment of 4070637 bytes: streams opened in 10 s: 1
#   16,000 spare endpoints: {'call': 'new', 'NACKs': 0, 'stream kept': True}
#   first call: old
#   assignment of 4325205 bytes: streams opened in 10 s: 10
#   17,000 spare endpoints: {'call': 'old', 'NACKs': 0, 'stream kept': False}
#   first call: old
#   assignment of 4325205 bytes: streams opened in 10 s: 10
#   the same, grpc.max_receive_message_length -1: {'call': 'old', 'NACKs': 0, 'stream kept': False}
#   as stated: a response over 4 MiB is never taken and never refused: the stream is dropped again and again
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from proxyless import *

old, new = GrpcBackend("old"), GrpcBackend("new")


def localities(backend, spare):
    about = {"filter_metadata": {"app": {"about": "x" * 200}}}
    never_used = [{"endpoint": {"address": {"socket_address": {"address": f"127.1.{i // 250}.{i % 250 + 1}", "port_value": 9}}},
                   "metadata": about} for i in range(spare)]
    return [locality(endpoint(backend.port)), locality(*never_used, priority=1)]


def run(spare, *options):
    """A client that knows `old` is sent an assignment with `new` and `spare` endpoints beside it."""
    plane = Answers(localities(old, 1))
    channel = plane.channel(*options)
    check("first call", call(channel)[0], "old")
    plane.resources[EDS] = [assignment("svc", localities(new, spare))]
    plane.give(EDS)
    time.sleep(10)
    nacks = sum(bool(r.error_detail.message) for r in plane.heard)
    print(f"assignment of {plane.resources[EDS][0].ByteSize()} bytes: streams opened in 10 s: {len(plane.opened)}")
    seen = {"call": call(channel)[0], "NACKs": nacks, "stream kept": len(plane.opened) == 1}
    plane.leave(channel)
    return seen


check("16,000 spare endpoints", run(16000), {"call": "new", "NACKs": 0, "stream kept": True})
check("17,000 spare endpoints", run(17000), {"call": "old", "NACKs": 0, "stream kept": False})
check("the same, grpc.max_receive_message_length -1", run(17000, ("grpc.max_receive_message_length", -1)),
      {"call": "old", "NACKs": 0, "stream kept": False})
finish("a response over 4 MiB is never taken and never refused: the stream is dropped again and again")
PY
