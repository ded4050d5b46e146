"""Finds the rows that a step of all rows fails on. It does not know what a row is."""

from __future__ import annotations

from collections.abc import Callable

from service.model.errors import RunError

ALL_ROWS_FAIL = (MemoryError, RunError)
"""Errors whose reason lies in no row."""


def run_apart(run: Callable[[int, int], None], num_rows: int) -> dict[int, Exception]:
    """After a run of all rows has failed: run halves of them, and halves of those that fail, until every row but the
    culprits has been run; what each culprit failed with by itself.

    run computes rows first to stop - 1 and may be repeated. Raises the errors of ALL_ROWS_FAIL.
    """
    culprits: dict[int, Exception] = {}

    def halve(first: int, stop: int) -> None:
        middle = (first + stop + 1) // 2
        for one, other in ((first, middle), (middle, stop)):
            if one == other:
                continue
            try:
                run(one, other)
            except ALL_ROWS_FAIL:
                raise
            except Exception as error:
                if other - one > 1:
                    halve(one, other)
                else:
                    culprits[one] = error

    halve(0, num_rows)
    return culprits
