"""Carries out one step: rows leave and join, the graph runs, every request's search chooses its tokens.

What goes wrong with one request ends that request alone. It knows no queue, no threads and no texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from service.engine.decoding.beam import BeamSearch
from service.engine.decoding.make import make_search
from service.engine.decoding.search import Advance, Search
from service.engine.editing import History
from service.engine.moves import Moves
from service.engine.request import Request, StepResult, Token
from service.engine.running import Parked, Running
from service.errors import EncodeFailedError, RequestFailedError, ServiceError
from service.model.candidates import Candidates
from service.model.culprits import ALL_ROWS_FAIL
from service.model.onnx_model import Floats
from service.model.rules import Rule
from service.model.slots import Encoded, Snapshot

Failure = tuple[int, ServiceError]
"""A request that has failed alone, and its error, whose __cause__ says why."""
RulesFor = Callable[[Sequence[int]], Sequence[Rule]]


class Rows(Protocol):
    """What the runner needs of `service.model.slots.Slots`: see there."""

    @property
    def num_rows(self) -> int: ...

    @property
    def target_size(self) -> int: ...

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded: ...

    def join(self, encoded: Encoded, seeds: Sequence[int | None]) -> None: ...

    def leave(self, row: int) -> int: ...

    def wipe(self, row: int) -> None: ...

    def fork(self, rows: Sequence[int]) -> None: ...

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None: ...

    def save(self, row: int) -> Snapshot: ...

    def restore(self, snapshot: Snapshot, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None: ...

    def rewind(self, row: int, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None: ...

    def carried(self, row: int) -> dict[str, Floats]: ...

    def step(self) -> Candidates: ...

    def choose(self, token_ids: Sequence[int]) -> None: ...


class Runner:
    """Knows which rows belong to which request."""

    def __init__(
        self,
        rows: Rows,
        *,
        end_id: int,
        empty_source: tuple[int, ...] = (),
        rules_for: RulesFor = lambda _: (),
        beam_search: type[BeamSearch] = BeamSearch,
        max_failed_steps: int = 3,
    ) -> None:
        """empty_source: of an empty text, by default the end of the sentence alone. rules_for gives the rules that hold
        for the targets of a source. max_failed_steps: so many steps in a row may fail for all rows together and for
        none by itself."""
        self._rows = rows
        self._max_failed_steps = max_failed_steps
        self._num_failed_steps = 0
        self._end_id = end_id
        self._empty_source = empty_source or (end_id,)
        self._rules_for = rules_for
        self._beam_search = beam_search
        self._running: dict[int, Running] = {}
        self._parked: dict[int, Parked] = {}
        self._owners: list[Running] = []

    @property
    def num_rows(self) -> int:
        return len(self._owners)

    def join(self, requests: Sequence[Request]) -> list[Failure]:
        """Give each request a row: those whose target has ended and was edited go on, the others are encoded together.
        If that fails they are encoded one by one, so that a request that the encoder fails on takes no other with it.
        Returns those that have failed, which have no row."""
        failures: list[Failure] = []
        searches: dict[int, Search] = {}
        for request in requests:
            try:
                if (parked := self._parked.pop(request.request_id, None)) is not None:
                    self._rejoin(parked)
                else:
                    searches[request.request_id] = self._search(request, ())
            except ALL_ROWS_FAIL:
                raise
            except Exception as error:
                failures.append((request.request_id, _failed(error)))
        return failures + self._encode([one for one in requests if one.request_id in searches], searches)

    def leave(self, request_ids: Iterable[int]) -> None:
        """Free the rows of requests; one without a row is no error."""
        rows: list[int] = []
        for request_id in request_ids:
            self._parked.pop(request_id, None)
            if (running := self._running.pop(request_id, None)) is not None:
                rows += running.rows
        self._free(rows)

    def clear(self) -> None:
        """Free every row and forget every request."""
        while num_rows := self._rows.num_rows:
            self._rows.wipe(num_rows - 1)
            self._rows.leave(num_rows - 1)
        self._running.clear()
        self._parked.clear()
        self._owners.clear()

    def step(self) -> list[tuple[int, StepResult | ServiceError]]:
        """Advance every request by one step: (request id, result) for each that is streamed, ends or fails. Those that
        end or fail have left their rows. Raises what goes wrong for all requests."""
        candidates = self._rows.step()
        made_at = time.monotonic()
        bad = candidates.bad_rows(with_attention=any(one.wants_attention for one in self._running.values()))
        self._count_failed(candidates)
        rows = candidates.rows()
        moves = Moves(len(rows), self._rows.target_size)
        owners = list(self._owners)
        new_rows: list[list[int]] = []
        results: list[tuple[int, StepResult | ServiceError]] = []
        for request_id, running in self._running.items():
            try:
                advance = running.advance(candidates, rows, bad)
                if running.history is not None:
                    self._note(running, running.history, advance)
                result = running.result(advance, made_at)
                new_rows.append(moves.plan(running.rows, advance.parents, advance.token_ids))
                owners += [running] * (len(moves.token_ids) - len(owners))
                if running.request.streamed or advance.hypotheses:
                    results.append((request_id, result))
            except ALL_ROWS_FAIL:
                raise
            except Exception as error:
                results.append((request_id, _failed(error)))
                new_rows.append([])
                moves.freed += running.rows
        for running, its_rows in zip(self._running.values(), new_rows, strict=True):
            running.rows = its_rows
        self._owners = owners
        for row in bad:
            self._rows.wipe(row)
        self._move(moves)
        self._forget_ended(results)
        if len(bad) == len(rows):
            self._prove()
        return results

    def is_known(self, request_id: int) -> bool:
        """Whether a request has a row, or has ended and can be edited."""
        return request_id in self._running or request_id in self._parked

    def edit(self, request_id: int, prefix: tuple[int, ...]) -> bool:
        """Give an editable request another prefix, from which it goes on at its next step. False where its target has
        ended: it must then join again. Raises RequestFailedError; the request has then no row."""
        if (running := self._running.get(request_id)) is None:
            parked = self._parked[request_id]
            parked.running.num_edits += 1
            self._parked[request_id] = replace(parked, prefix=prefix)
            return False
        running.num_edits += 1
        try:
            self._rows.rewind(running.rows[0], *self._restart(running, prefix))
        except ALL_ROWS_FAIL:
            raise
        except Exception as error:
            self.leave([request_id])
            raise _failed(error) from error
        return True

    def _note(self, running: Running, history: History, advance: Advance) -> None:
        """Keep what an editable request may go back to."""
        history.follow(advance.settled, self._rows.carried(running.rows[0]))
        if not advance.parents:
            self._parked[running.request.request_id] = Parked(running, self._rows.save(running.rows[0]))

    def _forget_ended(self, results: Sequence[tuple[int, StepResult | ServiceError]]) -> None:
        for request_id, result in results:
            if isinstance(result, ServiceError):
                self._parked.pop(request_id, None)
                del self._running[request_id]
            elif result.is_last:
                del self._running[request_id]

    def _count_failed(self, candidates: Candidates) -> None:
        """Raises what the step of all rows failed with, if no row is to blame and that is so for too long."""
        if candidates.error is None or candidates.culprits:
            self._num_failed_steps = 0
            return
        self._num_failed_steps += 1
        if self._num_failed_steps >= self._max_failed_steps:
            raise candidates.error

    def _prove(self) -> None:
        """Every row has failed, and none is left. Raises if the fault does not lie in them: if it hits a row of our own
        too, the empty sentence."""
        self._rows.join(self._rows.encode([self._empty_source]), [None])
        candidates = self._rows.step()
        for error in candidates.bad_rows(with_attention=False).values():
            raise error
        self._rows.leave(0)

    def _encode(self, requests: Sequence[Request], searches: Mapping[int, Search]) -> list[Failure]:
        if not requests:
            return []
        now = time.monotonic()
        try:
            encoded = self._rows.encode([request.source_ids for request in requests])
        except ALL_ROWS_FAIL:
            raise
        except Exception as error:
            if len(requests) == 1:
                return [(requests[0].request_id, _because(EncodeFailedError("the source could not be encoded"), error))]
            return [failed for request in requests for failed in self._encode([request], searches)]
        self._rows.join(encoded, [request.seed for request in requests])
        encoded_at = time.monotonic()
        for request in requests:
            row = len(self._owners)
            history = History(self._rows.carried(row)) if request.editable else None
            self._add(Running(request, searches[request.request_id], now, encoded_at, [row], history=history))
        return []

    def _rejoin(self, parked: Parked) -> None:
        running = parked.running
        assert parked.prefix is not None
        self._rows.restore(parked.snapshot, *self._restart(running, parked.prefix))
        running.rows = [len(self._owners)]
        self._add(running)

    def _restart(self, running: Running, prefix: tuple[int, ...]) -> tuple[tuple[int, ...], Mapping[str, Floats]]:
        """Search anew behind a prefix; the tokens that are kept, and the carried states after them."""
        assert running.history is not None
        carried = running.history.keep(prefix)
        kept = tuple(running.history.tokens)
        running.request = replace(running.request, decoding=replace(running.request.decoding, prefix=prefix))
        running.search = self._search(running.request, kept)
        running.num_settled = len(kept)
        return tuple(token.token_id for token in kept), carried

    def _search(self, request: Request, begun: tuple[Token, ...]) -> Search:
        return make_search(
            request,
            self._rules_for(request.source_ids),
            end_id=self._end_id,
            begun=begun,
            beam_search=self._beam_search,
        )

    def _add(self, running: Running) -> None:
        self._running[running.request.request_id] = running
        self._owners.append(running)

    def _move(self, moves: Moves) -> None:
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


def _failed(error: Exception) -> ServiceError:
    return _because(RequestFailedError("this request could not be computed"), error)


def _because(failure: ServiceError, cause: Exception) -> ServiceError:
    failure.__cause__ = cause
    return failure
