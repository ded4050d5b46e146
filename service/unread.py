"""Answers that clients have not taken. gRPC keeps each until it is taken or its connection ends, however long that is:
a connection that holds one for too long, and on which no call is under way, is ended. It knows no gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from service.connections import end_connection

MAX_UNREAD_S = 300.0
"""Seconds that a client has for each BYTES of an answer."""
BYTES = 2**20
LOOKS = 8
"""How often within MAX_UNREAD_S the answers are looked at."""

_log = structlog.get_logger()


class UnreadAnswers:
    """Belongs to one event loop."""

    def __init__(self, is_busy: Callable[[str], bool]) -> None:
        """is_busy: whether calls of a peer are under way, for whose sake its connection is kept."""
        self._is_busy = is_busy
        self._late_at: dict[str, dict[object, float]] = {}

    def add(self, peer: str, num_bytes: int = 0) -> Callable[[], None]:
        """gRPC has an answer of num_bytes, or the rest of one; what is returned is to be called once it has it no
        longer."""
        answer = object()
        allowed_s = MAX_UNREAD_S * (1 + num_bytes // BYTES)
        self._late_at.setdefault(peer, {})[answer] = asyncio.get_running_loop().time() + allowed_s
        return partial(self._taken, peer, answer)

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(MAX_UNREAD_S / LOOKS)
            now = asyncio.get_running_loop().time()
            for peer, answers in list(self._late_at.items()):
                if min(answers.values()) <= now and not self._is_busy(peer) and end_connection(peer):
                    _log.warning("connection ended: its client takes no answers", peer=peer, num_answers=len(answers))

    def _taken(self, peer: str, answer: object) -> None:
        del self._late_at[peer][answer]
        if not self._late_at[peer]:
            del self._late_at[peer]
