"""A replica that is lost takes nothing with it that its clients cannot go on with."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from service.client.client import AsyncClient, Client
from service.client.errors import ServerError, ServerUnreachableError
from service.client.retry import Retry, RetryPolicy
from service.client.types import Completion, StepEvent, StreamEvent
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.load import MODEL, TRANSLATIONS, Load, eventually, unbroken, untimed
from tests.faults.proxies import running_proxy
from tests.faults.replicas import Replica, num_ended, running_replicas, store_of

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    with running_replicas(2, store_of(tmp_path_factory.mktemp("store"), MODEL), drain_delay_s=1.0) as replicas:
        yield replicas


@pytest.fixture
def replicas(pair: list[Replica]) -> Iterator[list[Replica]]:
    """Two replicas; those that a test has ended are started again."""
    yield pair
    for replica in pair:
        if replica.process.poll() is not None:
            replica.start()
    for replica in pair:
        replica.wait_until_ready()


@pytest.fixture(scope="module")
def wanted(pair: list[Replica]) -> list[list[StreamEvent]]:
    """Every translation, as a server that nothing happens to makes it."""
    return asyncio.run(unbroken(pair[1].address))


@pytest.fixture(params=["envoy", "haproxy", "nginx", "addresses"])
def way(request: pytest.FixtureRequest, replicas: list[Replica], tmp_path: Path) -> Iterator[str]:
    """How clients reach the replicas: through a proxy, or by their addresses."""
    if request.param == "addresses":
        yield ",".join(replica.address for replica in replicas)
    else:
        with running_proxy(request.param, replicas, tmp_path) as address:
            yield address


async def reach_both(client: AsyncClient, replicas: list[Replica]) -> None:
    """Call until every replica has answered, so that each gets its share of what follows."""
    before = [num_ended([replica], "OK", "ListModels") for replica in replicas]
    async with asyncio.timeout(60):
        for replica, number in zip(replicas, before, strict=True):
            while num_ended([replica], "OK", "ListModels") == number:
                await client.list_models(timeout_s=60)


def assert_whole(load: Load, wanted: list[list[StreamEvent]]) -> None:
    for kind, events in load.ended:
        assert events == wanted[kind], TRANSLATIONS[kind]


@pytest.mark.fault(58)
async def test_a_killed_replica_costs_no_translation(
    way: str, replicas: list[Replica], wanted: list[list[StreamEvent]]
) -> None:
    """A replica is killed under 50 streams: the client goes on at the other one, no translation is lost, and each is
    what an unbroken run makes, beam searches too."""
    retries: list[Retry] = []
    async with AsyncClient(way, on_retry=retries.append) as client:
        await reach_both(client, replicas)
        load = Load(client)
        running = asyncio.create_task(load.run(number=80))
        await load.until_most_have_tokens()
        replicas[0].kill()
        await running
    assert load.failed == []
    assert len(load.ended) == 80
    assert_whole(load, wanted)
    assert sum(retry.num_tokens > 0 for retry in retries) >= 5


@pytest.mark.fault(58)
async def test_without_retries_a_killed_replica_breaks_its_own_streams_alone(
    way: str, replicas: list[Replica], wanted: list[list[StreamEvent]]
) -> None:
    """A replica is killed under 50 streams of a client that does not try again: its own streams fail, none of them is
    taken for complete, and the other replica's are what they would have been."""
    async with AsyncClient(way, retry=ONCE) as client:
        await reach_both(client, replicas)
        load = Load(client)
        running = asyncio.create_task(load.run(number=50))
        await load.until_most_have_tokens()
        replicas[0].kill()
        await running
    assert {type(error) for error in load.failed} <= {ServerError, ServerUnreachableError}
    assert 10 <= len(load.failed) <= 27, "the replicas have half of the streams each"
    assert len(load.failed) + len(load.ended) == 50
    assert_whole(load, wanted)


@pytest.mark.fault(58)
@pytest.mark.parametrize("way", ["envoy", "addresses"], indirect=True)
async def test_a_frozen_replica_costs_time_and_no_translation(
    way: str, replicas: list[Replica], wanted: list[list[StreamEvent]]
) -> None:
    """A replica is stopped with SIGSTOP under 50 streams: keepalive finds that its connection is dead, and the client
    goes on at the other one."""
    retries: list[Retry] = []
    async with AsyncClient(way, on_retry=retries.append) as client:
        await reach_both(client, replicas)
        load = Load(client)
        running = asyncio.create_task(load.run(number=50))
        await load.until_most_have_tokens()
        replicas[0].send(signal.SIGSTOP)
        try:
            await running
        finally:
            replicas[0].send(signal.SIGCONT)
    assert load.failed == []
    assert_whole(load, wanted)
    assert any(retry.num_tokens > 0 for retry in retries)


@pytest.mark.fault(58)
def test_the_synchronous_client_goes_on_too(way: str, replicas: list[Replica], wanted: list[list[StreamEvent]]) -> None:
    """Whichever replica serves a stream of the synchronous client is killed: the rest comes from the other one."""
    retries: list[Retry] = []
    with Client(way, on_retry=retries.append) as client:
        text, options = TRANSLATIONS[0]
        events: list[StreamEvent] = []
        for event in client.stream(text, model=MODEL, options=options, include_attention=True):
            events.append(event)
            if len(events) == 5:
                for replica in replicas:
                    replica.send(signal.SIGSTOP)
                replicas[0].kill()
                replicas[1].send(signal.SIGCONT)
        assert untimed(events) == wanted[0]
        assert client.translate([text], model=MODEL, options=options)[0].text == events[-1].text
    assert len(retries) <= 2


@pytest.mark.fault(58)
@pytest.mark.parametrize("way", ["envoy", "haproxy", "nginx"], indirect=True)
async def test_an_interactive_translation_outlives_its_replicas(way: str, replicas: list[Replica]) -> None:
    """Each replica is killed, one while a translation waits for edits, one during an edit: the caller gets each
    step of the target once, as from one server."""

    async def kill(replica: Replica, *, and_start: bool) -> None:
        replica.kill()
        if and_start:
            replica.start()
            await asyncio.to_thread(replica.wait_until_ready)
            await asyncio.sleep(2.0)

    async def play(address: str, *, kills: bool) -> list[tuple[int, StreamEvent]]:
        text, options = TRANSLATIONS[0]
        seen: list[tuple[int, StreamEvent]] = []
        async with (
            AsyncClient(address) as client,
            client.interactive(text, model=MODEL, options=options) as translation,
        ):
            async for edit, event in translation:
                seen.append((edit, event))
                if isinstance(event, StepEvent) and edit == 1 and event.index == 9 and kills:
                    await kill(replicas[1], and_start=False)
                if isinstance(event, Completion) and edit == 0:
                    if kills:
                        await kill(replicas[0], and_start=True)
                    translation.edit("Ein alter Mann")
                elif isinstance(event, Completion):
                    translation.close()
        events = untimed([event for _, event in seen])
        return list(zip([edit for edit, _ in seen], events, strict=True))

    assert await play(way, kills=True) == await play(replicas[0].address, kills=False)


@pytest.mark.fault(59)
async def test_no_replica_up_is_unavailable(way: str, replicas: list[Replica]) -> None:
    """Both replicas are gone: every call is UNAVAILABLE, with a proxy between as well."""
    for replica in replicas:
        replica.kill()
    async with grpc.aio.insecure_channel(way) if "," not in way else AsyncClient(way, retry=ONCE)._channel as channel:
        stub = TranslationServiceStub(channel)
        codes = []
        for _ in range(8):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.ListModels(pb.ListModelsRequest(), timeout=60)
            codes.append(raised.value.code())
    assert codes == [grpc.StatusCode.UNAVAILABLE] * 8


@pytest.mark.fault(56)
@pytest.mark.parametrize("way", ["haproxy", "addresses"], indirect=True)
async def test_a_rolling_restart_loses_nothing(
    way: str, replicas: list[Replica], wanted: list[list[StreamEvent]]
) -> None:
    """The replicas are stopped with SIGTERM and started again, one after the other, under load: no translation is lost,
    each is what an unbroken run makes, and each replica exits with 0."""
    async with AsyncClient(way) as client:
        await reach_both(client, replicas)
        load = Load(client)
        running = asyncio.create_task(load.run())
        for replica in replicas:
            await load.until_most_have_tokens()
            assert await asyncio.to_thread(replica.stop) == 0
            replica.start()
            await asyncio.to_thread(replica.wait_until_ready)
            await eventually(lambda: num_ended([replica], "OK") > 0)  # noqa: B023
        load.stopping = True
        await running
    assert load.failed == []
    assert_whole(load, wanted)
