"""The engines of one model: each with rows and a thread of its own, all over the same session.

Two threads that each run a step of half the rows use two cores better than one step whose operators are divided among
two threads. A request stays with the engine that it is given to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from service.engine.editing import EditableTranslation
from service.engine.engine import Engine
from service.engine.mailbox import UNLIMITED, Place
from service.engine.request import Decoding, StepResult
from service.engine.watchdog import Watchdog


class EnginePool:
    """Gives each request to the healthy engine with the fewest rows promised. `start`, `stop` and translations belong
    to one event loop."""

    def __init__(self, engines: Sequence[Engine], *, step_timeout_s: float = 10.0) -> None:
        """step_timeout_s: what a step or an encode may take before it is ended."""
        self._engines = tuple(engines)
        self._watchdog = Watchdog(self._engines, timeout_s=step_timeout_s)

    @property
    def is_healthy(self) -> bool:
        """Whether every engine's thread is there, with nothing overdue, and looked after. From any thread."""
        return self._watchdog.is_alive and all(engine.is_healthy for engine in self._engines)

    def start(self) -> None:
        """Start every engine's thread."""
        for engine in self._engines:
            engine.start()
        self._watchdog.start()

    async def stop(self) -> bool:
        """Stop every engine, as `Engine.stop`; False where a step has not ended in time."""
        has_stopped = all(await asyncio.gather(*(engine.stop() for engine in self._engines)))
        self._watchdog.stop()
        return has_stopped

    def translate(
        self,
        source_ids: tuple[int, ...],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        include_attention: bool = False,
        seed: int | None = None,
        streamed: bool = True,
        place: Place = UNLIMITED,
    ) -> AsyncGenerator[StepResult, None]:
        """As `Engine.translate`."""
        return self._least_loaded().translate(
            source_ids,
            decoding,
            deadline=deadline,
            include_attention=include_attention,
            seed=seed,
            streamed=streamed,
            place=place,
        )

    def translate_editable(
        self,
        source_ids: tuple[int, ...],
        decoding: Decoding,
        *,
        include_attention: bool = False,
        seed: int | None = None,
        place: Place = UNLIMITED,
    ) -> EditableTranslation:
        """As `Engine.translate_editable`."""
        return self._least_loaded().translate_editable(
            source_ids, decoding, include_attention=include_attention, seed=seed, place=place
        )

    def _least_loaded(self) -> Engine:
        return min(self._engines, key=lambda engine: (not engine.is_healthy, engine.num_rows_promised))
