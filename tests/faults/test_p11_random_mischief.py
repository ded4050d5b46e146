"""Mischief at random, in a process of its own: it counts threads and rows that no other test may touch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MISCHIEF = Path(__file__).with_name("random_mischief.py")


@pytest.mark.fault(45, 46, 47)
def test_mischief_of_every_kind_ends_each_request_once_and_changes_no_other() -> None:
    """Cancels, deadlines, edits, bad rows and failing steps at random: one ending each, survivors as if alone."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(MISCHIEF)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-4000:]
