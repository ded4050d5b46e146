"""A translation service behind a real socket that does what a test has written down, message by message."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server
from tests.faults.security.certificates import Pair

LIMIT_S = 60.0


@dataclass(frozen=True)
class End:
    """A status in place of what would come. Without `is_answered` it looks as if no server had given it."""

    code: grpc.StatusCode
    details: str = ""
    pushback_ms: int | None = None
    is_answered: bool = True


Play: TypeAlias = Sequence[pb.StreamTranslateResponse | threading.Event | End]
"""What one stream does, in order: send, wait for an event, end."""


class ScriptedService(TranslationServiceServicer):
    """plays: of the streams for a text, one after the other; the last one is played again. lists: cleared, the list of
    models keeps its caller waiting. called is set once a stream has come, cancelled once the client of one has gone;
    num_sent counts the messages that gRPC has taken."""

    def __init__(self) -> None:
        self.address = ""
        self.models = [model("shout"), model("whisper")]
        self.lists = threading.Event()
        self.lists.set()
        self.plays: dict[str, deque[Play]] = defaultdict(deque)
        self.requests: list[pb.StreamTranslateRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.deadlines_s: list[float] = []
        self.called = threading.Event()
        self.cancelled = threading.Event()
        self.num_sent = 0

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        self.lists.wait(LIMIT_S)
        context.set_trailing_metadata((("x-request-id", "list"),))
        return pb.ListModelsResponse(models=self.models)

    def StreamTranslate(  # noqa: N802
        self, request: pb.StreamTranslateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamTranslateResponse]:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.deadlines_s.append(context.time_remaining() or 0.0)
        is_whole = threading.Event()
        context.add_callback(lambda: None if is_whole.is_set() else self.cancelled.set())
        self.called.set()
        plays = self.plays[request.text]
        play = plays.popleft() if len(plays) > 1 else plays[0] if plays else messages(request.text.upper().split())
        for part in play:
            if isinstance(part, threading.Event):
                part.wait(LIMIT_S)
            elif isinstance(part, End):
                is_whole.set()
                self._end(part, context)
            else:
                yield part
                self.num_sent += 1
        is_whole.set()
        context.set_trailing_metadata((("x-request-id", "one"),))

    def _end(self, end: End, context: grpc.ServicerContext) -> None:
        trailing = [("x-request-id", "one")] if end.is_answered else []
        if end.pushback_ms is not None:
            trailing.append(("grpc-retry-pushback-ms", str(end.pushback_ms)))
        context.set_trailing_metadata(tuple(trailing))
        context.abort(end.code, end.details)


def model(name: str) -> pb.Model:
    """One that shouts or whispers in German."""
    return pb.Model(
        name=name,
        version=3,
        source_language="en",
        target_language="de",
        family="recurrent",
        precision="int8",
        attention="told, soft",
        max_source_length=64,
        max_target_length=64,
    )


def messages(words: Sequence[str]) -> list[pb.StreamTranslateResponse]:
    """A whole greedy stream: a message for each word and for the end. Each word looks at its own place with 0.8, and
    has one other candidate."""
    pieces = [*(f"▁{word}" for word in words), "</s>"]
    made = []
    for index, piece in enumerate(pieces):
        weights = [0.8 if place == index else 0.2 / max(1, len(words)) for place in range(len(pieces))]
        delta = "" if piece == "</s>" else " " * (index > 0) + words[index]
        candidates = [
            pb.Candidate(token_id=index + 10, piece=piece, log_probability=-0.25),
            pb.Candidate(token_id=99, piece="▁other", log_probability=-2.0),
        ]
        step = pb.Step(
            index=index,
            token_id=index + 10,
            piece=piece,
            text_delta=delta,
            log_probability=-0.25,
            attention=weights,
            candidates=candidates,
        )
        made.append(pb.StreamTranslateResponse(step=step))
    made[0].version = 3
    made[0].source.pieces.extend([*(f"▁{word.lower()}" for word in words), "</s>"])
    made[-1].completion.CopyFrom(
        pb.Completion(
            text=" ".join(words),
            finish_reason=pb.FINISH_REASON_END_OF_SENTENCE,
            log_probability=-0.25 * len(pieces),
            num_source_tokens=len(pieces),
            num_target_tokens=len(pieces),
            timings=pb.Timings(queue_ms=0.5, first_token_ms=2.0, total_ms=9.0),
            version=3,
        )
    )
    return made


@contextmanager
def scripted_service(*, port: int = 0, tls: Pair | None = None) -> Iterator[ScriptedService]:
    """Serves on 127.0.0.1 until the block ends; tls: by this certificate."""
    service = ScriptedService()
    with ThreadPoolExecutor(16) as threads:
        server = grpc.server(threads)
        add_TranslationServiceServicer_to_server(service, server)
        place = f"127.0.0.1:{port}"
        if tls is None:
            port = server.add_insecure_port(place)
        else:
            port = server.add_secure_port(place, grpc.ssl_server_credentials([(tls.key, tls.certificate)]))
        service.address = f"127.0.0.1:{port}"
        server.start()
        try:
            yield service
        finally:
            service.lists.set()
            for plays in service.plays.values():
                for part in (part for play in plays for part in play if isinstance(part, threading.Event)):
                    part.set()
            server.stop(0).wait()
