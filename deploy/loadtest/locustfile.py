"""Load on Stepstream from Locust: each user streams one sentence after another.

From the root of the repository, in an environment of its own with locust, grpcio and protobuf (deploy/load-testing.md):

    PYTHONPATH=. locust -f deploy/loadtest/locustfile.py --host 127.0.0.1:8001

STEPSTREAM_MODEL names the model, STEPSTREAM_SENTENCES a file with one sentence a line. Two lines are reported: `first
token` and `whole`, the response length of which is the number of tokens.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental.gevent as grpc_gevent
from locust import User, constant, task

from service.pb.translation_pb2 import StreamTranslateRequest
from service.pb.translation_pb2_grpc import TranslationServiceStub

MODEL = os.environ.get("STEPSTREAM_MODEL", "en-de-transformer")
SENTENCES = ("A man in a blue shirt is standing on a ladder.", "Two dogs play in the snow.", "A girl reads a book.")
TIMEOUT_S = 60.0

grpc_gevent.init_gevent()


def sentences() -> list[str]:
    path = os.environ.get("STEPSTREAM_SENTENCES")
    lines = Path(path).read_text(encoding="utf-8").splitlines() if path else SENTENCES
    return [line for line in lines if line.strip()]


class Translating(User):  # type: ignore[misc]
    """Sends its next sentence once the last one is translated."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.channel = grpc.insecure_channel(self.host, options=(("grpc.use_local_subchannel_pool", 1),))
        self.stub = TranslationServiceStub(self.channel)
        self.sentences = sentences()

    def on_stop(self) -> None:
        self.channel.close()

    @task
    def stream(self) -> None:
        request = StreamTranslateRequest(model=MODEL, text=random.choice(self.sentences))
        began = time.perf_counter()
        num_tokens, error, is_complete = 0, None, False
        try:
            for message in self.stub.StreamTranslate(request, timeout=TIMEOUT_S):
                if message.HasField("step"):
                    if not num_tokens:
                        self.report("first token", began, 1)
                    num_tokens += 1
                is_complete = message.HasField("completion")
        except grpc.RpcError as failure:
            error = RuntimeError(failure.code().name)
        if error is None and not is_complete:
            error = RuntimeError("INCOMPLETE")
        self.report("whole", began, num_tokens, error)

    def report(self, name: str, began: float, num_tokens: int, error: Exception | None = None) -> None:
        fields: dict[str, Any] = {"request_type": "StreamTranslate", "name": name, "context": {}, "exception": error}
        self.environment.events.request.fire(
            response_time=1e3 * (time.perf_counter() - began), response_length=num_tokens, **fields
        )
