"""What a translation has brought so far, as texts: the engine's tokens written out, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.engine.decoding.terms import find
from service.engine.request import FinishReason, Hypothesis, StepResult, Term, Token
from service.model.text import Source, Texts


@dataclass(frozen=True)
class TermMatch:
    """Where a term stands: its number, the phrase used, its target tokens and the source tokens that their attention
    points to, each from start to before end; both source places are 0 without attention."""

    term: int
    phrase: str
    target_start: int
    target_end: int
    source_start: int
    source_end: int


@dataclass(frozen=True)
class WrittenHypothesis:
    """One whole translation."""

    text: str
    finish_reason: FinishReason
    log_probability: float
    score: float
    num_target_tokens: int
    term_matches: tuple[TermMatch, ...]


@dataclass(frozen=True)
class Completion:
    """How a translation ended: hypotheses best first, the first of which is the translation; times in seconds from its
    arrival."""

    hypotheses: tuple[WrittenHypothesis, ...]
    num_source_tokens: int
    queue_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0

    @property
    def best(self) -> WrittenHypothesis:
        return self.hypotheses[0]


class WrittenToken(NamedTuple):
    """One settled token: its place in the target, its piece, what it adds to the text, and the pieces of its
    candidates."""

    place: int
    token: Token
    piece: str
    text_delta: str
    candidate_pieces: tuple[str, ...]


@dataclass(frozen=True)
class Tentative:
    """What may follow the settled text: how many tentative tokens shown last stay, the pieces after those, all of the
    text."""

    num_kept: int
    pieces: tuple[str, ...]
    text: str


class StreamedStep(NamedTuple):
    """One settled token, if there is one, and on the last of a step what may follow; completion is set at the end."""

    token: WrittenToken | None
    tentative: Tentative | None = None
    completion: Completion | None = None


@dataclass(frozen=True)
class Scored:
    """A target that was given: its tokens and their pieces, the end of the sentence included."""

    tokens: tuple[Token, ...]
    pieces: tuple[str, ...]


class TargetWriter:
    """Writes the target of one source, as its tokens are settled."""

    def __init__(
        self,
        texts: Texts,
        source: Source,
        phrases: Sequence[Sequence[str]],
        terms: Sequence[Term],
        arrived_at: float,
        *,
        num_held: int = 0,
    ) -> None:
        """phrases are what the caller wants the target to hold, terms those of them that it must. arrived_at is on the
        clock of the engine's results. The first num_held tokens are the caller's already, and are not written again.
        """
        self._texts = texts
        self._source = source
        self._phrases = phrases
        self._terms = terms
        self._arrived_at = arrived_at
        self._num_held = num_held
        self._stream = texts.stream(source)
        self._token_ids: list[int] = []
        self._tentative: tuple[Token, ...] = ()
        self._first_token_s = 0.0

    def nothing(self) -> Completion:
        """What an empty text becomes."""
        empty = WrittenHypothesis("", FinishReason.END_OF_SENTENCE, 0.0, 0.0, 0, ())
        return Completion((empty,), len(self._source.ids))

    def rewind(self, length: int) -> None:
        """Forget all settled tokens but the first `length`."""
        kept = self._token_ids[:length]
        self._stream, self._token_ids = self._texts.stream(self._source), []
        for token_id in kept:
            self._write(token_id)

    def steps(self, result: StepResult) -> list[StreamedStep]:
        """What one result of the engine brings: a step for each settled token, at least one; none for a token that the
        caller has."""
        if result.first_index < self._num_held:
            for token in result.settled:
                self._write(token.token_id)
            return []
        if result.settled:
            self._first_token_s = self._first_token_s or result.made_at - self._arrived_at
        tokens = [self._settle(result.first_index + i, token) for i, token in enumerate(result.settled)]
        if result.is_last and tokens:
            tokens[-1] = tokens[-1]._replace(text_delta=tokens[-1].text_delta + self._stream.finish())
        completion = self.complete(result) if result.is_last else None
        last = StreamedStep(tokens[-1] if tokens else None, self._write_tentative(result), completion)
        return [*(StreamedStep(token) for token in tokens[:-1]), last]

    def _settle(self, place: int, token: Token) -> WrittenToken:
        candidates: tuple[str, ...] = ()
        if token.candidates:
            candidates = tuple(self._texts.target_piece(token_id, self._source) for token_id, _ in token.candidates)
        piece = self._texts.target_piece(token.token_id, self._source)
        return WrittenToken(place, token, piece, self._write(token.token_id), candidates)

    def _write(self, token_id: int) -> str:
        self._token_ids.append(token_id)
        return self._stream.add(token_id)

    def _write_tentative(self, result: StepResult) -> Tentative | None:
        """None where nothing is tentative and nothing was."""
        before, now = self._tentative, result.tentative
        self._tentative = now
        if not before and not now:
            return None
        shown = before[len(result.settled) :] if before[: len(result.settled)] == result.settled else ()
        num_kept = 0
        while num_kept < min(len(shown), len(now)) and shown[num_kept] is now[num_kept]:
            num_kept += 1
        whole = self._texts.write([*self._token_ids, *(token.token_id for token in now)], self._source)
        text = whole[len(self._stream.text) :] if whole.startswith(self._stream.text) else ""
        pieces = tuple(self._texts.target_piece(token.token_id, self._source) for token in now[num_kept:])
        return Tentative(num_kept, pieces, text)

    def complete(self, result: StepResult) -> Completion:
        """The whole translation, from the last result of the engine."""
        return Completion(
            tuple(self._hypothesis(one) for one in result.hypotheses),
            len(self._source.ids),
            result.joined_at - self._arrived_at,
            self._first_token_s,
            result.made_at - self._arrived_at,
        )

    def _hypothesis(self, one: Hypothesis) -> WrittenHypothesis:
        token_ids = [token.token_id for token in one.tokens]
        return WrittenHypothesis(
            self._texts.write(token_ids, self._source),
            one.finish_reason,
            one.log_probability,
            one.score,
            len(token_ids),
            tuple(self._matches(one.tokens, token_ids)),
        )

    def _matches(self, tokens: Sequence[Token], token_ids: Sequence[int]) -> Iterator[TermMatch]:
        for term in self._terms:
            if (place := find(token_ids, term.phrases)) is not None:
                phrase = self._phrases[term.number][place.phrase]
                source = attended(tokens[place.start : place.end])
                yield TermMatch(term.number, phrase, place.start, place.end, *source)


def attended(tokens: Sequence[Token]) -> tuple[int, int]:
    """The source positions that some tokens attend to most, from the first to after the last; (0, 0) without
    attention."""
    places = [max(range(len(token.attention)), key=token.attention.__getitem__) for token in tokens if token.attention]
    return (min(places), max(places) + 1) if places else (0, 0)
