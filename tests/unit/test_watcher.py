"""When a version that was refused is tried again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

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


class Serving(Refusing):
    """Serves every version."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    async def load(self, version: StoredVersion) -> Any:
        self.loaded.append(f"{version.name}:{version.version}")

    def forget(self, name: str, version: int) -> None:
        self.loaded.append(f"{name}:{version} forgotten")


async def test_a_model_that_cannot_be_read_is_left_alone_and_the_others_are_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def versions_of(store: Path, name: str) -> list[StoredVersion]:
        if name == "another":
            raise PermissionError("no")
        return real_versions_of(store, name)

    real_versions_of = watching.versions_of
    monkeypatch.setattr(watching, "versions_of", versions_of)
    store, manager = folder.parents[1], Serving()
    (store / "another").mkdir()
    watcher = Watcher(store, 0.0, parse_policies("all"), cast("ModelManager", manager), Registry())
    with capture_logs() as logs:
        await watcher.look()
        await watcher.look()
    assert set(manager.loaded) == {f"{NAME}:1"}
    (line,) = logs
    assert (line["log_level"], line["particulars"]) == ("error", "no")


async def test_a_version_that_cannot_be_read_is_refused_until_it_is_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of it is its folder's own status."""

    def scandir(_: Path) -> Any:
        raise PermissionError("no")

    monkeypatch.setattr(watching.os, "scandir", scandir)
    assert await num_loads(folder, Reason.FILE, num_looks=20) == 1
    folder.chmod(0o711)  # noqa: ASYNC240
    assert await num_loads(folder, Reason.FILE, num_looks=20) == 1
