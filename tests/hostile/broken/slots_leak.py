"""A cancelled request keeps its slot."""

from service.engine.scheduler import Scheduler

cancelled = []
cancel = Scheduler.cancel


def forgets(self, request_id):
    cancelled.append(request_id)
    if len(cancelled) % 20:
        cancel(self, request_id)


Scheduler.cancel = forgets
