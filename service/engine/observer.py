"""Whom an engine tells what it does."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told about each encode and each step, on the engine's thread; times in seconds."""

    def joined(self, *, num_requests: int, seconds: float) -> None: ...

    def step_made(self, *, num_rows: int, seconds: float) -> None: ...

    def load_changed(self, *, num_rows: int, queue_length: int, queue_tokens: int) -> None: ...

    def encode_failed(self, error: BaseException) -> None: ...

    def row_failed(self, error: BaseException) -> None:
        """A request has failed alone in a step."""

    def step_terminated(self) -> None:
        """A step, or an encode, did not end in time."""
