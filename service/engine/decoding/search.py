"""What every search method offers to the runner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from service.engine.request import Hypothesis, Token
from service.model.row import Row


class StepRow(NamedTuple):
    """What a step gave one row of a request; attention has one weight for each source token, or is empty where nobody
    wants it."""

    row: Row
    attention: Sequence[float]


class Advance(NamedTuple):
    """What becomes of a request's rows: the rows that it has now go on from `parents`, rows that it had, with
    `token_ids`; none go on at the end.

    settled and tentative are as in `StepResult`; hypotheses are set at the end.
    """

    parents: tuple[int, ...]
    token_ids: tuple[int, ...]
    settled: tuple[Token, ...]
    tentative: tuple[Token, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()


class Search(Protocol):
    """The decoding state of one request. It sees its own rows only, so that no neighbour can change its choice."""

    @property
    def needs_attention(self) -> bool:
        """Whether the search itself reads attention."""

    def advance(self, rows: Sequence[StepRow]) -> Advance:
        """Go on by one step; rows are those that go on since the last call, one at first."""
