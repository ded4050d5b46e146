"""Promise 10 behind the shipped proxy for some seconds, as `make rolling` does with 10,000 streams; and a server that
breaks it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from hostile.envoy import find_envoy
from hostile.rolling.__main__ import play, staged
from hostile.rolling.playing import roll

pytestmark = pytest.mark.skipif(find_envoy() is None, reason="envoy is not installed")


@pytest.mark.fault(56, 58)
def test_a_rolling_update_loses_nothing_and_a_kill_nothing_that_clients_cannot_go_on_with(tmp_path: Path) -> None:
    """Two replicas behind Envoy are replaced under load, and killed: no stream is lost in the first, none but those of
    the killed replica without the client's resumption, none with it; each says what an idle server says."""
    played = play(tmp_path, 300, num_kills=1)
    assert [(one.figures, check) for one in played for check in one.checks if not check.holds] == []


def test_the_play_notices_replicas_that_refuse_at_once_and_cut_off_what_runs(tmp_path: Path) -> None:
    """One roll of two replacements may meet nobody; of eight rolls, one must."""
    compose = tmp_path / "compose.yml"
    environment = {"STEPSTREAM_DRAIN_DELAY_S": "0", "STEPSTREAM_GRACE_S": "0.01"}
    compose.write_text(yaml.safe_dump({"services": {"stepstream": {"environment": environment}}}))
    with staged(tmp_path, compose, 2) as stage:
        rolls = (asyncio.run(roll(stage, 300)) for _ in range(8))
        assert any(not check.holds for rolled in rolls for check in rolled.checks)
