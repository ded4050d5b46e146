"""Follows a model store: what is published is loaded, what is taken away is unloaded, as the policies say.

A version that is refused counts as if it were not there until its folder changes; where the reason may lie elsewhere,
it is tried a few times more. Versions are taken away only once all that take their place serve. A version with a label
is kept.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from service.management.errors import RefusedError
from service.management.manager import Key, ModelManager
from service.model.errors import ModelError, Reason
from service.model.store import StoredVersion, list_models, versions_of
from service.policies import Policies
from service.registry import Registry

LONGEST_BACKOFF_S = 300.0
UNCHANGED_BACKOFF_S = 30.0
"""Before a version that is as it was is tried for the second time; twice as long each time."""
UNCHANGED_TRIES = 5
MAY_PASS = frozenset((Reason.MEMORY, Reason.TIMEOUT, Reason.CRASH, Reason.INTERNAL, Reason.SIGNATURE))
"""Reasons that may lie in what else runs, or in whom is trusted."""
Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Name, inode, mode, size and time of the last change, of content, owner or names, of everything in a folder."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class _Found:
    stored: StoredVersion
    fingerprint: Fingerprint


@dataclass(frozen=True)
class _Failure:
    """What was refused, how often in a row, and from when on it may be tried again, if it is something else by then or
    as it is."""

    fingerprint: Fingerprint
    count: int
    retry_at: float
    retry_unchanged_at: float


class Watcher:
    """Looks at the store again and again."""

    def __init__(
        self, store: Path, interval_s: float, policies: Policies, manager: ModelManager, registry: Registry
    ) -> None:
        self._store = store
        self._interval_s = interval_s
        self._policies = policies
        self._manager = manager
        self._registry = registry
        self._failures: dict[Key, _Failure] = {}
        self._trouble = ""
        self._following: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                try:
                    await self._look()
                except Exception:
                    _log.exception("a look at the model store failed")
        finally:
            for task in self._following.values():
                task.cancel()

    async def look(self) -> None:
        """Bring the versions that serve in line with the store. Where the store cannot be read, or has nothing in it,
        all stays as it is; where a model's folder cannot, that model."""
        await self._look()
        await asyncio.gather(*self._following.values())

    async def _look(self) -> None:
        """Each model is followed by itself: one whose versions take their time to be tried holds up no other, nor the
        next look."""
        try:
            found, unreadable = await asyncio.to_thread(_scan, self._store)
        except (ModelError, OSError) as error:
            self._complain(str(error))
            return
        served = {model.manifest.name for model in self._registry.all()}
        if served and not found and not unreadable:
            self._complain(f"the model store {self._store} has no version any more")
            return
        self._complain("; ".join(unreadable.values()))
        for status in self._manager.statuses():
            if status.name not in unreadable and status.version not in found.get(status.name, {}):
                self._failures.pop((status.name, status.version), None)
                self._manager.forget(status.name, status.version)
        for name in sorted((found.keys() | served) - unreadable.keys() - self._following.keys()):
            self._following[name] = asyncio.create_task(self._follow(name, found.get(name, {})))
            self._following[name].add_done_callback(partial(self._followed, name))

    async def _follow(self, name: str, found: Mapping[int, _Found]) -> None:
        while True:
            wanted = self._policies.choose(name, [number for number, one in found.items() if self._may_serve(one)])
            missing = sorted(wanted - self._registry.versions(name), reverse=True)
            if all(await asyncio.gather(*(self._load(found[number]) for number in missing))):
                break
        if not wanted and found:
            return
        labelled = set(self._registry.labels(name).values())
        for number in sorted(self._registry.versions(name) - wanted - labelled):
            await self._manager.unload(name, number)

    def _followed(self, name: str, task: asyncio.Task[None]) -> None:
        del self._following[name]
        if not task.cancelled() and (error := task.exception()):
            _log.error("a model cannot be followed", model=name, exc_info=error)

    def _may_serve(self, one: _Found) -> bool:
        failure = self._failures.get((one.stored.name, one.stored.version))
        if failure is None:
            return True
        is_same = failure.fingerprint == one.fingerprint
        return time.monotonic() >= (failure.retry_unchanged_at if is_same else failure.retry_at)

    async def _load(self, one: _Found) -> bool:
        key = one.stored.name, one.stored.version
        try:
            await self._manager.load(one.stored)
        except RefusedError as refused:
            count = self._failures[key].count + 1 if key in self._failures else 1
            now = time.monotonic()
            may_pass = refused.reason in MAY_PASS and count < UNCHANGED_TRIES
            self._failures[key] = _Failure(
                one.fingerprint,
                count,
                retry_at=now + _backoff_s(self._interval_s, count),
                retry_unchanged_at=now + _backoff_s(UNCHANGED_BACKOFF_S, count) if may_pass else math.inf,
            )
            return False
        self._failures.pop(key, None)
        return True

    def _complain(self, trouble: str) -> None:
        """Once, for as long as it stays the same; of no trouble never."""
        if trouble and trouble != self._trouble:
            _log.error("the model store cannot be followed; what serves goes on serving", particulars=trouble)
        self._trouble = trouble


def _backoff_s(first_s: float, count: int) -> float:
    return min(first_s * 2.0 ** min(count - 1, 16), LONGEST_BACKOFF_S)


def _scan(store: Path) -> tuple[dict[str, dict[int, _Found]], dict[str, str]]:
    """The versions of each model that has any, by number, and what is wrong with the models that cannot be read."""
    found: dict[str, dict[int, _Found]] = {}
    unreadable: dict[str, str] = {}
    for name in list_models(store):
        try:
            versions = {
                stored.version: _Found(stored, _fingerprint(stored.folder)) for stored in versions_of(store, name)
            }
        except OSError as error:
            unreadable[name] = str(error)
        else:
            found |= {name: versions} if versions else {}
    return found, unreadable


def _fingerprint(folder: Path) -> Fingerprint:
    """Of a folder that may not be read, its own."""
    try:
        with os.scandir(folder) as entries:
            statuses = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    except PermissionError:
        statuses = [("", folder.stat())]
    return tuple((name, s.st_ino, s.st_mode, s.st_size, s.st_ctime_ns) for name, s in statuses)
