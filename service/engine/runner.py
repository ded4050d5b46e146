"""Carries out one step: rows leave and join, the graph runs, every request's search chooses its token.

It knows no queue, no threads and no texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.engine.decoding import Search, make_search
from service.engine.request import Request, StepResult
from service.model.rules import Rule
from service.model.slots import Candidates, Encoded

RuleFor = Callable[[Sequence[int]], Rule | None]


class Rows(Protocol):
    """What the runner needs of `service.model.slots.Slots`: see there."""

    @property
    def num_rows(self) -> int: ...

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded: ...

    def join(self, encoded: Encoded, seeds: Sequence[int | None]) -> None: ...

    def leave(self, row: int) -> int: ...

    def step(self) -> Candidates: ...

    def choose(self, token_ids: Sequence[int]) -> None: ...


@dataclass
class _Running:
    request: Request
    search: Search
    joined_at: float
    num_tokens: int = 0


class Runner:
    """Knows which row belongs to which request."""

    def __init__(self, rows: Rows, *, end_id: int, rule_for: RuleFor = lambda _: None) -> None:
        """rule_for gives the rule that holds for the target of a source."""
        self._rows = rows
        self._end_id = end_id
        self._rule_for = rule_for
        self._running: list[_Running] = []

    @property
    def num_rows(self) -> int:
        return len(self._running)

    def join(self, requests: Sequence[Request]) -> list[tuple[int, Exception]]:
        """Encode requests together and give each a row. If that fails they are encoded one by one, so that a request
        that the encoder fails on takes no other with it: (request id, error) for each of these."""
        now = time.monotonic()
        try:
            encoded = self._rows.encode([request.source_ids for request in requests])
        except Exception as error:
            if len(requests) == 1:
                return [(requests[0].request_id, error)]
            return [failed for request in requests for failed in self.join([request])]
        self._rows.join(encoded, [request.seed for request in requests])
        self._running += [
            _Running(r, make_search(r, self._rule_for(r.source_ids), end_id=self._end_id), now) for r in requests
        ]
        return []

    def leave(self, request_ids: Iterable[int]) -> None:
        """Free the rows of requests; one without a row is no error."""
        leaving = set(request_ids)
        for row in reversed(range(len(self._running))):
            if self._running[row].request.request_id in leaving:
                moved = self._rows.leave(row)
                self._running[row] = self._running[moved]
                self._running.pop()

    def step(self) -> list[tuple[int, StepResult]]:
        """Advance every request by one token: (request id, result) for each. Those that end have left their rows."""
        candidates = self._rows.step()
        made_at = time.monotonic()
        all_ids = candidates.ids.tolist()
        all_log_probabilities = candidates.log_probabilities.tolist()
        results = []
        chosen = []
        for row, running in enumerate(self._running):
            choice = running.search.advance(all_ids[row], all_log_probabilities[row])
            request = running.request
            attention: list[float] = []
            if request.include_attention and candidates.attention is not None:
                attention = candidates.attention[row, : len(request.source_ids)].tolist()
            result = StepResult(
                running.num_tokens,
                choice.token_id,
                choice.log_probability,
                attention,
                choice.finish_reason,
                running.joined_at,
                made_at,
            )
            running.num_tokens += 1
            chosen.append(choice.token_id)
            results.append((request.request_id, result))
        self._rows.choose(chosen)
        self.leave(request_id for request_id, result in results if result.finish_reason is not None)
        return results
