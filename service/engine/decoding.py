"""Chooses tokens from a step's candidates, one search for each request; searches of every kind share a step.

A search sees only the candidates of its own request, so that its choice cannot depend on the neighbours. It
knows no tensors, no models and no texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.engine.request import FinishReason, Request
from service.model.rules import Rule, choose


@dataclass(frozen=True)
class Choice:
    """The token that a target continues with, its log-probability, and why the target ends with it, if it does."""

    token_id: int
    log_probability: float
    finish_reason: FinishReason | None


class Search(Protocol):
    """The decoding state of one request."""

    def advance(self, ids: Sequence[int], log_probabilities: Sequence[float]) -> Choice:
        """Choose from a step's candidates, best first; called once a step."""


class GreedySearch:
    """Always the most probable token that the rule allows."""

    def __init__(self, rule: Rule | None, *, end_id: int, max_length: int) -> None:
        self._rule = rule
        self._end_id = end_id
        self._remaining = max_length

    def advance(self, ids: Sequence[int], log_probabilities: Sequence[float]) -> Choice:
        self._remaining -= 1
        reason = None
        rank = choose(self._rule, ids)
        if ids[rank] == self._end_id:
            reason = FinishReason.END_OF_SENTENCE
        elif self._remaining == 0:
            reason = FinishReason.MAX_LENGTH
        return Choice(ids[rank], log_probabilities[rank], reason)


def make_search(request: Request, rule: Rule | None = None, *, end_id: int) -> Search:
    """The search that a request asks for."""
    return GreedySearch(rule, end_id=end_id, max_length=request.max_length)
