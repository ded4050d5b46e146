"""What can become of a load."""

from __future__ import annotations

from service.model.errors import Reason


class RefusedError(Exception):
    """A version cannot be served; the message is for the log, the reason for everybody."""

    def __init__(self, reason: Reason, particulars: str) -> None:
        super().__init__(particulars)
        self.reason = reason
