"""A replica that says what a test wants, to see what a proxy makes of it: gRPC and its health are real, the rest is
not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

METHOD = "StreamTranslate"
SERVICE = "stepstream.v1.TranslationService"
PATH = f"/{SERVICE}/{METHOD}"
Script = Callable[[Any], Iterator[bytes]]
"""The messages of a call, of whose context it may make an end."""


class ScriptedReplica:
    """num_calls have reached it; num_taken messages were taken from it."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.num_calls = self.num_taken = 0
        self.address = ""

    def stream(self, _: bytes, context: Any) -> Iterator[bytes]:
        self.num_calls += 1
        for message in self._script(context):
            yield message
            self.num_taken += 1


@contextmanager
def scripted_replica(script: Script) -> Iterator[ScriptedReplica]:
    """Serves, and says that it is well, for as long as the block runs."""
    replica = ScriptedReplica(script)
    server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
    well = health.HealthServicer()
    well.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(well, server)
    handlers = {METHOD: grpc.unary_stream_rpc_method_handler(replica.stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    replica.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield replica
    finally:
        server.stop(0).wait()


def refuse(code: grpc.StatusCode, *, pushback_ms: int | None = None, num_messages: int = 0) -> Script:
    """A status, with a time to come back if there is one, after so many messages."""

    def script(context: Any) -> Iterator[bytes]:
        yield from [b"token"] * num_messages
        if pushback_ms is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", str(pushback_ms)),))
        context.abort(code, "as the script says")

    return script


def flood(_: Any) -> Iterator[bytes]:
    """64 MiB, in messages of a KiB."""
    yield from [bytes(1024)] * 65_536
