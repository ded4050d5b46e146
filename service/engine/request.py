"""What the engine is asked for and what it gives back, as plain values of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class FinishReason(Enum):
    """Why a target ended."""

    END_OF_SENTENCE = "end_of_sentence"
    MAX_LENGTH = "max_length"


@dataclass(frozen=True)
class Request:
    """One source to translate. source_ids end in the end of the sentence; max_length counts target tokens, the end
    of the sentence included; deadline is on the engine's clock, in seconds, or None; seed draws what the model can
    draw, None takes what is most probable."""

    request_id: int
    source_ids: tuple[int, ...]
    max_length: int
    deadline: float | None = None
    include_attention: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class StepResult:
    """One token of one request: log_probability is natural; attention has one weight for each source token, or is
    empty; finish_reason is set on the last one. joined_at and made_at are on the engine's clock, in seconds: when the
    request left the queue and when this token was made."""

    index: int
    token_id: int
    log_probability: float
    attention: Sequence[float]
    finish_reason: FinishReason | None
    joined_at: float
    made_at: float
