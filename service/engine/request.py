"""What the engine is asked for and what it gives back, as plain values of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Literal, NamedTuple

BeamEnd = Literal["patience", "full", "improvement", "bound", "places", "empty"]
LengthNorm = Literal["length", "gnmt"]


class FinishReason(Enum):
    """Why a target ended."""

    END_OF_SENTENCE = "end_of_sentence"
    MAX_LENGTH = "max_length"


class Priority(IntEnum):
    """Who joins first while others wait."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: temperature above 0, then the top_k most probable (0: all), then the fewest that reach
    top_p together, then those with at least min_p times the greatest probability."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


Phrases = tuple[tuple[int, ...], ...]
"""The ways to say one term, each as token ids."""


@dataclass(frozen=True)
class Term:
    """What a target must hold, in one of its phrases. number is the caller's. source is where it stands in the source,
    from its first token to before its end, for a term that takes the place of that part of the source alone."""

    number: int
    phrases: Phrases
    source: tuple[int, int] | None = None


@dataclass(frozen=True)
class Decoding:
    """How a target is searched for.

    max_length counts target tokens, prefix and end of the sentence included. With a min_length equal to it the sentence
    never ends, so that there are exactly so many. prefix is forced; it may hold the end of the sentence as its last
    token. resumed are the first tokens of the target, prefix included, with their log-probabilities, where another
    engine has made them already. terms are what a target must hold, each in one of its phrases. num_candidates is how
    many tokens every step reports. beam_end is when a beam search ends, as the manifest has it; length_norm is what
    length_penalty is a power of. With forced_end a target that reaches max_length has the end of the sentence as its
    last token.
    """

    max_length: int
    beam_size: int = 1
    num_hypotheses: int = 1
    length_penalty: float = 1.0
    length_norm: LengthNorm = "length"
    coverage_penalty: float = 0.0
    patience: float = 1.0
    min_length: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppressed: frozenset[int] = frozenset()
    sampling: Sampling | None = None
    prefix: tuple[int, ...] = ()
    resumed: tuple[tuple[int, float], ...] = ()
    alternatives: bool = False
    min_alternative_probability: float = 0.0
    num_candidates: int = 0
    terms: tuple[Term, ...] = ()
    beam_end: BeamEnd = "patience"
    forced_end: bool = False

    @property
    def num_rows(self) -> int:
        """Most rows of a step that the search takes."""
        return max(self.beam_size, self.num_hypotheses if self.sampling or self.alternatives else 1)


@dataclass(frozen=True)
class Request:
    """One source to translate. source_ids end in the end of the sentence; deadline is on the engine's clock, in
    seconds, or None; seed draws what can be drawn; an editable request can be given another prefix until it is
    cancelled; of a request that is not streamed only the last result is wanted. client is whom the request counts for;
    submitted_at is on the engine's clock, in seconds."""

    request_id: int
    source_ids: tuple[int, ...]
    decoding: Decoding
    deadline: float | None = None
    include_attention: bool = False
    seed: int | None = None
    editable: bool = False
    streamed: bool = True
    priority: Priority = Priority.NORMAL
    client: str = ""
    submitted_at: float = 0.0


class Token(NamedTuple):
    """One token of a target: log_probability is natural; attention has one weight for each source token, or is empty;
    candidates are the step's best tokens with their log-probabilities, if asked for."""

    token_id: int
    log_probability: float
    attention: Sequence[float] = ()
    candidates: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class Hypothesis:
    """One whole target; score is what hypotheses are ranked by."""

    tokens: tuple[Token, ...]
    score: float
    finish_reason: FinishReason

    @property
    def log_probability(self) -> float:
        return sum(token.log_probability for token in self.tokens)


class StepResult(NamedTuple):
    """What a step brought one request.

    settled: tokens that are never taken back, the first of them at place first_index of the target. tentative: what the
    best live hypothesis adds after them. hypotheses: on the last result of a target, best first. edit: how often the
    request had been given another prefix. joined_at, encoded_at and made_at are on the engine's clock, in seconds: when
    the request left the queue, when its source was encoded and when the step ended.
    """

    first_index: int
    settled: tuple[Token, ...]
    tentative: tuple[Token, ...]
    hypotheses: tuple[Hypothesis, ...]
    joined_at: float
    made_at: float
    edit: int = 0
    encoded_at: float = 0.0

    @property
    def is_last(self) -> bool:
        return bool(self.hypotheses)
