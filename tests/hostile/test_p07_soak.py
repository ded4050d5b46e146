"""Promise 7 for a few seconds, as `make soak` does for 25 minutes; and servers that break it."""

import random
from pathlib import Path

import pytest

from hostile.soak.jobs import make_jobs
from hostile.soak.running import Plan, soak
from hostile.soak.scenarios import SCENARIOS

SHORT = Plan(seed=3, seconds=12.0, sample_s=1.0, num_workers=8)


@pytest.mark.fault(15, 24, 31, 33, 51, 52, 53, 58)
async def test_every_promise_holds_beside_hostile_clients(tiny_store: Path, tmp_path: Path) -> None:
    """Every complete answer is the idle server's, byte for byte; no call hangs; every stream's state is released."""
    outcome = await soak(tiny_store, tmp_path, SHORT)
    assert outcome.book.examples == []
    assert [check for check in outcome.checks if not check.holds] == []
    assert outcome.book.num_compared > 0
    assert len(outcome.memory) > 2


async def test_the_soak_notices_streams_that_stay_open(tiny_store: Path, tmp_path: Path, broken: Path) -> None:
    outcome = await soak(tiny_store, tmp_path, SHORT, [broken / "streams_stay_open.py"])
    assert any("opened" in check.found for check in outcome.checks if not check.holds)


async def test_the_soak_notices_slots_that_leak(tiny_store: Path, tmp_path: Path, broken: Path) -> None:
    outcome = await soak(tiny_store, tmp_path, SHORT, [broken / "slots_leak.py"])
    assert any("slots promised" in check.found for check in outcome.checks if not check.holds)


async def test_the_soak_notices_translations_that_change(tiny_store: Path, tmp_path: Path, broken: Path) -> None:
    outcome = await soak(tiny_store, tmp_path, SHORT, [broken / "neighbours_mix.py"])
    assert outcome.book.broken["different"] + outcome.book.broken["lost"] > 0


def test_a_seed_repeats_jobs_and_scenarios() -> None:
    assert make_jobs(5, [1], each=2) == make_jobs(5, [1], each=2)
    assert make_jobs(5, [1], each=2) != make_jobs(6, [1], each=2)
    drawn = [random.Random("5-1").choices(list(SCENARIOS), k=50) for _ in range(2)]
    assert drawn[0] == drawn[1]
