"""A thread and its rows: schedule, run, deliver, once a step.

The asyncio side hands over commands and gets one call back for each step, not one for each token. This module
does not know gRPC, texts or onnxruntime.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Callable

from service.engine.commands import Cancel, Commands, Edit, Submit, Withdraw
from service.engine.cycle import PUSHBACK_MS, Cycle
from service.engine.editing import EditableTranslation
from service.engine.mailbox import UNLIMITED, Mailbox, Place
from service.engine.mailboxes import Mailboxes
from service.engine.niceness import be_nicer
from service.engine.observer import Observer
from service.engine.request import Decoding, Request, StepResult
from service.engine.row_limit import RowLimit
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.engine.watchdog import Heartbeat
from service.errors import EngineFailedError, ServiceError, StoppingError
from service.model.interrupt import current_interrupt

FAILED_STOP_S = 0.5
"""For the thread of an engine that has failed to end, in seconds: it may hang."""


class Engine:
    """Translates the requests of one model. `start` and `stop` belong to the event loop that translates."""

    def __init__(
        self,
        name: str,
        runner: Runner,
        limits: Limits,
        observer: Observer,
        *,
        on_failure: Callable[[BaseException], None],
        niceness: int = 0,
    ) -> None:
        """name is the thread's, and niceness how much nicer it is than the process's others; on_failure is called on
        the event loop, once, if a fault ends the engine."""
        self._observer = observer
        self._on_failure = on_failure
        self._niceness = niceness
        self._ids = itertools.count(1)
        self._commands = Commands()
        self._failing = threading.Lock()
        self._failure: BaseException | None = None
        self._mailboxes = Mailboxes()
        self.heartbeat = Heartbeat()
        """What the thread is at."""
        self.row_limit = RowLimit(limits.max_slots)
        """How many rows share a step."""
        self._cycle = Cycle(
            runner,
            limits,
            observer,
            commands=self._commands,
            mailboxes=self._mailboxes,
            heartbeat=self.heartbeat,
            row_limit=self.row_limit,
        )
        self.num_rows_promised = 0
        """Rows that the translations under way may come to take, waiting ones too."""
        self._has_started = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; translations are delivered to the running event loop."""
        self._mailboxes.open()
        self._thread.start()
        self._has_started = True

    @property
    def is_healthy(self) -> bool:
        """Whether the thread is there and its work not overdue."""
        return self._failure is None and self._thread.is_alive() and not self.heartbeat.interrupt.is_set

    @property
    def is_gone(self) -> bool:
        """Whether the thread, once started, has ended without a reason."""
        return self._has_started and not self._commands.are_closed and not self._thread.is_alive()

    async def stop(self, *, timeout_s: float = 5.0) -> bool:
        """End the thread after its current step; translations that still run get StoppingError.

        False where the step has not ended in time, or does not end: the thread is then left behind.
        """
        if not self._commands.are_closed:
            self._commands.close(StoppingError("the server is stopping"))
        await asyncio.to_thread(self._thread.join, timeout_s if self._failure is None else FAILED_STOP_S)
        return not self._thread.is_alive()

    def fail(self, error: BaseException) -> None:
        """End every request, now and from now on, for a fault that is not a request's. From any thread; the first fault
        counts."""
        with self._failing:
            if self._failure is not None:
                return
            self._failure = error
        self._end_all(EngineFailedError("the model's engine has failed", pushback_ms=PUSHBACK_MS))
        self._mailboxes.on_loop(self._on_failure, error)

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
        """Each step of one translation as it is made, or the last one alone where it is not streamed; closing the
        iterator frees its rows before the next step.

        deadline is on the clock of `time.monotonic`; place is what the request was admitted with. Raises what the
        place raises, and every error of a request that has begun.
        """
        return self._results(
            Request(
                next(self._ids),
                source_ids,
                decoding,
                deadline,
                include_attention=include_attention,
                seed=seed,
                streamed=streamed,
                priority=place.priority,
                client=place.client,
                submitted_at=time.monotonic(),
            ),
            place,
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
        """As `translate`, for a translation of one row that goes on after every edit of its prefix."""
        assert decoding.num_rows == 1
        request = Request(
            next(self._ids),
            source_ids,
            decoding,
            include_attention=include_attention,
            seed=seed,
            editable=True,
            priority=place.priority,
            client=place.client,
            submitted_at=time.monotonic(),
        )
        results = self._results(request, place)
        return EditableTranslation(results, lambda prefix: self._commands.add(Edit(request, prefix)))

    async def _results(self, request: Request, place: Place) -> AsyncGenerator[StepResult, None]:
        mailbox = Mailbox(place)
        place.submitted(lambda error: self._commands.add(Withdraw(request.request_id, error)))
        self._commands.add(Submit(request, mailbox))
        self.num_rows_promised += request.decoding.num_rows
        ended = False
        try:
            while not ended:
                result = await mailbox.get()
                ended = result.is_last and not request.editable
                if ended:
                    place.served(result.made_at - result.joined_at)
                yield result
        except ServiceError:
            ended = True
            raise
        finally:
            self.num_rows_promised -= request.decoding.num_rows
            place.left()
            if not ended:
                self._commands.add(Cancel(request.request_id))

    def _main(self) -> None:
        be_nicer(self._niceness)
        current_interrupt.set(self.heartbeat.interrupt)
        try:
            while not self._commands.are_closed:
                self._commands.wait(lambda: self._cycle.has_work, self.heartbeat.rest)
                self.heartbeat.rest()
                started = time.monotonic()
                self._mailboxes.wait_for_loop()
                self.heartbeat.beat()
                if num_rows := self._cycle.turn():
                    now = time.monotonic()
                    self.row_limit.learn(num_rows, now - started, now=now)
            if self._failure is None:
                self._end_all(StoppingError("the server is stopping"))
        except BaseException as error:
            self.fail(error)

    def _end_all(self, error: ServiceError) -> None:
        self._commands.close(error)
        self._commands.take(self._cycle.know)
        self._mailboxes.end_all(error)
        self._observer.load_changed(num_rows=0, queue_length=0, queue_tokens=0)
