"""A running request that is cancelled keeps its place among those that run."""

from service.engine.scheduler import Scheduler

cancel = Scheduler.cancel


def forgets(self, request_id):
    if self.is_waiting(request_id):
        cancel(self, request_id)


Scheduler.cancel = forgets
