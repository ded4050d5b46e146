"""A request that has rows, and one whose target has ended but may be edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.engine.decoding.search import Advance, Search, StepRow
from service.engine.editing import History
from service.engine.request import Request, StepResult
from service.model.candidates import Candidates
from service.model.row import Row
from service.model.slots import Snapshot


@dataclass
class Running:
    """rows: where the request's hypotheses are, in the order in which its search knows them."""

    request: Request
    search: Search
    joined_at: float
    encoded_at: float
    rows: list[int]
    num_settled: int = 0
    history: History | None = None
    num_edits: int = 0

    @property
    def wants_attention(self) -> bool:
        return self.request.include_attention or self.search.needs_attention

    def advance(self, candidates: Candidates, rows: Sequence[Row], bad: Mapping[int, Exception]) -> Advance:
        """What the search says of its rows; raises what is wrong with one of them."""
        for row in self.rows:
            if row in bad:
                raise bad[row]
        attended = candidates.attention if self.wants_attention else None
        length = len(self.request.source_ids)
        return self.search.advance(
            [StepRow(rows[row], () if attended is None else attended[row, :length].tolist()) for row in self.rows]
        )

    def result(self, advance: Advance, made_at: float) -> StepResult:
        """What the request hears of a step."""
        result = StepResult(
            self.num_settled,
            advance.settled,
            advance.tentative,
            advance.hypotheses,
            self.joined_at,
            made_at,
            self.num_edits,
            self.encoded_at,
        )
        self.num_settled += len(advance.settled)
        return result


@dataclass(frozen=True)
class Parked:
    """An editable request whose target has ended, and what its row held; prefix is what it goes on with, if it has been
    edited since."""

    running: Running
    snapshot: Snapshot
    prefix: tuple[int, ...] | None = None
