"""A translation service with scripted behaviour behind a real socket: it translates by shouting, one word a step."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from service.cli import main
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server

LIMIT_S = 10.0


class FakeTranslationService(TranslationServiceServicer):
    """failures and holds are keyed by text; a held text waits for its event, an endless one streams until cancelled."""

    def __init__(self) -> None:
        self.address = ""
        self.models = [make_model("shout", 1)]
        self.requests: list[pb.TranslateRequest | pb.StreamTranslateRequest] = []
        self.deadlines_s: list[float | None] = []
        self.failures: dict[str, list[tuple[grpc.StatusCode, str]]] = {}
        self.holds: dict[str, threading.Event] = {}
        self.pause_s = 0.0
        self.endless_text = "endless"
        self.incomplete_text = "incomplete"
        self.finish_reason = pb.FINISH_REASON_END_OF_SENTENCE
        self.cancelled = threading.Event()
        self.max_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()

    def Translate(  # noqa: N802
        self, request: pb.TranslateRequest, context: grpc.ServicerContext
    ) -> pb.TranslateResponse:
        finished = threading.Event()
        context.add_callback(lambda: None if finished.is_set() else self.cancelled.set())
        with self._counted(request, context):
            for text in request.texts:
                self._fail_or_wait(text, context)
        finished.set()
        return self.answer(request)

    def answer(self, request: pb.TranslateRequest) -> pb.TranslateResponse:
        translations = [
            pb.Translation(
                text=text.upper(),
                finish_reason=self.finish_reason,
                log_probability=-0.5,
                num_source_tokens=len(text.split()) + 1,
                num_target_tokens=len(text.split()) + 1,
            )
            for text in request.texts
        ]
        return pb.TranslateResponse(translations=translations, model=request.model, version=request.version or 7)

    def StreamTranslate(  # noqa: N802
        self, request: pb.StreamTranslateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamTranslateResponse]:
        finished = threading.Event()
        context.add_callback(lambda: None if finished.is_set() else self.cancelled.set())
        with self._counted(request, context):
            self._fail_or_wait(request.text, context)
        words = request.text.upper().split()
        index = 0
        while request.text == self.endless_text and context.is_active():
            yield pb.StreamTranslateResponse(step=pb.Step(index=index, piece="NA", text_delta="NA"))
            index += 1
            time.sleep(0.01)
        for index, word in enumerate([*words, "</s>"]):
            message = pb.StreamTranslateResponse(
                step=pb.Step(
                    index=index,
                    token_id=index + 10,
                    piece="▁" + word if index < len(words) else word,
                    text_delta=" " * (index > 0) + word if index < len(words) else "",
                    log_probability=-0.25,
                )
            )
            if request.include_attention:
                message.step.attention.extend(0.75 if index == place else 0.05 for place in range(len(words) + 1))
                if index == 0:
                    message.source.pieces.extend([*(f"▁{word}" for word in request.text.split()), "</s>"])
            if index == len(words) and request.text != self.incomplete_text:
                message.completion.CopyFrom(
                    pb.Completion(
                        text=" ".join(words),
                        finish_reason=self.finish_reason,
                        log_probability=-0.25 * (index + 1),
                        num_source_tokens=index + 1,
                        num_target_tokens=index + 1,
                        timings=pb.Timings(queue_ms=1.0, first_token_ms=2.0, total_ms=3.0),
                        version=request.version or 7,
                    )
                )
            yield message
        finished.set()

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=self.models)

    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        found = [m for m in self.models if m.name == request.model and request.version in (0, m.version)]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model!r}")
        response = pb.GetModelResponse(model=found[-1])
        response.model.certificate_json = '{"golden": [{"source": "Hello.", "token_ids": [5, 6, 2]}]}'
        return response

    @contextmanager
    def _counted(
        self, request: pb.TranslateRequest | pb.StreamTranslateRequest, context: grpc.ServicerContext
    ) -> Iterator[None]:
        with self._lock:
            self.requests.append(request)
            remaining_s = context.time_remaining()
            self.deadlines_s.append(None if remaining_s is None or remaining_s > 1e6 else remaining_s)
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def _fail_or_wait(self, text: str, context: grpc.ServicerContext) -> None:
        if text in self.holds:
            self.holds[text].wait(LIMIT_S)
        time.sleep(self.pause_s)
        if self.failures.get(text):
            context.abort(*self.failures[text].pop(0))


def make_model(
    name: str, version: int, *, family: str = "transformer", source_language: str = "en", target_language: str = "de"
) -> pb.Model:
    return pb.Model(
        name=name,
        version=version,
        source_language=source_language,
        target_language=target_language,
        family=family,
        attention="made up, soft",
        precision="int8",
        execution_provider="CPUExecutionProvider",
        max_source_length=256,
        max_target_length=128,
    )


@pytest.fixture
def fake_service() -> Iterator[FakeTranslationService]:
    service = FakeTranslationService()
    with ThreadPoolExecutor(32) as threads:
        server = grpc.server(threads)
        add_TranslationServiceServicer_to_server(service, server)
        service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield service
        finally:
            for hold in service.holds.values():
                hold.set()
            server.stop(0).wait()


@pytest.fixture
def add_model(fake_service: FakeTranslationService):
    """Puts one more model on the fake server: add_model(name, version, family=..., target_language=...)."""

    def add(name: str, version: int, **properties: str) -> None:
        fake_service.models.append(make_model(name, version, **properties))

    return add


@pytest.fixture
def run(capsys):
    """Runs one command in this process: run(argument, ...) -> exit status, stdout, stderr."""

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_request:
            status = exit_request.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
