"""Between protobuf messages and the values of the translator, for the servicer. It sends and searches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service.admission.ticket import Claim
from service.calls import current_call
from service.engine.request import FinishReason, Priority, Sampling, Token
from service.errors import InvalidRequestError
from service.model.languages import Languages
from service.options import Options
from service.pb import translation_pb2 as pb
from service.registry import LoadedModel
from service.results import Completion, Scored, StreamedStep, Tentative, WrittenHypothesis, WrittenToken

_REASONS = {
    FinishReason.END_OF_SENTENCE: pb.FINISH_REASON_END_OF_SENTENCE,
    FinishReason.MAX_LENGTH: pb.FINISH_REASON_MAX_LENGTH,
}


def claim_from(priority: int) -> Claim:
    """Of the call that the running task serves."""
    call = current_call.get()
    try:
        return Claim(call.client, Priority(priority or Priority.NORMAL), call.deadline)
    except ValueError:
        raise InvalidRequestError(
            "{field} is {number}, which is none of its values", field="priority", number=priority
        ) from None


def options_from(message: pb.DecodingOptions) -> Options:
    return Options(
        max_length=message.max_length,
        seed=message.seed if message.HasField("seed") else None,
        beam_size=message.beam_size or 1,
        num_hypotheses=message.num_hypotheses or 1,
        length_penalty=message.length_penalty if message.HasField("length_penalty") else None,
        coverage_penalty=message.coverage_penalty,
        patience=message.patience if message.HasField("patience") else 1.0,
        min_length=message.min_length,
        repetition_penalty=message.repetition_penalty if message.HasField("repetition_penalty") else 1.0,
        no_repeat_ngram_size=message.no_repeat_ngram_size,
        suppress_tokens=tuple(message.suppress_tokens),
        disable_unknown=message.disable_unknown,
        sampling=_sampling(message.sampling) if message.HasField("sampling") else None,
        target_prefix=message.target_prefix,
        target_prefix_ids=tuple(message.target_prefix_ids),
        return_alternatives=message.return_alternatives,
        min_alternative_expansion_prob=message.min_alternative_expansion_prob,
        num_candidates=message.num_candidates,
        terms=tuple(tuple(term.phrases) for term in message.terms),
        untranslated=tuple(message.untranslated),
        ignore_end_of_sequence=message.ignore_end_of_sequence,
        source_language=message.source_language,
        target_language=message.target_language,
    )


def stream_options_from(message: pb.StreamTranslateRequest) -> Options:
    """As `options_from`, with what the caller has of a stream that was cut off."""
    options = options_from(message.options)
    held = message.resume
    if len(held.token_ids) != len(held.log_probabilities):
        raise InvalidRequestError("resume must have one log-probability for each token")
    if held.token_ids and not message.version:
        raise InvalidRequestError("resume needs the version that began the translation")
    return replace(options, resumed=tuple(zip(held.token_ids, held.log_probabilities, strict=True)))


def _sampling(message: pb.Sampling) -> Sampling:
    return Sampling(
        temperature=message.temperature if message.HasField("temperature") else 1.0,
        top_k=message.top_k,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        min_p=message.min_p,
    )


def translation(done: Completion) -> pb.Translation:
    best = done.best
    return pb.Translation(
        text=best.text,
        finish_reason=_REASONS[best.finish_reason],
        log_probability=best.log_probability,
        num_source_tokens=done.num_source_tokens,
        num_target_tokens=best.num_target_tokens,
        hypotheses=[_hypothesis(one) for one in done.hypotheses],
    )


class StepResponses:
    """The messages of one stream; the first one names the version, and carries the source where that is asked for."""

    def __init__(self, version: int, source_pieces: Sequence[str]) -> None:
        self._version = version
        self._source = pb.Source(pieces=source_pieces) if source_pieces else None
        self._is_first = True

    def of(self, step: StreamedStep) -> pb.StreamTranslateResponse:
        """The message of one step."""
        response = pb.StreamTranslateResponse(
            step=_step(step.token) if step.token is not None else None,
            completion=_completion(step.completion, self._version) if step.completion is not None else None,
            tentative=_tentative(step.tentative) if step.tentative is not None else None,
        )
        if self._is_first:
            self._is_first = False
            response.version = self._version
            if self._source is not None:
                response.source.CopyFrom(self._source)
        return response


def scored_target(scored: Scored) -> pb.ScoredTarget:
    tokens = [
        pb.ScoredToken(token_id=token.token_id, piece=piece, log_probability=token.log_probability)
        for token, piece in zip(scored.tokens, scored.pieces, strict=True)
    ]
    return pb.ScoredTarget(tokens=tokens, log_probability=sum(token.log_probability for token in scored.tokens))


def model_message(model: LoadedModel) -> pb.Model:
    manifest, languages = model.manifest, Languages(model.manifest)
    return pb.Model(
        name=manifest.name,
        version=manifest.version,
        source_language=manifest.source_language,
        target_language=manifest.target_language,
        family=manifest.family,
        attention=manifest.attention,
        precision=manifest.precision,
        execution_provider=model.execution_provider,
        max_source_length=manifest.max_source_length,
        max_target_length=manifest.max_target_length,
        source_languages=languages.sources,
        target_languages=languages.targets,
    )


def _step(written: WrittenToken) -> pb.Step:
    token = written.token
    return pb.Step(
        index=written.place,
        token_id=token.token_id,
        piece=written.piece,
        text_delta=written.text_delta,
        log_probability=token.log_probability,
        attention=token.attention,
        candidates=_candidates(token, written.candidate_pieces) if token.candidates else None,
    )


def _candidates(token: Token, pieces: tuple[str, ...]) -> list[pb.Candidate]:
    return [
        pb.Candidate(token_id=token_id, piece=piece, log_probability=log_probability)
        for (token_id, log_probability), piece in zip(token.candidates, pieces, strict=True)
    ]


def _tentative(tentative: Tentative) -> pb.Tentative:
    return pb.Tentative(num_kept=tentative.num_kept, pieces=tentative.pieces, text=tentative.text)


def _completion(done: Completion, version: int) -> pb.Completion:
    best = done.best
    return pb.Completion(
        text=best.text,
        finish_reason=_REASONS[best.finish_reason],
        log_probability=best.log_probability,
        num_source_tokens=done.num_source_tokens,
        num_target_tokens=best.num_target_tokens,
        timings=pb.Timings(
            queue_ms=done.queue_s * 1e3, first_token_ms=done.first_token_s * 1e3, total_ms=done.total_s * 1e3
        ),
        version=version,
        hypotheses=[_hypothesis(one) for one in done.hypotheses],
    )


def _hypothesis(one: WrittenHypothesis) -> pb.Hypothesis:
    return pb.Hypothesis(
        text=one.text,
        finish_reason=_REASONS[one.finish_reason],
        log_probability=one.log_probability,
        score=one.score,
        num_target_tokens=one.num_target_tokens,
        term_matches=[
            pb.TermMatch(
                term=match.term,
                phrase=match.phrase,
                target_start=match.target_start,
                target_end=match.target_end,
                source_start=match.source_start,
                source_end=match.source_end,
            )
            for match in one.term_matches
        ],
    )
