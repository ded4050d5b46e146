"""A translation service with scripted behaviour behind a real socket: it translates by shouting, one word a step.

In a beam search the next word, unless it is the last one, is tentative before it is settled; every further hypothesis
has one more exclamation mark. Its terms stand one after another, from token 1, and "missing" is not met.
"""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, zip_longest

import grpc
import pytest

from service.cli import main
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server

LIMIT_S = 10.0
CANCEL_S = 0.1  # by then a call whose requests have ended is known to be cancelled, if it is


class FakeTranslationService(TranslationServiceServicer):
    """failures and holds are keyed by text, or by the prefix of an edit; a held one waits for its event, an endless one
    streams until cancelled, an incomplete one has no completion, a hurried one takes no edit. streams are the messages
    for a text, in place of shouting. cuts are numbers of messages, by text, after which a call of it is lost; metadata
    is what each call came with. interactive_closed: the caller closed the requests and waited for the end."""

    def __init__(self) -> None:
        self.address = ""
        self.models = [make_model("shout", 1)]
        self.requests: list[pb.TranslateRequest | pb.StreamTranslateRequest | pb.ScoreRequest] = []
        self.edits: list[str] = []
        self.streams: dict[str, list[pb.StreamTranslateResponse]] = {}
        self.deadlines_s: list[float | None] = []
        self.failures: dict[str, list[tuple[grpc.StatusCode, str]]] = {}
        self.cuts: dict[str, list[int]] = {}
        self.metadata: list[dict[str, str | bytes]] = []
        self.holds: dict[str, threading.Event] = {}
        self.pause_s = 0.0
        self.endless_text = "endless"
        self.incomplete_text = "incomplete"
        self.finish_reason = pb.FINISH_REASON_END_OF_SENTENCE
        self.cancelled = threading.Event()
        self.hurried_text = "hurried"
        self.interactive_closed = threading.Event()
        self.interactive_ended = threading.Event()
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
                hypotheses=make_hypotheses(text.upper(), request.options),
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
        index = 0
        while request.text == self.endless_text and context.is_active():
            yield pb.StreamTranslateResponse(step=pb.Step(index=index, piece="NA", text_delta="NA"))
            index += 1
            time.sleep(0.01)
        messages = self.streams.get(request.text) or self._shout(request, request.text.upper().split())
        yield from self._until_cut(request.text, messages[len(request.resume.token_ids) :], context)
        finished.set()

    def _until_cut(
        self, text: str, messages: list[pb.StreamTranslateResponse], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamTranslateResponse]:
        """As a proxy shows it: UNKNOWN, without the metadata that a server ends its calls with."""
        cut = self.cuts[text].pop(0) if self.cuts.get(text) else len(messages)
        yield from messages[:cut]
        if cut < len(messages):
            context.abort(grpc.StatusCode.UNKNOWN, "Stream removed")

    def _shout(self, request: pb.StreamTranslateRequest, words: list[str]) -> list[pb.StreamTranslateResponse]:
        messages = [make_step(words, index, request) for index in range(len(words) + 1)]
        if request.include_attention:
            messages[0].source.pieces.extend([*(f"▁{word}" for word in request.text.split()), "</s>"])
        messages[0].version = request.version or 7
        if request.options.beam_size > 1:
            first = pb.StreamTranslateResponse(tentative=make_tentative(words, 0))
            messages.insert(0, first)
        if request.text != self.incomplete_text:
            messages[-1].completion.CopyFrom(
                pb.Completion(
                    text=" ".join(words),
                    finish_reason=self.finish_reason,
                    log_probability=-0.25 * (len(words) + 1),
                    num_source_tokens=len(words) + 1,
                    num_target_tokens=len(words) + 1,
                    timings=pb.Timings(queue_ms=1.0, first_token_ms=2.0, total_ms=3.0),
                    version=request.version or 7,
                    hypotheses=make_hypotheses(" ".join(words), request.options),
                )
            )
        return messages

    def TranslateInteractive(  # noqa: N802
        self, request_iterator: Iterator[pb.TranslateInteractiveRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.TranslateInteractiveResponse]:
        context.add_callback(self.interactive_ended.set)
        start = next(request_iterator).start
        with self._counted(start, context):
            self._fail_or_wait(start.text, context)
        made: list[str] = []
        prefix = start.options.target_prefix
        for number in count():
            words = [*prefix.split(), *start.text.upper().split()[len(prefix.split()) :]]
            messages = self._shout(start, words)
            pairs = enumerate(zip_longest(made, [*words, "</s>"]))
            num_kept = next((place for place, (old, new) in pairs if old != new), len(made))
            if num_kept == len(messages):
                messages.append(pb.StreamTranslateResponse(completion=messages[-1].completion))
            for message in self._until_cut(start.text, messages[num_kept:], context):
                yield pb.TranslateInteractiveResponse(edit=number, response=message)
            made = [*words, "</s>"]
            if start.text == self.hurried_text:
                break
            try:
                prefix = next(request_iterator).edit.target_prefix
            except (StopIteration, grpc.RpcError):
                time.sleep(CANCEL_S)
                if context.is_active():
                    self.interactive_closed.set()
                break
            self.edits.append(prefix)
            self._fail_or_wait(prefix, context)

    def Score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:  # noqa: N802
        with self._counted(request, context):
            for pair in request.pairs:
                self._fail_or_wait(pair.source, context)
        return self.scores(request)

    def scores(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        targets = []
        for pair in request.pairs:
            pieces = [*(f"▁{word}" for word in pair.target.split()), "</s>"]
            tokens = [
                pb.ScoredToken(token_id=index + 10, piece=piece, log_probability=-0.25 * (index + 1))
                for index, piece in enumerate(pieces)
            ]
            targets.append(
                pb.ScoredTarget(tokens=tokens, log_probability=sum(token.log_probability for token in tokens))
            )
        return pb.ScoreResponse(targets=targets, version=request.version or 7)

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
        self,
        request: pb.TranslateRequest | pb.StreamTranslateRequest | pb.ScoreRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[None]:
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
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


def make_step(words: list[str], index: int, request: pb.StreamTranslateRequest) -> pb.StreamTranslateResponse:
    is_word = index < len(words)
    piece = f"▁{words[index]}" if is_word else "</s>"
    step = pb.Step(
        index=index,
        token_id=index + 10,
        piece=piece,
        text_delta=" " * (index > 0) + words[index] if is_word else "",
        log_probability=-0.25,
        candidates=[
            pb.Candidate(token_id=index + 10 + place, piece=piece + "?" * place, log_probability=-0.25 - place)
            for place in range(request.options.num_candidates)
        ],
    )
    if request.include_attention:
        step.attention.extend(0.75 if index == place else 0.05 for place in range(len(words) + 1))
    if request.options.beam_size > 1:
        return pb.StreamTranslateResponse(step=step, tentative=make_tentative(words, index + 1))
    return pb.StreamTranslateResponse(step=step)


def make_tentative(words: list[str], index: int) -> pb.Tentative:
    if index >= len(words) - 1:
        return pb.Tentative()
    return pb.Tentative(pieces=[f"▁{words[index]}"], text=" " * (index > 0) + words[index])


def make_hypotheses(text: str, options: pb.DecodingOptions) -> list[pb.Hypothesis]:
    phrases = [*(term.phrases[0] for term in options.terms), *options.untranslated]
    matches = [
        pb.TermMatch(
            term=term,
            phrase=phrase,
            target_start=term + 1,
            target_end=term + 1 + len(phrase.split()),
            source_start=term,
            source_end=term + 1,
        )
        for term, phrase in enumerate(phrases)
        if phrase != "missing"
    ]
    return [
        pb.Hypothesis(
            text=text + "!" * rank,
            finish_reason=pb.FINISH_REASON_END_OF_SENTENCE,
            log_probability=-0.5 - rank,
            score=-0.25 - rank,
            num_target_tokens=len(text.split()) + 1 + rank,
            term_matches=matches,
        )
        for rank in range(max(options.num_hypotheses, 1))
    ]


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


@pytest.fixture
def stdin(monkeypatch, tmp_path_factory):
    """Gives the command lines to read: stdin(line, ...). Nothing, unless it is called."""
    path = tmp_path_factory.mktemp("stdin") / "lines"
    path.touch()
    with path.open("r+") as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield lambda *lines: path.write_text("".join(f"{line}\n" for line in lines))
