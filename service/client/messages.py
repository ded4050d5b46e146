"""Between the callers' values and protobuf messages, for every client alike. It sends nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from service.client.errors import InvalidRequestError, ServerError
from service.client.types import Completion, FinishReason, ModelInfo, StepEvent, Timings, Translation
from service.pb import translation_pb2 as pb

_FINISH_REASONS = {
    pb.FINISH_REASON_END_OF_SENTENCE: FinishReason.END_OF_SENTENCE,
    pb.FINISH_REASON_MAX_LENGTH: FinishReason.MAX_LENGTH,
}


def translate_request(
    texts: Sequence[str], *, model: str, version: int, max_length: int, seed: int | None
) -> pb.TranslateRequest:
    """The message of Translate; raises InvalidRequestError for a value that no message can carry."""
    with _representable():
        options = pb.DecodingOptions(max_length=max_length, seed=seed)
        return pb.TranslateRequest(model=model, version=version, texts=texts, options=options)


def stream_request(
    text: str, *, model: str, version: int, max_length: int, seed: int | None, include_attention: bool
) -> pb.StreamTranslateRequest:
    """The message of StreamTranslate; raises InvalidRequestError for a value that no message can carry."""
    with _representable():
        return pb.StreamTranslateRequest(
            model=model,
            version=version,
            text=text,
            options=pb.DecodingOptions(max_length=max_length, seed=seed),
            include_attention=include_attention,
        )


def get_model_request(model: str, *, version: int) -> pb.GetModelRequest:
    """The message of GetModel; raises InvalidRequestError for a value that no message can carry."""
    with _representable():
        return pb.GetModelRequest(model=model, version=version)


def translations_from(response: pb.TranslateResponse, *, num_texts: int) -> list[Translation]:
    """The translations, in the order of the request's texts; raises ServerError unless there is one for each."""
    if len(response.translations) != num_texts:
        raise ServerError(f"the server sent {len(response.translations)} translations of {num_texts} texts")
    return [
        Translation(
            text=message.text,
            finish_reason=_finish_reason(message.finish_reason),
            log_probability=message.log_probability,
            num_source_tokens=message.num_source_tokens,
            num_target_tokens=message.num_target_tokens,
            version=response.version,
        )
        for message in response.translations
    ]


class StreamReader:
    """Turns the messages of one stream into events; remembers the source's pieces, which only the first one carries."""

    def __init__(self) -> None:
        self._source_pieces: tuple[str, ...] = ()
        self._completed = False

    def events(self, message: pb.StreamTranslateResponse) -> Iterator[StepEvent | Completion]:
        """The message's step, if it has one, then its completion, if it has one."""
        if message.HasField("source"):
            self._source_pieces = tuple(message.source.pieces)
        if message.HasField("step"):
            step = message.step
            yield StepEvent(
                index=step.index,
                token_id=step.token_id,
                piece=step.piece,
                text_delta=step.text_delta,
                log_probability=step.log_probability,
                source_pieces=self._source_pieces if step.attention else (),
                attention=tuple(step.attention),
            )
        if message.HasField("completion"):
            self._completed = True
            yield _completion_from(message.completion)

    def check_completed(self) -> None:
        """Raise ServerError if the stream has ended without a completion."""
        if not self._completed:
            raise ServerError("the server ended the stream before the translation was complete")


def _completion_from(message: pb.Completion) -> Completion:
    timings = message.timings
    return Completion(
        text=message.text,
        finish_reason=_finish_reason(message.finish_reason),
        log_probability=message.log_probability,
        num_source_tokens=message.num_source_tokens,
        num_target_tokens=message.num_target_tokens,
        timings=Timings(timings.queue_ms, timings.first_token_ms, timings.total_ms),
        version=message.version,
    )


def model_from(message: pb.Model) -> ModelInfo:
    """One loaded version of a model."""
    return ModelInfo(
        name=message.name,
        version=message.version,
        source_language=message.source_language,
        target_language=message.target_language,
        family=message.family,
        attention=message.attention if message.HasField("attention") else None,
        precision=message.precision,
        execution_provider=message.execution_provider,
        max_source_length=message.max_source_length,
        max_target_length=message.max_target_length,
        certificate_json=message.certificate_json,
    )


def _finish_reason(value: pb.FinishReason.ValueType) -> FinishReason:
    return _FINISH_REASONS.get(value, FinishReason.OTHER)


@contextmanager
def _representable() -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise InvalidRequestError("the text is not valid Unicode") from None
    except ValueError as error:
        raise InvalidRequestError(f"the request cannot be sent: {error}") from None
