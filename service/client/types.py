"""What a caller gets back: plain values, no protobuf. Durations in milliseconds, natural logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FinishReason(StrEnum):
    """Why a translation ended."""

    END_OF_SENTENCE = "end_of_sentence"
    MAX_LENGTH = "max_length"
    OTHER = "other"
    """A reason that only a newer client knows."""


@dataclass(frozen=True)
class Translation:
    """One text's whole translation; token numbers include the end of the sentence."""

    text: str
    finish_reason: FinishReason
    log_probability: float
    num_source_tokens: int
    num_target_tokens: int
    version: int


@dataclass(frozen=True)
class StepEvent:
    """One decoder step of a stream.

    source_pieces and attention are parallel, one weight for each piece of the source, and empty unless asked for.
    """

    index: int
    token_id: int
    piece: str
    text_delta: str
    log_probability: float
    source_pieces: tuple[str, ...] = ()
    attention: tuple[float, ...] = ()

    @property
    def most_attended(self) -> tuple[str, float] | None:
        """The source piece with the greatest weight, and that weight; None where no attention was asked for."""
        pairs = zip(self.source_pieces, self.attention, strict=True)
        return max(pairs, key=lambda pair: pair[1], default=None)


@dataclass(frozen=True)
class Timings:
    """Durations on the server, in milliseconds, from the arrival of the request."""

    queue_ms: float
    first_token_ms: float
    total_ms: float


@dataclass(frozen=True)
class Completion:
    """How a stream ended; its last event."""

    text: str
    finish_reason: FinishReason
    log_probability: float
    num_source_tokens: int
    num_target_tokens: int
    timings: Timings
    version: int


@dataclass(frozen=True)
class ModelInfo:
    """One loaded version of a model. attention says how the target attends to the source, None where it does not;
    certificate_json is empty in a list of models."""

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
