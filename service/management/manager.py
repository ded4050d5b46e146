"""Loads, unloads and labels versions while others serve: the state of every version. It does not know why, nor gRPC.

A version is tried out in a process of its own, loaded off the event loop, and only then found by requests. One that is
taken away is drained: its engines and sessions end after the last call that holds it, off the event loop.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from service.errors import ModelNotFoundError, NotPossibleError
from service.heap import trim
from service.management.errors import RefusedError
from service.management.metrics import LOADED, LoadMetrics
from service.model.errors import ModelError, Reason
from service.model.store import StoredVersion
from service.registry import LoadedModel, Registry

MAX_TRIALS = 2
"""Versions that are tried out at a time, so that one whose trial hangs holds up no other."""
Key = tuple[str, int]
Trial = Callable[[StoredVersion], Awaitable[str]]
"""The SHA-256 of a good version's manifest; raises RefusedError."""
Load = Callable[[StoredVersion, str], LoadedModel]
"""Loads a version that was tried out, on any thread; raises ModelError."""

_log = structlog.get_logger()


class VersionState(StrEnum):
    """What becomes of a version; see management.proto."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    UNLOADED = "unloaded"


@dataclass(frozen=True)
class VersionStatus:
    """What is known of one version."""

    name: str
    version: int
    state: VersionState
    reason: Reason | None = None
    labels: tuple[str, ...] = ()


class ModelManager:
    """Owns the state of every version. It belongs to one event loop."""

    def __init__(
        self,
        registry: Registry,
        trial: Trial,
        load: Load,
        metrics: LoadMetrics,
        on_change: Callable[[], Awaitable[None]],
        labels: Mapping[Key, Sequence[str]],
        *,
        on_unloaded: Callable[[str, int], object],
    ) -> None:
        """on_change is called after versions that serve have changed, on_unloaded with the name and number of one that
        serves nobody any more. A version gets its labels when it serves for the first time."""
        self._initial_labels = dict(labels)
        self._registry = registry
        self._trial = trial
        self._load_model = load
        self._metrics = metrics
        self._on_change = on_change
        self._on_unloaded = on_unloaded
        self._states: dict[Key, VersionStatus] = {}
        self._loads: dict[Key, asyncio.Task[None]] = {}
        self._retirements: dict[asyncio.Task[None], LoadedModel] = {}
        self._draining: Counter[Key] = Counter()
        self._trials = asyncio.Semaphore(MAX_TRIALS)
        self._thread = ThreadPoolExecutor(1, "models")
        """Loads and frees every version, so that each takes the memory that the one before it gave back."""

    async def load(self, version: StoredVersion) -> VersionStatus:
        """Once the version serves; raises RefusedError. It goes on even if nobody waits any more."""
        key = version.name, version.version
        task = self._loads.get(key)
        if task is None and version.version not in self._registry.versions(version.name):
            task = self._loads[key] = asyncio.create_task(self._load(version))
            task.add_done_callback(lambda ended: self._load_ended(key, ended))
            self._expect(version.name)
        if task is not None:
            await asyncio.shield(task)
        return self.status(*key)

    async def adopt(self, model: LoadedModel) -> None:
        """Serve a version that was loaded already."""
        key = model.manifest.name, model.manifest.version
        model.engine.start()
        self._registry.add(model)
        for label in self._initial_labels.pop(key, ()):
            self._registry.label(model.manifest.name, label, model.manifest.version)
        self._states[key] = VersionStatus(*key, VersionState.READY)
        self._metrics.load_ended(LOADED)
        await self._on_change()

    async def unload(self, name: str, version: int) -> VersionStatus:
        """Take a version away from new calls at once; raises ModelNotFoundError, or NotPossibleError where it has a
        label."""
        if version not in self._registry.versions(name):
            raise ModelNotFoundError("this version of the model is not loaded")
        if self.status(name, version).labels:
            raise NotPossibleError("the version has a label; give the label to another version first")
        self._states[name, version] = VersionStatus(name, version, VersionState.DRAINING)
        self._draining[name, version] += 1
        model = self._registry.remove(name, version)
        task = asyncio.create_task(self._retire(model))
        self._retirements[task] = model
        task.add_done_callback(self._retired)
        del model
        await self._on_change()
        return self.status(name, version)

    def forget(self, name: str, version: int) -> None:
        """Know a version no longer that neither serves nor may come to serve."""
        if (known := self._states.get((name, version))) and known.state in (VersionState.FAILED, VersionState.UNLOADED):
            del self._states[name, version]

    def status(self, name: str, version: int) -> VersionStatus:
        """Of a version that was to serve at some time."""
        labels = sorted(label for label, number in self._registry.labels(name).items() if number == version)
        return replace(self._states[name, version], labels=tuple(labels))

    def statuses(self) -> list[VersionStatus]:
        """By name, then by version."""
        return [self.status(*key) for key in sorted(self._states)]

    async def stop(self) -> None:
        """End whatever is under way, and the engines of all versions."""
        tasks = [*self._loads.values(), *self._retirements]
        models = [*self._registry.all(), *self._retirements.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for model in models:
            await _stop_engine(model)
        self._thread.shutdown(wait=False)

    async def _load(self, version: StoredVersion) -> None:
        key = version.name, version.version
        self._states[key] = VersionStatus(*key, VersionState.LOADING)
        try:
            async with self._trials:
                proved = await self._trial(version)
            loop = asyncio.get_running_loop()
            model = await loop.run_in_executor(self._thread, self._load_model, version, proved)
        except asyncio.CancelledError:
            self._states[key] = VersionStatus(*key, VersionState.UNLOADED)
            raise
        except Exception as error:
            refused = _refusal(error)
            self._states[key] = VersionStatus(*key, VersionState.FAILED, refused.reason)
            self._metrics.load_ended(refused.reason)
            _log.error(
                "version refused",
                model=version.name,
                version=version.version,
                reason=refused.reason,
                particulars=str(refused),
            )
            raise refused from (None if refused is error else error)
        await self.adopt(model)

    async def _retire(self, model: LoadedModel) -> None:
        name, version = model.manifest.name, model.manifest.version
        await self._registry.until_free(model)
        await _stop_engine(model)
        _log.info("model unloaded", model=name, version=version)
        self._draining[name, version] -= 1
        if self._draining[name, version]:
            return  # it was loaded again and taken away again, and calls hold that one
        if version not in self._registry.versions(name):
            self._on_unloaded(name, version)
        if (known := self._states.get((name, version))) and known.state is VersionState.DRAINING:
            self._states[name, version] = replace(known, state=VersionState.UNLOADED)

    def _retired(self, task: asyncio.Task[None]) -> None:
        """Let the last reference to the version go on another thread: its sessions take a while to end."""
        last = [self._retirements.pop(task)]
        if not task.cancelled():
            asyncio.get_running_loop().run_in_executor(self._thread, _free, last)

    def _load_ended(self, key: Key, task: asyncio.Task[None]) -> None:
        del self._loads[key]
        self._expect(key[0])
        if not task.cancelled():
            task.exception()  # is told of in any case, by the state and by the log

    def _expect(self, name: str) -> None:
        self._registry.expect(name, {version for known, version in self._loads if known == name})


async def _stop_engine(model: LoadedModel) -> None:
    if not await model.engine.stop():
        _log.error("a decoder step does not end", model=model.manifest.name, version=model.manifest.version)


def _free(last: list[LoadedModel]) -> None:
    last.clear()
    gc.collect()  # what callers were told holds frames, and these each other
    trim()


def _refusal(error: Exception) -> RefusedError:
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, ModelError):
        return RefusedError(error.reason, str(error))
    if isinstance(error, MemoryError):
        return RefusedError(Reason.MEMORY, "the server has no memory for it")
    return RefusedError(Reason.INTERNAL, f"{type(error).__name__}: {error}")
