"""What ends a call at the client ends it at the replica, with a proxy between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from service.client.client import AsyncClient
from service.client.errors import DeadlineError
from service.client.options import DecodingOptions
from tests.faults.load import MODEL, TEXTS, eventually
from tests.faults.proxies import running_proxy
from tests.faults.replicas import Replica, num_ended, running_replicas, store_of

SLOW = DecodingOptions(beam_size=32, min_length=120)
"""So many rows and steps that no stream ends by itself before its client ends it."""
CLIENT = f"""
import sys
from service.client.client import Client
from service.client.options import DecodingOptions
options = DecodingOptions(beam_size={SLOW.beam_size}, min_length={SLOW.min_length})
for event in Client(sys.argv[1]).stream({TEXTS[0]!r}, model={MODEL!r}, options=options):
    print("begun", flush=True)
"""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    with running_replicas(2, store_of(tmp_path_factory.mktemp("store"), MODEL)) as replicas:
        yield replicas


@pytest.fixture(params=["envoy", "haproxy", "nginx"])
def proxy(request: pytest.FixtureRequest, replicas: list[Replica], tmp_path: Path) -> Iterator[str]:
    with running_proxy(request.param, replicas, tmp_path) as address:
        yield address


@pytest.mark.fault(51)
async def test_a_cancel_reaches_the_replica(proxy: str, replicas: list[Replica]) -> None:
    """A client closes its stream: the replica ends the call as CANCELLED, long before its last token."""
    before = num_ended(replicas, "CANCELLED")
    async with AsyncClient(proxy) as client:
        async with aclosing(client.stream(TEXTS[0], model=MODEL, options=SLOW)) as events:
            await anext(events)
        await eventually(lambda: num_ended(replicas, "CANCELLED") == before + 1)


@pytest.mark.fault(52)
async def test_a_deadline_reaches_the_replica(proxy: str, replicas: list[Replica]) -> None:
    """A deadline passes in mid-stream: the client gets DEADLINE_EXCEEDED, is not tried again, and the replica ends the
    call by itself or with the client's reset."""
    codes = ("DEADLINE_EXCEEDED", "CANCELLED")
    before = sum(num_ended(replicas, code) for code in codes)
    async with AsyncClient(proxy) as client:
        stream = client.stream(TEXTS[0], model=MODEL, options=SLOW, timeout_s=0.4)
        with pytest.raises(DeadlineError):
            [event async for event in stream]
        await eventually(lambda: sum(num_ended(replicas, code) for code in codes) == before + 1)


@pytest.mark.fault(53)
async def test_the_death_of_a_client_reaches_the_replica(proxy: str, replicas: list[Replica]) -> None:
    """The client's process is killed in mid-stream: the replica ends the call as CANCELLED."""
    before = num_ended(replicas, "CANCELLED")
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-c", CLIENT, proxy], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "begun\n"
        process.kill()
    await eventually(lambda: num_ended(replicas, "CANCELLED") == before + 1)
