from __future__ import annotations

import pytest

from service.engine.row_limit import FORGOTTEN_S, KNEE, MEMORY, RowLimit

TURNS = int(4 * MEMORY)


def teach(row_limit: RowLimit, numbers: range, *, fixed_s: float, row_s: float, now: float = 0.0) -> None:
    """Turns of an engine whose step takes fixed_s and row_s for each row, held to the knee as it is known so far."""
    row_limit.is_at_knee = True
    for num_rows in numbers:
        for _ in range(TURNS):
            row_limit.learn(num_rows, fixed_s + row_s * num_rows, now=now)


def at_knee(row_limit: RowLimit) -> int:
    row_limit.is_at_knee = True
    return row_limit.num_rows


def test_all_rows_run_until_told_otherwise_and_while_nothing_is_known() -> None:
    row_limit = RowLimit(64)
    assert row_limit.num_rows == at_knee(row_limit) == 64
    teach(row_limit, range(1, 65), fixed_s=0.001, row_s=0.001)
    row_limit.is_at_knee = False
    assert row_limit.num_rows == 64


@pytest.mark.parametrize(("fixed_s", "fewest", "most"), [(0.0, 1, 1), (0.002, 10, 16), (0.01, 30, 45), (1.0, 54, 64)])
def test_the_knee_is_where_more_rows_bring_hardly_more(fixed_s: float, fewest: int, most: int) -> None:
    row_limit = RowLimit(64)
    teach(row_limit, range(1, 65), fixed_s=fixed_s, row_s=0.001)
    knee = at_knee(row_limit)
    assert fewest <= knee <= most
    throughput = knee / (fixed_s + 0.001 * knee)
    assert throughput >= KNEE * 64 / (fixed_s + 0.001 * 64)


def test_all_rows_run_where_nothing_is_known_of_so_many() -> None:
    row_limit = RowLimit(64)
    teach(row_limit, range(1, 40), fixed_s=0.0, row_s=0.001)
    assert at_knee(row_limit) == 64


def test_one_turn_that_was_held_up_hardly_moves_the_knee() -> None:
    row_limit = RowLimit(64)
    teach(row_limit, range(1, 65), fixed_s=0.002, row_s=0.001)
    knee = at_knee(row_limit)
    row_limit.learn(knee, 5.0, now=0.0)
    assert knee <= row_limit.num_rows <= 1.5 * knee


def test_what_has_not_been_seen_for_long_is_forgotten() -> None:
    row_limit = RowLimit(64)
    teach(row_limit, range(1, 65), fixed_s=0.0, row_s=0.001)
    assert at_knee(row_limit) == 1
    later = FORGOTTEN_S + 1
    teach(row_limit, range(1, 65), fixed_s=0.01, row_s=0.001, now=later)
    assert at_knee(row_limit) >= 30


@pytest.mark.parametrize("max_rows", [1, 2, 3, 48, 64, 100, 512])
def test_any_number_of_rows_has_a_place(max_rows: int) -> None:
    row_limit = RowLimit(max_rows)
    for num_rows in range(1, max_rows + 1):
        teach(row_limit, range(num_rows, num_rows + 1), fixed_s=1.0, row_s=0.0)
        assert 1 <= at_knee(row_limit) <= max_rows
    assert at_knee(row_limit) >= KNEE * max_rows
