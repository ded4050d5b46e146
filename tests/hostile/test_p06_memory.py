"""Promise 6 for a few seconds, as `make memory` does for 100,000 streams; and a server that breaks it."""

from pathlib import Path

import pytest

from hostile.growth import MIB, Growth, Sample, draw, growth
from hostile.memory.measuring import MOST_FORGOTTEN, Plan, measure
from hostile.memory.waiting import CANCELLED, FLAGS
from hostile.server import Memory, ServerProcess, serving
from tests.faults.attacks import rapid_reset

SHORT = Plan(num_rounds=10, streams=60, waiting=200, refused=60)
NUM_RESETS = 2_000
MOST_AFTER_A_RESET = 40.0
"""Bytes that malloc may hold more after each; a batch that grpc.aio does not free has some 95."""


async def test_a_cancelled_stream_leaves_nothing_behind(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "log", FLAGS) as server:
        measured = await measure(server, SHORT)
    assert measured.statuses[CANCELLED] == 10 * 200
    assert growth(measured.waiting).allocated < MOST_FORGOTTEN
    assert [check for check in measured.checks()[3:] if not check.holds] == []
    assert measured.num_steps > 10 * 60 * 5


async def test_a_handler_that_swallows_its_cancellation_is_noticed(
    tiny_store: Path, tmp_path: Path, broken: Path
) -> None:
    with serving(tiny_store, tmp_path / "log", FLAGS, [broken / "cancellation_swallowed.py"]) as server:
        measured = await measure(server, SHORT)
    assert growth(measured.waiting).allocated > 2 * MOST_FORGOTTEN
    assert not measured.checks()[0].holds


def after_resets(server: ServerProcess, method: str = "StreamTranslate") -> float:
    """Bytes that malloc holds more after each stream that is reset as soon as it is opened."""
    samples = []
    for number in range(1, 13):
        rapid_reset(server.address, NUM_RESETS, method=method)
        server.settled_balance(timeout_s=5.0)
        samples.append(Sample(number * NUM_RESETS, server.memory(collect=True)))
    return growth(samples).allocated


@pytest.mark.parametrize("method", ["StreamTranslate", "TranslateInteractive"])
def test_a_stream_that_is_reset_at_once_leaves_nothing_behind(tiny_store: Path, tmp_path: Path, method: str) -> None:
    with serving(tiny_store, tmp_path / "log", FLAGS) as server:
        assert after_resets(server, method) < MOST_AFTER_A_RESET


def test_reading_that_a_reset_interrupts_is_noticed(tiny_store: Path, tmp_path: Path, broken: Path) -> None:
    with serving(tiny_store, tmp_path / "log", FLAGS, [broken / "reading_interrupted.py"]) as server:
        assert after_resets(server) > 1.5 * MOST_AFTER_A_RESET


def test_growth_is_the_slope_of_the_last_half() -> None:
    warm_up = [Sample(done, Memory(1000 * done, 0)) for done in range(5)]
    samples = [*warm_up, *(Sample(done, Memory(50_000 + 7 * done, 3 * done)) for done in range(5, 10))]
    slope = growth(samples)
    assert slope == Growth(pytest.approx(7.0), pytest.approx(3.0))
    with pytest.raises(ValueError, match="needs four"):
        growth(samples[:3])


def test_a_table_that_doubles_is_no_growth_of_what_is_allocated() -> None:
    samples = [Sample(done, Memory(50_000, 3 * done + 65_536 * (done >= 8))) for done in range(10)]
    assert growth(samples).allocated == pytest.approx(3.0)


def test_the_curve_is_a_picture(tmp_path: Path) -> None:
    samples = [Sample(done, Memory(100 * MIB, 50 * MIB)) for done in range(4)]
    draw({"server": samples}, "streams", tmp_path / "reports" / "memory.png")
    assert (tmp_path / "reports" / "memory.png").read_bytes().startswith(b"\x89PNG")
