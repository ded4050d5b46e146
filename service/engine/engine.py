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
from dataclasses import replace
from typing import Protocol

from service.engine.commands import Cancel, Command, Edit, Submit, Withdraw
from service.engine.mailbox import JOINED, UNLIMITED, Delivery, Event, Mailbox, Place
from service.engine.request import Decoding, Request, StepResult
from service.engine.runner import Runner
from service.engine.scheduler import Limits, Scheduler
from service.errors import (
    DeadlineExceededError,
    EncodeFailedError,
    EngineFailedError,
    QueueFullError,
    ServiceError,
    StoppingError,
)


class Observer(Protocol):
    """Told about each encode and each step, on the engine's thread; times in seconds."""

    def joined(self, *, seconds: float) -> None: ...

    def step_made(self, *, num_rows: int, seconds: float) -> None: ...

    def load_changed(self, *, num_running: int, queue_length: int) -> None: ...

    def encode_failed(self, error: Exception) -> None: ...


class EditableTranslation:
    """One translation whose beginning can be changed while it is made and after it has ended."""

    def __init__(self, results: AsyncGenerator[StepResult, None], edit: Callable[[tuple[int, ...]], None]) -> None:
        self.results = results
        """Each step as it is made, with the number of the edit that it belongs to. Closing it frees all."""
        self.edit = edit
        """Give the target another prefix; raises EngineFailedError and StoppingError."""


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
        """name is the thread's; on_failure is called on the event loop if a fault ends the thread."""
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
        self.num_rows_promised = 0
        """Rows that the translations under way may come to take, waiting ones too."""
        self._delivery: Delivery | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; translations are delivered to the running event loop."""
        self._delivery = Delivery(asyncio.get_running_loop())
        self._thread.start()

    async def stop(self, *, timeout_s: float = 5.0) -> bool:
        """End the thread after its current step; translations that still run get StoppingError.

        False where the step has not ended in time: the thread is then left behind.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join, timeout_s)
        return not self._thread.is_alive()

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
        place raises, QueueFullError, DeadlineExceededError, EncodeFailedError, StoppingError or EngineFailedError.
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
        return EditableTranslation(self._results(request, place), lambda prefix: self._command(Edit(request, prefix)))

    async def _results(self, request: Request, place: Place) -> AsyncGenerator[StepResult, None]:
        mailbox = Mailbox(place)
        place.submitted(lambda error: self._command(Withdraw(request.request_id, error)))
        self._command(Submit(request, mailbox))
        self.num_rows_promised += request.decoding.num_rows
        ended = False
        try:
            while not ended:
                result = await mailbox.get()
                ended = result.is_last and not request.editable
                yield result
        except ServiceError:
            ended = True
            raise
        finally:
            self.num_rows_promised -= request.decoding.num_rows
            place.left()
            if not ended:
                self._command(Cancel(request.request_id))

    def _command(self, command: Command) -> None:
        with self._wake:
            if isinstance(command, Submit | Edit):
                self._refuse_if_ended()
            self._commands.append(command)
            self._wake.notify()

    def _refuse_if_ended(self) -> None:
        if self._failure is not None:
            raise EngineFailedError("the model's engine has failed")
        if self._stopping:
            raise StoppingError("the server is stopping")

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._wait()
                self._obey()
                self._expire_and_join()
                self._step()
            self._end_all(StoppingError("the server is stopping"))
        except Exception as error:
            with self._wake:
                self._failure = error
            self._end_all(EngineFailedError("the model's engine has failed"))
            assert self._delivery is not None
            self._delivery.loop.call_soon_threadsafe(self._on_failure, error)

    def _wait(self) -> None:
        with self._wake:
            while not (self._commands or self._stopping or self._scheduler.has_work):
                self._wake.wait()

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
            elif isinstance(command, Withdraw):
                self._withdraw(command)
            elif command.request.request_id in self._mailboxes and not self._edit(command):
                early.append(command)
        self._runner.leave(cancelled)
        with self._wake:
            self._commands[:0] = early

    def _submit(self, request: Request) -> None:
        if request.editable:
            self._editable.add(request.request_id)
        if len(self._editable) > self._max_editable:
            self._refuse(request.request_id, QueueFullError("too many interactive translations are open"))
        else:
            self._scheduler.submit(request)

    def _withdraw(self, command: Withdraw) -> None:
        if self._scheduler.is_waiting(command.request_id):
            self._scheduler.cancel(command.request_id)
            self._refuse(command.request_id, command.error)

    def _edit(self, command: Edit) -> bool:
        """Obey an edit; False where the request has not begun, and the edit must wait."""
        request_id = command.request.request_id
        if not self._runner.is_known(request_id):
            return False
        if not self._runner.edit(request_id, command.prefix) and not self._scheduler.is_waiting(request_id):
            self._submit(replace(command.request, submitted_at=time.monotonic()))
        return True

    def _expire_and_join(self) -> None:
        schedule = self._scheduler.schedule(time.monotonic())
        self._runner.leave(schedule.expired)
        for request_id in schedule.expired:
            self._refuse(request_id, DeadlineExceededError("the deadline passed before the translation ended"))
        if schedule.joining:
            self._deliver([(self._mailboxes[request.request_id], JOINED) for request in schedule.joining])
            started = time.monotonic()
            for request_id, error in self._runner.join(schedule.joining):
                self._scheduler.cancel(request_id)
                self._observer.encode_failed(error)
                self._refuse(request_id, EncodeFailedError("the source could not be encoded"))
            self._observer.joined(seconds=time.monotonic() - started)

    def _step(self) -> None:
        if num_rows := self._runner.num_rows:
            started = time.monotonic()
            results = self._runner.step()
            self._deliver([(self._mailboxes[request_id], result) for request_id, result in results])
            for request_id, result in results:
                if result.is_last:
                    self._scheduler.finish(request_id)
                    if not self._runner.is_known(request_id):
                        del self._mailboxes[request_id]
            self._observer.step_made(num_rows=num_rows, seconds=time.monotonic() - started)
        self._observer.load_changed(num_running=self._scheduler.num_running, queue_length=self._scheduler.queue_length)

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
            assert self._delivery is not None
            self._delivery.deliver(events)
