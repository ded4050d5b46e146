"""One turn of an engine: obey commands, join, step, deliver. Belongs to the engine's thread; it knows no event loop."""

from __future__ import annotations

import time
from dataclasses import replace

from service.engine.commands import Cancel, Command, Commands, Edit, Submit, Withdraw
from service.engine.mailbox import JOINED, Event
from service.engine.mailboxes import Mailboxes
from service.engine.observer import Observer
from service.engine.request import Request
from service.engine.row_limit import RowLimit
from service.engine.runner import Runner
from service.engine.scheduler import Limits, Scheduler
from service.engine.watchdog import Heartbeat
from service.errors import (
    DeadlineExceededError,
    EncodeFailedError,
    QueueFullError,
    RequestFailedError,
    ServiceError,
    StepTimeoutError,
)
from service.model.errors import InterruptedRunError

PUSHBACK_MS = 1_000
"""After a step that was ended, in milliseconds."""


class Cycle:
    """Schedule, run, deliver, as often as `turn` is called."""

    def __init__(
        self,
        runner: Runner,
        limits: Limits,
        observer: Observer,
        *,
        commands: Commands,
        mailboxes: Mailboxes,
        heartbeat: Heartbeat,
        row_limit: RowLimit,
    ) -> None:
        self._runner = runner
        self._scheduler = Scheduler(limits, row_limit)
        self._observer = observer
        self._commands = commands
        self._mailboxes = mailboxes
        self._heartbeat = heartbeat
        self._editable: set[int] = set()
        self._max_editable = limits.max_slots

    @property
    def has_work(self) -> bool:
        """Whether any request runs or waits."""
        return self._scheduler.has_work

    def turn(self) -> int:
        """Take the commands and make one step: of how many rows. Raises what goes wrong for all requests."""
        try:
            self._obey()
            self._expire_and_join()
            return self._step()
        except InterruptedRunError:
            self._end_interrupted()
            return 0

    def know(self, command: Submit) -> None:
        """Of a request that nothing is done for yet: whom it tells."""
        self._mailboxes.add(command.request.request_id, command.mailbox)

    def _obey(self) -> None:
        """Take the commands. Every mailbox is known before anything is done for its request, and forgotten only with
        its last event, so that whatever fails no request waits for ever."""
        commands = self._commands.take(self.know)
        cancelled = [command.request_id for command in commands if isinstance(command, Cancel)]
        for request_id in cancelled:
            self._mailboxes.remove(request_id)
            self._scheduler.cancel(request_id)
            self._editable.discard(request_id)
        self._runner.leave(cancelled)
        early: list[Command] = []
        for command in commands:
            if isinstance(command, Cancel):
                continue
            if isinstance(command, Withdraw):
                self._withdraw(command)
            elif command.request.request_id not in self._mailboxes:
                continue
            elif isinstance(command, Submit):
                self._submit(command.request)
            elif not self._edit(command):
                early.append(command)
        self._commands.put_back(early)

    def _submit(self, request: Request) -> None:
        if request.editable:
            self._editable.add(request.request_id)
        if len(self._editable) > self._max_editable:
            self._refuse(
                request.request_id,
                QueueFullError("too many interactive translations are open; try again later", pushback_ms=PUSHBACK_MS),
            )
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
        try:
            is_running = self._runner.edit(request_id, command.prefix)
        except RequestFailedError as failure:
            self._fail_alone(request_id, failure)
            return True
        if not is_running and not self._scheduler.is_waiting(request_id):
            self._submit(replace(command.request, submitted_at=time.monotonic()))
        return True

    def _expire_and_join(self) -> None:
        schedule = self._scheduler.schedule(time.monotonic())
        self._runner.leave(schedule.expired)
        for request_id in schedule.expired:
            self._refuse(request_id, DeadlineExceededError("the deadline passed before the translation ended"))
        if schedule.joining:
            self._mailboxes.deliver([(request.request_id, JOINED) for request in schedule.joining])
            self._heartbeat.beat()
            started = time.monotonic()
            for request_id, failure in self._runner.join(schedule.joining):
                self._fail_alone(request_id, failure)
            self._observer.joined(num_requests=len(schedule.joining), seconds=time.monotonic() - started)

    def _step(self) -> int:
        if num_rows := self._runner.num_rows:
            self._heartbeat.beat()
            started = time.monotonic()
            events: list[tuple[int, Event]] = []
            ended: list[int] = []
            for request_id, result in self._runner.step():
                if isinstance(result, ServiceError):
                    self._fail_alone(request_id, result)
                    continue
                events.append((request_id, result))
                if result.is_last:
                    ended.append(request_id)
            self._observer.step_made(num_rows=num_rows, seconds=time.monotonic() - started)
            self._mailboxes.deliver(events)
            for request_id in ended:
                self._scheduler.finish(request_id)
                if not self._runner.is_known(request_id):
                    self._mailboxes.remove(request_id)
        self._observer.load_changed(
            num_rows=self._runner.num_rows,
            queue_length=self._scheduler.queue_length,
            queue_tokens=self._scheduler.queue_tokens,
        )
        return num_rows

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
        self._heartbeat.beat()
        self._observer.step_terminated()
        self._runner.clear()
        for request_id in self._mailboxes.ids():
            if not self._scheduler.is_waiting(request_id):
                self._scheduler.cancel(request_id)
                self._refuse(request_id, StepTimeoutError("a step took too long; try again", pushback_ms=PUSHBACK_MS))

    def _refuse(self, request_id: int, error: ServiceError) -> None:
        self._editable.discard(request_id)
        self._mailboxes.end(request_id, error)
