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
from contextlib import suppress
from typing import TypeVar

from service.engine.commands import Cancel, Command, Edit, Event, Mailbox, Submit, post
from service.engine.editing import EditableTranslation
from service.engine.observer import Observer
from service.engine.request import Decoding, Request, StepResult
from service.engine.runner import Runner
from service.engine.scheduler import Limits, Scheduler
from service.engine.watchdog import Heartbeat
from service.errors import (
    DeadlineExceededError,
    EncodeFailedError,
    EngineFailedError,
    QueueFullError,
    RequestFailedError,
    ServiceError,
    StepTimeoutError,
    StoppingError,
)
from service.model.errors import InterruptedRunError
from service.model.interrupt import current_interrupt

_Argument = TypeVar("_Argument")
PUSHBACK_MS = 1_000
"""After a step that was ended, in milliseconds."""


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
    ) -> None:
        """name is the thread's; on_failure is called on the event loop, once, if a fault ends the engine."""
        self._runner = runner
        self._scheduler = Scheduler(limits)
        self._observer = observer
        self._on_failure = on_failure
        self._ids = itertools.count(1)
        self._wake = threading.Condition()
        self._commands: list[Command] = []
        self._stopping = False
        self._failure: BaseException | None = None
        self._mailboxes: dict[int, Mailbox] = {}
        self._editable: set[int] = set()
        self._max_editable = limits.max_slots
        self.heartbeat = Heartbeat()
        """What the thread is at."""
        self.num_rows_promised = 0
        """Rows that the translations under way may come to take, waiting ones too."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; translations are delivered to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    @property
    def is_healthy(self) -> bool:
        """Whether the thread is there and its work not overdue."""
        return self._failure is None and self._thread.is_alive() and not self.heartbeat.interrupt.is_set

    @property
    def is_gone(self) -> bool:
        """Whether the thread, once started, has ended without a reason."""
        has_reason = self._loop is None or self._stopping or self._failure is not None
        return not has_reason and not self._thread.is_alive()

    async def stop(self, *, timeout_s: float = 5.0) -> bool:
        """End the thread after its current step; translations that still run get StoppingError.

        False where the step has not ended in time, or does not end: the thread is then left behind.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join, timeout_s if self._failure is None else 0.0)
        return not self._thread.is_alive()

    def fail(self, error: BaseException) -> None:
        """End every request, now and from now on, for a fault that is not a request's. From any thread; the first fault
        counts."""
        with self._wake:
            if self._failure is not None:
                return
            self._failure = error
            self._wake.notify()
        self._end_all(EngineFailedError("the model's engine has failed", pushback_ms=PUSHBACK_MS))
        self._on_loop(self._on_failure, error)

    def translate(
        self,
        source_ids: tuple[int, ...],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        include_attention: bool = False,
        seed: int | None = None,
        streamed: bool = True,
    ) -> AsyncGenerator[StepResult, None]:
        """Each step of one translation as it is made, or the last one alone where it is not streamed; closing the
        iterator frees its rows before the next step.

        deadline is on the clock of `time.monotonic`. Raises QueueFullError, DeadlineExceededError, EncodeFailedError,
        StoppingError or EngineFailedError.
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
            )
        )

    def translate_editable(
        self,
        source_ids: tuple[int, ...],
        decoding: Decoding,
        *,
        include_attention: bool = False,
        seed: int | None = None,
    ) -> EditableTranslation:
        """As `translate`, for a translation of one row that goes on after every edit of its prefix."""
        assert decoding.num_rows == 1
        request = Request(
            next(self._ids), source_ids, decoding, include_attention=include_attention, seed=seed, editable=True
        )
        return EditableTranslation(self._results(request), lambda prefix: self._command(Edit(request, prefix)))

    async def _results(self, request: Request) -> AsyncGenerator[StepResult, None]:
        mailbox: Mailbox = asyncio.Queue()
        self._command(Submit(request, mailbox))
        self.num_rows_promised += request.decoding.num_rows
        ended = False
        try:
            while not ended:
                event = await mailbox.get()
                if isinstance(event, ServiceError):
                    ended = True
                    raise type(event)(*event.args, pushback_ms=event.pushback_ms)
                ended = event.is_last and not request.editable
                yield event
        finally:
            self.num_rows_promised -= request.decoding.num_rows
            if not ended:
                self._command(Cancel(request.request_id))

    def _command(self, command: Command) -> None:
        with self._wake:
            if not isinstance(command, Cancel):
                self._refuse_if_ended()
            self._commands.append(command)
            self._wake.notify()

    def _refuse_if_ended(self) -> None:
        if self._failure is not None:
            raise EngineFailedError("the model's engine has failed", pushback_ms=PUSHBACK_MS)
        if self._stopping:
            raise StoppingError("the server is stopping")

    def _main(self) -> None:
        current_interrupt.set(self.heartbeat.interrupt)
        try:
            while not self._has_ended:
                self._wait()
                try:
                    self._obey()
                    self._expire_and_join()
                    self._step()
                except InterruptedRunError:
                    self._end_interrupted()
            if self._failure is None:
                self._end_all(StoppingError("the server is stopping"))
        except BaseException as error:
            self.fail(error)

    @property
    def _has_ended(self) -> bool:
        return self._stopping or self._failure is not None

    def _wait(self) -> None:
        with self._wake:
            while not (self._commands or self._has_ended or self._scheduler.has_work):
                self.heartbeat.rest()
                self._wake.wait()
        self.heartbeat.beat()

    def _obey(self) -> None:
        """Take the commands. Every mailbox is known before anything is done for its request, and forgotten only with
        its last event, so that whatever fails no request waits for ever."""
        with self._wake:
            commands, self._commands = self._commands, []
        cancelled = []
        early: list[Command] = []
        for command in commands:
            if isinstance(command, Submit):
                self._mailboxes[command.request.request_id] = command.mailbox
        for command in commands:
            if isinstance(command, Cancel):
                cancelled.append(command.request_id)
                self._scheduler.cancel(command.request_id)
                self._mailboxes.pop(command.request_id, None)
                self._editable.discard(command.request_id)
            elif isinstance(command, Submit):
                self._submit(command.request)
            elif command.request.request_id in self._mailboxes and not self._edit(command):
                early.append(command)
        self._runner.leave(cancelled)
        with self._wake:
            self._commands[:0] = early

    def _submit(self, request: Request) -> None:
        if request.editable:
            self._editable.add(request.request_id)
        if len(self._editable) > self._max_editable or not self._scheduler.submit(request):
            self._refuse(request.request_id, QueueFullError("too many requests wait; try again later"))

    def _edit(self, command: Edit) -> bool:
        """Obey an edit; False where the request has not begun, and the edit must wait."""
        request_id = command.request.request_id
        if not self._runner.is_known(request_id):
            return False
        try:
            is_running = self._runner.edit(request_id, command.prefix)
        except RequestFailedError as failure:
            self._fail_alone(request_id, failure)
            return True
        if not is_running and not self._scheduler.is_waiting(request_id):
            self._submit(command.request)
        return True

    def _expire_and_join(self) -> None:
        schedule = self._scheduler.schedule(time.monotonic())
        self._runner.leave(schedule.expired)
        for request_id in schedule.expired:
            self._refuse(request_id, DeadlineExceededError("the deadline passed before the translation ended"))
        if schedule.joining:
            self.heartbeat.beat()
            started = time.monotonic()
            for request_id, failure in self._runner.join(schedule.joining):
                self._fail_alone(request_id, failure)
            self._observer.joined(seconds=time.monotonic() - started)

    def _step(self) -> None:
        if num_rows := self._runner.num_rows:
            self.heartbeat.beat()
            started = time.monotonic()
            events: list[tuple[Mailbox, Event]] = []
            for request_id, result in self._runner.step():
                if isinstance(result, ServiceError):
                    self._fail_alone(request_id, result)
                    continue
                events.append((self._mailboxes[request_id], result))
                if result.is_last:
                    self._scheduler.finish(request_id)
                    if not self._runner.is_known(request_id):
                        del self._mailboxes[request_id]
            self._deliver(events)
            self._observer.step_made(num_rows=num_rows, seconds=time.monotonic() - started)
        self._observer.load_changed(num_running=self._scheduler.num_running, queue_length=self._scheduler.queue_length)

    def _fail_alone(self, request_id: int, failure: ServiceError) -> None:
        """A request that has no row any more has failed, and no other."""
        self._scheduler.cancel(request_id)
        cause = failure.__cause__ or failure
        if isinstance(failure, EncodeFailedError):
            self._observer.encode_failed(cause)
        else:
            self._observer.row_failed(cause)
        self._refuse(request_id, failure)

    def _end_interrupted(self) -> None:
        """Work was ended since it was overdue: so are all requests but those that have not begun."""
        self.heartbeat.beat()
        self._observer.step_terminated()
        self._runner.clear()
        for request_id in list(self._mailboxes):
            if not self._scheduler.is_waiting(request_id):
                self._scheduler.cancel(request_id)
                self._refuse(request_id, StepTimeoutError("a step took too long; try again", pushback_ms=PUSHBACK_MS))

    def _refuse(self, request_id: int, error: ServiceError) -> None:
        self._editable.discard(request_id)
        self._deliver([(self._mailboxes.pop(request_id), error)])

    def _end_all(self, error: ServiceError) -> None:
        with self._wake:
            commands, self._commands = self._commands, []
        mailboxes = [*self._mailboxes.values(), *(c.mailbox for c in commands if isinstance(c, Submit))]
        self._mailboxes.clear()
        self._deliver([(mailbox, error) for mailbox in mailboxes])
        self._observer.load_changed(num_running=0, queue_length=0)

    def _deliver(self, events: list[tuple[Mailbox, Event]]) -> None:
        if events:
            self._on_loop(post, events)

    def _on_loop(self, call: Callable[[_Argument], None], argument: _Argument) -> None:
        """Nothing, where the loop has ended and left this thread behind."""
        assert self._loop is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, argument)
