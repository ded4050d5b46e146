"""When a version that was refused is tried again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

from service.management import watcher as watching
from service.management.errors import RefusedError
from service.management.manager import ModelManager
from service.management.watcher import UNCHANGED_TRIES, Watcher
from service.model.errors import Reason
from service.model.store import StoredVersion
from service.policies import parse_policies
from service.registry import Registry

NAME = "en-de"


class Refusing:
    """Refuses every version, and counts how often."""

    def __init__(self, reason: Reason) -> None:
        self.num_loads = 0
        self._reason = reason

    async def load(self, version: StoredVersion) -> Any:
        self.num_loads += 1
        raise RefusedError(self._reason, "")

    def statuses(self) -> list[Any]:
        return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / NAME / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


async def num_loads(folder: Path, reason: Reason, *, num_looks: int, touched_at: int | None = None) -> int:
    manager = Refusing(reason)
    store = folder.parents[1]
    watcher = Watcher(store, 0.0, parse_policies("all"), cast("ModelManager", manager), Registry())
    for look in range(num_looks):
        if look == touched_at:
            os.link(folder / "manifest.json", store / "link")
        await watcher.look()
        await asyncio.sleep(0.001)
    return manager.num_loads


@pytest.mark.parametrize("reason", [Reason.MEMORY, Reason.TIMEOUT, Reason.CRASH, Reason.INTERNAL, Reason.SIGNATURE])
async def test_what_may_lie_elsewhere_is_tried_a_few_times_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    assert await num_loads(folder, reason, num_looks=20) == 1
    monkeypatch.setattr(watching, "UNCHANGED_BACKOFF_S", 0.0)
    assert await num_loads(folder, reason, num_looks=20) == UNCHANGED_TRIES


@pytest.mark.parametrize("reason", [Reason.GRAPH, Reason.FILE, Reason.CERTIFICATE])
async def test_what_lies_in_the_version_waits_for_another_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    """Also one that has other names, or another owner, than it had."""
    monkeypatch.setattr(watching, "UNCHANGED_BACKOFF_S", 0.0)
    assert await num_loads(folder, reason, num_looks=20) == 1
    assert await num_loads(folder, reason, num_looks=20, touched_at=5) == 2
