"""How busy the servers are, read from their /metrics: what waits, what is in the steps, and tokens a second."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

READ_S = 2.0
"""Seconds that a server may take to answer."""
MAX_METRICS_BYTES = 8 * 2**20
FRESH_S = 0.4
"""Seconds for which everybody who asks gets the same answer."""
WINDOW_S = 3.0
"""Seconds over which tokens are counted."""
NAMES = ("slots_in_use", "slots", "queue_depth", "step_rows_sum")


@dataclass(frozen=True)
class Load:
    """Of all servers that answer together. tokens_per_s counts a token of each row of each step, so that those of every
    hypothesis of a beam search count; None until there are two readings of the same servers."""

    num_servers: int
    slots_in_use: int
    slots: int
    queue_depth: int
    tokens_per_s: float | None


class LoadMeter:
    """Asks when it is asked."""

    def __init__(self, addresses: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """addresses: HOST:PORT of each server's /metrics. A name that has several addresses is that of as many servers;
        it is looked up each time."""
        self._addresses = tuple(addresses)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._readings: deque[tuple[float, int, float]] = deque()  # when, of how many servers, tokens so far
        self._load: Load | None = None

    async def read(self) -> Load | None:
        """None where no server answers."""
        async with self._lock:
            if not self._readings or self._clock() - self._readings[-1][0] >= FRESH_S:
                self._load = await self._measure()
            return self._load

    async def _measure(self) -> Load | None:
        places = await asyncio.gather(*(_places(address) for address in self._addresses))
        found = await asyncio.gather(*(asyncio.to_thread(_sums, *place) for several in places for place in several))
        answered = [sums for sums in found if sums is not None]
        slots_in_use, slots, queue_depth, num_tokens = (sum(sums[name] for sums in answered) for name in NAMES)
        tokens_per_s = self._rate(self._clock(), len(answered), num_tokens)
        if not answered:
            return None
        return Load(len(answered), int(slots_in_use), int(slots), int(queue_depth), tokens_per_s)

    def _rate(self, now: float, num_servers: int, num_tokens: float) -> float | None:
        """Tokens a second since the oldest reading of the window. A server that came, went or started anew makes the
        window begin again."""
        readings = self._readings
        if readings and (readings[-1][1] != num_servers or readings[-1][2] > num_tokens):
            readings.clear()
        readings.append((now, num_servers, num_tokens))
        while len(readings) > 2 and readings[1][0] <= now - WINDOW_S:
            readings.popleft()
        began_at, _, before = readings[0]
        return (num_tokens - before) / (now - began_at) if now > began_at else None


async def _places(address: str) -> list[tuple[str, int]]:
    """Host and port of each server of an address, of IPv4 where it has any; none for a name that nobody knows."""
    host, _, port = address.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []
    of_ipv4 = [place for family, *_, place in found if family == socket.AF_INET]
    return [(str(place[0]), int(place[1])) for place in of_ipv4 or [place for *_, place in found]]


def _sums(host: str, port: int) -> dict[str, float] | None:
    """Each of NAMES over all models of a server; None where it does not answer as one of ours."""
    connection = http.client.HTTPConnection(host, port, timeout=READ_S)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read(MAX_METRICS_BYTES).decode()
        if response.status != http.client.OK:
            return None
        sums = dict.fromkeys(NAMES, 0.0)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("stepstream_")
                if name in sums and name != sample.name:
                    sums[name] += sample.value
        return sums
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
