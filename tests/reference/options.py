"""What a search is asked for and what it gives back, in ids. It knows no model and no search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from export.models.control_tokens import END_ID

Ids = tuple[int, ...]
FinishReason = Literal["end_of_sentence", "max_length"]
Uniform = Callable[[int, int, int], float]
"""uniform(seed, draw, position) -> a number in [0, 1); position counts the tokens made before, the prefix included."""


@dataclass(frozen=True)
class Options:
    """The fields of the protocol's DecodingOptions and Sampling that a search reads, pieces and texts as ids.

    Which search they are for is said by the function that is called. Phrases of `untranslated` are terms with one
    alternative, after the others.
    """

    max_length: int
    beam_size: int = 1
    num_hypotheses: int = 1
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    patience: float = 1.0
    min_length: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_tokens: Ids = ()
    disable_unknown: bool = False
    prefix: Ids = ()
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    min_alternative_expansion_prob: float = 0.0
    num_candidates: int = 0
    terms: tuple[tuple[Ids, ...], ...] = ()
    ignore_end_of_sequence: bool = False

    def __post_init__(self) -> None:
        if END_ID in self.prefix or len(self.prefix) >= self.max_length:
            raise ValueError("a prefix has no end token and fewer than max_length tokens")
        if not all(term and all(term) for term in self.terms):
            raise ValueError("a term has at least one alternative, and each of them a token")


class Candidate(NamedTuple):
    """A token that a step could have taken."""

    token_id: int
    log_probability: float


class TermMatch(NamedTuple):
    """Number of the alternative used; its first target token and the one after its last."""

    alternative: int
    start: int
    end: int


@dataclass(frozen=True)
class Partial:
    """A target as far as it is made: y, the l of each token, their sum S after the prefix in float64, and with each
    token the best candidates of its step."""

    ids: Ids = ()
    log_probabilities: tuple[float, ...] = ()
    total: float = 0.0
    candidates: tuple[tuple[Candidate, ...], ...] = ()


@dataclass(frozen=True)
class Hypothesis:
    """A target that ended: its ids, prefix and end token (if it has one) included, and the l of each of them.

    term_matches has an entry for each term, None for one that was not met.
    """

    ids: Ids
    log_probabilities: tuple[float, ...]
    score: float
    finish_reason: FinishReason
    candidates: tuple[tuple[Candidate, ...], ...] = ()
    term_matches: tuple[TermMatch | None, ...] = ()

    @property
    def log_probability(self) -> float:
        return sum(self.log_probabilities)
