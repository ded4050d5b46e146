"""What a caller gets back: plain values, no protobuf. Durations in milliseconds, natural logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class FinishReason(StrEnum):
    """Why a translation ended."""

    END_OF_SENTENCE = "end_of_sentence"
    MAX_LENGTH = "max_length"
    OTHER = "other"
    """A reason that only a newer client knows."""


@dataclass(frozen=True)
class TermMatch:
    """Where a term stands in a translation.

    term is its number: first those of the option `terms`, then those of `untranslated`. Tokens are counted from 0, and
    an end is the one after the last; source_start and source_end are both 0 for a model without attention.
    """

    term: int
    phrase: str
    target_start: int
    target_end: int
    source_start: int
    source_end: int


@dataclass(frozen=True)
class Hypothesis:
    """One of the translations of a text. score is what they are ranked by; term_matches has no term that is not met."""

    text: str
    finish_reason: FinishReason
    log_probability: float
    score: float
    num_target_tokens: int
    term_matches: tuple[TermMatch, ...] = ()


@dataclass(frozen=True)
class Translation:
    """One text's whole translation; token numbers include the end of the sentence.

    hypotheses are all that were asked for; the first one is this translation.
    """

    text: str
    finish_reason: FinishReason
    log_probability: float
    num_source_tokens: int
    num_target_tokens: int
    version: int
    hypotheses: tuple[Hypothesis, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A token that a step could have taken."""

    token_id: int
    piece: str
    log_probability: float


@dataclass(frozen=True)
class StepEvent:
    """One token of a stream, settled: a decoder step's, or one that all hypotheses of a beam search have come to share.

    source_pieces and attention are parallel, one weight for each piece of the source, and empty unless asked for;
    candidates, best first, likewise.
    """

    index: int
    token_id: int
    piece: str
    text_delta: str
    log_probability: float
    source_pieces: tuple[str, ...] = ()
    attention: tuple[float, ...] = ()
    candidates: tuple[Candidate, ...] = ()

    @property
    def most_attended(self) -> tuple[str, float] | None:
        """The source piece with the greatest weight, and that weight; None where no attention was asked for."""
        pairs = zip(self.source_pieces, self.attention, strict=True)
        return max(pairs, key=lambda pair: pair[1], default=None)


@dataclass(frozen=True)
class TentativeEvent:
    """The unsettled end of a beam search: what follows the text of all steps so far, if nothing better comes.

    text is all of it, in place of any before. As pieces: the first num_kept of those shown last that are not settled
    yet, then `pieces`.
    """

    text: str
    pieces: tuple[str, ...]
    num_kept: int


@dataclass(frozen=True)
class Timings:
    """Durations on the server, in milliseconds, from the arrival of the request."""

    queue_ms: float
    first_token_ms: float
    total_ms: float


@dataclass(frozen=True)
class Completion:
    """How a stream ended; its last event. hypotheses are all that were asked for; the first one is this translation."""

    text: str
    finish_reason: FinishReason
    log_probability: float
    num_source_tokens: int
    num_target_tokens: int
    timings: Timings
    version: int
    hypotheses: tuple[Hypothesis, ...] = ()


StreamEvent: TypeAlias = StepEvent | TentativeEvent | Completion


@dataclass(frozen=True)
class ScoredToken:
    """One token of a target that was given, with its log-probability after the source and the tokens before it."""

    token_id: int
    piece: str
    log_probability: float


@dataclass(frozen=True)
class ScoredTarget:
    """The score of a given target: its tokens, the end of the sentence included, and the sum of their
    log-probabilities."""

    tokens: tuple[ScoredToken, ...]
    log_probability: float
    version: int


@dataclass(frozen=True)
class ModelInfo:
    """One loaded version of a model. attention says how the target attends to the source, None where it does not;
    certificate_json is empty in a list of models. The last two are what a request may choose."""

    name: str
    version: int
    source_language: str
    target_language: str
    family: str
    attention: str | None
    precision: str
    execution_provider: str
    max_source_length: int
    max_target_length: int
    certificate_json: str = ""
    source_languages: tuple[str, ...] = ()
    target_languages: tuple[str, ...] = ()
