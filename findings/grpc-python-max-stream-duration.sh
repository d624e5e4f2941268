#!/usr/bin/env bash
# Guess: a route's max_stream_duration of 2 s lets a call of 1.5 s finish, and 1 s one of
# half a second.
# What happens: grpcio ends calls one to two seconds early, by an amount that is the same
# throughout a process and another in the next: with 1 s every call fails at once with
# DEADLINE_EXCEEDED, with 2 s after 0.3 to 1 s (seen 0.313, 0.365, 0.482, 0.671, 0.961 in
# five runs), with 3 s a second later than that. It looks like clocks that are rounded.
# Versions: grpcio 1.85.3.
# For users of an xDS server: leave max_stream_duration out for gRPC clients, or make it
# two seconds longer than meant.
# Seen:
#   max_stream_duration 1 s, a call that takes no time: ('DEADLINE_EXCEEDED', 0.0)
#   max_stream_duration 2 s, a call of 5 s: ('DEADLINE_EXCEEDED', 0.493)
#   max_stream_duration 3 s, a call of 5 s: ('DEADLINE_EXCEEDED', 1.494)
#   as stated: calls end one to two seconds before max_stream_duration
. "$(dirname "$0")/lib/begin.sh"
envoy_140
python <<'PY'
from proxyless import *

slow = GrpcBackend("slow", delay=5)
quick = GrpcBackend("quick")


def ended(seconds, backend):
    plane = Answers([locality(endpoint(backend.port))], max_stream_duration={"max_stream_duration": f"{seconds}s"})
    channel = plane.channel()
    call(channel)  # the first waits for the resources
    said, after = call(channel)
    plane.leave(channel)
    return said.split(":")[0], after


early = lambda least, most: lambda seen: seen[0] == "DEADLINE_EXCEEDED" and least <= seen[1] <= most
check("max_stream_duration 1 s, a call that takes no time", ended(1, quick), early(0, 0.2))
check("max_stream_duration 2 s, a call of 5 s", ended(2, slow), early(0, 1.2))
check("max_stream_duration 3 s, a call of 5 s", ended(3, slow), early(0.9, 2.2))
finish("calls end one to two seconds before max_stream_duration")
PY
