"""Carries out one step: rows leave and join, the graph runs, every request's search chooses its tokens.

It knows no queue, no threads and no texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from service.engine.decoding.make import make_search
from service.engine.decoding.search import Advance, Search, StepRow
from service.engine.editing import History
from service.engine.request import Request, StepResult, Token
from service.model.candidates import Candidates
from service.model.onnx_model import Floats
from service.model.rules import Rule
from service.model.slots import Encoded, Snapshot

RulesFor = Callable[[Sequence[int]], Sequence[Rule]]


class Rows(Protocol):
    """What the runner needs of `service.model.slots.Slots`: see there."""

    @property
    def num_rows(self) -> int: ...

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded: ...

    def join(self, encoded: Encoded, seeds: Sequence[int | None]) -> None: ...

    def leave(self, row: int) -> int: ...

    def fork(self, rows: Sequence[int]) -> None: ...

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None: ...

    def save(self, row: int) -> Snapshot: ...

    def restore(self, snapshot: Snapshot, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None: ...

    def rewind(self, row: int, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None: ...

    def carried(self, row: int) -> dict[str, Floats]: ...

    def step(self) -> Candidates: ...

    def choose(self, token_ids: Sequence[int]) -> None: ...


@dataclass
class _Running:
    """rows: where the request's hypotheses are, in the order in which its search knows them."""

    request: Request
    search: Search
    joined_at: float
    encoded_at: float
    rows: list[int]
    num_settled: int = 0
    history: History | None = None
    num_edits: int = 0


@dataclass(frozen=True)
class _Parked:
    """An editable request whose target has ended, and what its row held; prefix is what it goes on with, if it has been
    edited since."""

    running: _Running
    snapshot: Snapshot
    prefix: tuple[int, ...] | None = None


class _Moves:
    """What becomes of the rows after a step: copies onto rows of hypotheses that are dropped, copies onto new rows,
    rows that are freed, and the token that each row goes on with."""

    def __init__(self, num_rows: int) -> None:
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.forked: list[int] = []
        self.freed: list[int] = []
        self.token_ids = [0] * num_rows

    def plan(self, rows: Sequence[int], parents: Sequence[int], token_ids: Sequence[int]) -> list[int]:
        """The rows of a request that had `rows`, of which those at `parents` go on with `token_ids`: the first child of
        a row stays in it, the others take rows that nobody goes on from, or new ones."""
        if len(rows) == len(parents) == 1:
            self.token_ids[rows[0]] = token_ids[0]
            return [rows[0]]
        free = [row for place, row in enumerate(rows) if place not in parents]
        new_rows, seen = [], set()
        for parent, token_id in zip(parents, token_ids, strict=True):
            row = rows[parent]
            if parent in seen and free:
                self.sources.append(row)
                row = free.pop()
                self.targets.append(row)
            elif parent in seen:
                self.forked.append(row)
                row = len(self.token_ids)
                self.token_ids.append(0)
            seen.add(parent)
            self.token_ids[row] = token_id
            new_rows.append(row)
        self.freed += free
        return new_rows


class Runner:
    """Knows which rows belong to which request."""

    def __init__(self, rows: Rows, *, end_id: int, rules_for: RulesFor = lambda _: ()) -> None:
        """rules_for gives the rules that hold for the targets of a source."""
        self._rows = rows
        self._end_id = end_id
        self._rules_for = rules_for
        self._running: dict[int, _Running] = {}
        self._parked: dict[int, _Parked] = {}
        self._owners: list[_Running] = []

    @property
    def num_rows(self) -> int:
        return len(self._owners)

    def join(self, requests: Sequence[Request]) -> list[tuple[int, Exception]]:
        """Give each request a row: those whose target has ended and was edited go on, the others are encoded together.
        If that fails they are encoded one by one, so that a request that the encoder fails on takes no other with it:
        (request id, error) for each of these."""
        for request in requests:
            if (parked := self._parked.pop(request.request_id, None)) is not None:
                self._rejoin(parked)
        return self._encode([request for request in requests if request.request_id not in self._running])

    def leave(self, request_ids: Iterable[int]) -> None:
        """Free the rows of requests; one without a row is no error."""
        rows: list[int] = []
        for request_id in request_ids:
            self._parked.pop(request_id, None)
            if (running := self._running.pop(request_id, None)) is not None:
                rows += running.rows
        self._free(rows)

    def step(self) -> list[tuple[int, StepResult]]:
        """Advance every request by one step: (request id, result) for each that is streamed or ends. Those that end
        have left their rows."""
        candidates = self._rows.step()
        made_at = time.monotonic()
        rows = candidates.rows()
        moves = _Moves(len(rows))
        owners = list(self._owners)
        results = []
        for request_id, running in self._running.items():
            attended = candidates.attention if _wants_attention(running) else None
            length = len(running.request.source_ids)
            advance = running.search.advance(
                [
                    StepRow(rows[row], () if attended is None else attended[row, :length].tolist())
                    for row in running.rows
                ]
            )
            if running.request.streamed or advance.hypotheses:
                results.append((request_id, _result(running, advance, made_at)))
            if running.history is not None:
                running.history.follow(advance.settled, self._rows.carried(running.rows[0]))
                if not advance.parents:
                    self._parked[request_id] = _Parked(running, self._rows.save(running.rows[0]))
            running.rows = moves.plan(running.rows, advance.parents, advance.token_ids)
            owners += [running] * (len(moves.token_ids) - len(owners))
        self._owners = owners
        self._move(moves)
        for request_id, result in results:
            if result.is_last:
                del self._running[request_id]
        return results

    def is_known(self, request_id: int) -> bool:
        """Whether a request has a row, or has ended and can be edited."""
        return request_id in self._running or request_id in self._parked

    def edit(self, request_id: int, prefix: tuple[int, ...]) -> bool:
        """Give an editable request another prefix, from which it goes on at its next step. False where its target has
        ended: it must then join again."""
        if (running := self._running.get(request_id)) is None:
            parked = self._parked[request_id]
            parked.running.num_edits += 1
            self._parked[request_id] = replace(parked, prefix=prefix)
            return False
        running.num_edits += 1
        self._rows.rewind(running.rows[0], *self._restart(running, prefix))
        return True

    def _encode(self, requests: Sequence[Request]) -> list[tuple[int, Exception]]:
        if not requests:
            return []
        now = time.monotonic()
        try:
            encoded = self._rows.encode([request.source_ids for request in requests])
        except Exception as error:
            if len(requests) == 1:
                return [(requests[0].request_id, error)]
            return [failed for request in requests for failed in self._encode([request])]
        self._rows.join(encoded, [request.seed for request in requests])
        encoded_at = time.monotonic()
        for request in requests:
            row = len(self._owners)
            history = History(self._rows.carried(row)) if request.editable else None
            self._add(_Running(request, self._search(request, ()), now, encoded_at, [row], history=history))
        return []

    def _rejoin(self, parked: _Parked) -> None:
        running = parked.running
        assert parked.prefix is not None
        self._rows.restore(parked.snapshot, *self._restart(running, parked.prefix))
        running.rows = [len(self._owners)]
        self._add(running)

    def _restart(self, running: _Running, prefix: tuple[int, ...]) -> tuple[tuple[int, ...], Mapping[str, Floats]]:
        """Search anew behind a prefix; the tokens that are kept, and the carried states after them."""
        assert running.history is not None
        carried = running.history.keep(prefix)
        kept = tuple(running.history.tokens)
        running.request = replace(running.request, decoding=replace(running.request.decoding, prefix=prefix))
        running.search = self._search(running.request, kept)
        running.num_settled = len(kept)
        return tuple(token.token_id for token in kept), carried

    def _search(self, request: Request, begun: tuple[Token, ...]) -> Search:
        return make_search(request, self._rules_for(request.source_ids), end_id=self._end_id, begun=begun)

    def _add(self, running: _Running) -> None:
        self._running[running.request.request_id] = running
        self._owners.append(running)

    def _move(self, moves: _Moves) -> None:
        self._rows.copy(moves.sources, moves.targets)
        self._rows.fork(moves.forked)
        self._rows.choose(moves.token_ids)
        self._free(moves.freed)

    def _free(self, rows: Iterable[int]) -> None:
        """Free rows, the last ones first, so that a row that moves into another's place is one that stays."""
        for row in sorted(rows, reverse=True):
            last = self._rows.leave(row)
            moved = self._owners[last]
            if last != row:
                moved.rows[moved.rows.index(last)] = row
            self._owners[row] = moved
            self._owners.pop()


def _wants_attention(running: _Running) -> bool:
    return running.request.include_attention or running.search.needs_attention


def _result(running: _Running, advance: Advance, made_at: float) -> StepResult:
    result = StepResult(
        running.num_settled,
        advance.settled,
        advance.tentative,
        advance.hypotheses,
        running.joined_at,
        made_at,
        running.num_edits,
        running.encoded_at,
    )
    running.num_settled += len(advance.settled)
    return result
