"""From protobuf messages to the callers' values, for every client alike. It receives nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from service.client.errors import ServerError
from service.client.types import (
    Candidate,
    Completion,
    FinishReason,
    Hypothesis,
    ModelInfo,
    ScoredTarget,
    ScoredToken,
    StepEvent,
    StreamEvent,
    TentativeEvent,
    TermMatch,
    Timings,
    Translation,
)
from service.pb import translation_pb2 as pb

_FINISH_REASONS = {
    pb.FINISH_REASON_END_OF_SENTENCE: FinishReason.END_OF_SENTENCE,
    pb.FINISH_REASON_MAX_LENGTH: FinishReason.MAX_LENGTH,
}


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
            hypotheses=_hypotheses(message.hypotheses),
        )
        for message in response.translations
    ]


def scores_from(response: pb.ScoreResponse, *, num_pairs: int) -> list[ScoredTarget]:
    """The scores, in the order of the request's pairs; raises ServerError unless there is one for each."""
    if len(response.targets) != num_pairs:
        raise ServerError(f"the server sent {len(response.targets)} scores of {num_pairs} pairs")
    return [
        ScoredTarget(
            tokens=tuple(ScoredToken(token.token_id, token.piece, token.log_probability) for token in target.tokens),
            log_probability=target.log_probability,
            version=response.version,
        )
        for target in response.targets
    ]


class StreamReader:
    """Turns the messages of one stream into events; remembers the source's pieces, which only the first one carries."""

    def __init__(self) -> None:
        self._source_pieces: tuple[str, ...] = ()
        self.is_completed = False
        """Whether a completion has come."""

    def events(self, message: pb.StreamTranslateResponse) -> Iterator[StreamEvent]:
        """What the message has of: a step, what is tentative after it, a completion."""
        if message.HasField("source"):
            self._source_pieces = tuple(message.source.pieces)
        if message.HasField("step"):
            yield self._step(message.step)
        if message.HasField("tentative"):
            tentative = message.tentative
            yield TentativeEvent(tentative.text, tuple(tentative.pieces), tentative.num_kept)
        if message.HasField("completion"):
            self.is_completed = True
            yield _completion(message.completion)

    def _step(self, step: pb.Step) -> StepEvent:
        return StepEvent(
            index=step.index,
            token_id=step.token_id,
            piece=step.piece,
            text_delta=step.text_delta,
            log_probability=step.log_probability,
            source_pieces=self._source_pieces if step.attention else (),
            attention=tuple(step.attention),
            candidates=tuple(Candidate(one.token_id, one.piece, one.log_probability) for one in step.candidates),
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
        source_languages=tuple(message.source_languages),
        target_languages=tuple(message.target_languages),
    )


def _completion(message: pb.Completion) -> Completion:
    timings = message.timings
    return Completion(
        text=message.text,
        finish_reason=_finish_reason(message.finish_reason),
        log_probability=message.log_probability,
        num_source_tokens=message.num_source_tokens,
        num_target_tokens=message.num_target_tokens,
        timings=Timings(timings.queue_ms, timings.first_token_ms, timings.total_ms),
        version=message.version,
        hypotheses=_hypotheses(message.hypotheses),
    )


def _hypotheses(messages: Iterable[pb.Hypothesis]) -> tuple[Hypothesis, ...]:
    return tuple(
        Hypothesis(
            text=message.text,
            finish_reason=_finish_reason(message.finish_reason),
            log_probability=message.log_probability,
            score=message.score,
            num_target_tokens=message.num_target_tokens,
            term_matches=tuple(_term_match(match) for match in message.term_matches),
        )
        for message in messages
    )


def _term_match(message: pb.TermMatch) -> TermMatch:
    return TermMatch(
        term=message.term,
        phrase=message.phrase,
        target_start=message.target_start,
        target_end=message.target_end,
        source_start=message.source_start,
        source_end=message.source_end,
    )


def _finish_reason(value: pb.FinishReason.ValueType) -> FinishReason:
    return _FINISH_REASONS.get(value, FinishReason.OTHER)
