"""Versions are swapped under load without a failed request, without a stream of two versions, without growing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.swapping import swap_under_load

NUM_SWAPS = int(os.environ.get("STEPSTREAM_SWAPS", "14"))
MOST_GROWTH_MIB = 8.0 if NUM_SWAPS >= 100 else 32.0
"""A few swaps end before the heap has found its size."""


@pytest.mark.fault(36, 37)
def test_no_request_fails_or_gets_two_versions_while_versions_are_swapped(tmp_path: Path) -> None:
    """Every stream is wholly of one version and none fails; memory is given back, by 100 swaps to within 8 MiB."""
    swaps = swap_under_load(tmp_path, NUM_SWAPS)
    assert swaps.tally.failures == []
    assert swaps.tally.wrong == []
    assert min(swaps.tally.num_by_version[version] for version in (1, 2)) > 0
    assert swaps.rss_after - swaps.rss_before < MOST_GROWTH_MIB
