"""Model management as a server has it: what its settings say of manager and watcher, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog

from service.errors import ServiceError
from service.loading import OnFailure, load_model
from service.management.errors import RefusedError
from service.management.manager import ModelManager
from service.management.metrics import LoadMetrics
from service.management.servicer import ManagementServicer, find_stored
from service.management.trial import try_version
from service.management.watcher import Watcher
from service.metrics import Metrics
from service.model.errors import BundleError
from service.model.store import StoredVersion, list_versions
from service.policies import parse_policies
from service.registry import LoadedModel, Registry
from service.settings import Settings, parse_labels

_log = structlog.get_logger()


class Management:
    """`start` and `stop` once each, on the same event loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        registry: Registry,
        *,
        on_failure: Callable[[str], OnFailure],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        """on_failure makes what is called when an engine of a model fails; on_change is called after the
        versions that serve have changed."""
        self._settings = settings
        self._metrics = metrics
        self._on_failure = on_failure
        self._manager = ModelManager(
            registry,
            partial(try_version, settings=settings),
            self._load,
            LoadMetrics(metrics.registry),
            on_change,
            parse_labels(settings.initial_labels),
            on_unloaded=metrics.forget,
        )
        self._policies = parse_policies(settings.version_policy)
        self._watcher = Watcher(
            settings.model_store, settings.watch_interval_s, self._policies, self._manager, registry
        )
        self._watching: asyncio.Task[None] | None = None
        self._registry = registry

    async def start(self) -> None:
        """Load what is to serve from the start; raises ModelError in the mode `none`, where none may be damaged, and
        where there is no key to trust."""
        if self._settings.trusted_keys is not None:
            from service.model.signature import read_trusted_keys  # its library is slow to load

            read_trusted_keys(self._settings.trusted_keys)
        match self._settings.model_control:
            case "none":
                await self._load_all()
            case "watch":
                await self._watcher.look()
                self._watching = asyncio.create_task(self._watcher.run())
            case "explicit":
                models = [model.partition(":")[::2] for model in self._settings.initial_models]
                await asyncio.gather(*(self._load_initial(*model) for model in models))

    async def stop(self) -> None:
        """End the engines of all versions, and whatever is under way."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._manager.stop()

    def servicer(self) -> ManagementServicer:
        return ManagementServicer(
            self._manager,
            self._registry,
            self._settings.model_store,
            on_demand=self._settings.model_control == "explicit",
        )

    async def _load_all(self) -> None:
        store = self._settings.model_store
        listed = list_versions(store)
        if not listed:
            raise BundleError(f"the model store {store} has no model")
        for stored in listed:
            if stored.version in self._policies.choose(
                stored.name, [v.version for v in listed if v.name == stored.name]
            ):
                await self._manager.adopt(await asyncio.to_thread(self._load, stored))

    async def _load_initial(self, name: str, version: str) -> None:
        try:
            await self._manager.load(await find_stored(self._settings.model_store, name, int(version or 0)))
        except (RefusedError, ServiceError) as error:
            _log.error("an initial model is not served", model=name, particulars=str(error))

    def _load(self, version: StoredVersion, proved_sha256: str | None = None) -> LoadedModel:
        return load_model(
            version,
            self._settings,
            self._metrics,
            on_failure=self._on_failure(version.name),
            proved_sha256=proved_sha256,
        )
