"""A running request that is cancelled is forgotten, and its rows are never freed."""

from service.engine.runner import Runner


def forgets(self, request_ids):
    for request_id in request_ids:
        self._parked.pop(request_id, None)
        self._running.pop(request_id, None)


Runner.leave = forgets
