import os

import pytest

from service.cores import num_cores


@pytest.mark.parametrize(
    ("limit", "most"),
    [("100000 100000\n", 1), ("150000 100000\n", 2), ("10000 100000\n", 1), ("9900000 100000\n", None)],
)
def test_a_containers_limit_counts_where_it_is_lower(tmp_path, limit, most):
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    own = len(os.sched_getaffinity(0))
    assert num_cores(file) == (own if most is None else min(own, most))


@pytest.mark.parametrize("limit", ["max 100000\n", "nonsense\n", None])
def test_without_a_limit_every_core_of_the_process_counts(tmp_path, limit):
    file = tmp_path / "cpu.max"
    if limit is not None:
        file.write_text(limit)
    assert num_cores(file) == len(os.sched_getaffinity(0))
