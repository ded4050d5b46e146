"""What becomes of rows after a step. It does not know whose they are."""

from __future__ import annotations

from collections.abc import Sequence

from service.model.errors import TokenRangeError


class Moves:
    """Copies onto rows of hypotheses that are dropped, copies onto new rows, rows that are freed, and the token that
    each row goes on with."""

    def __init__(self, num_rows: int, target_size: int) -> None:
        """target_size: of the target vocabulary."""
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.forked: list[int] = []
        self.freed: list[int] = []
        self.token_ids = [0] * num_rows
        self._target_size = target_size

    def plan(self, rows: Sequence[int], parents: Sequence[int], token_ids: Sequence[int]) -> list[int]:
        """The rows of a request that had `rows`, of which those at `parents` go on with `token_ids`: the first child of
        a row stays in it, the others take rows that nobody goes on from, or new ones. Raises TokenRangeError and
        IndexError, and has planned nothing then."""
        if any(not 0 <= token_id < self._target_size for token_id in token_ids):
            raise TokenRangeError("a token that was chosen is not in the vocabulary")
        if any(not 0 <= parent < len(rows) for parent in parents):
            raise IndexError("a search goes on from a row that it does not have")
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
