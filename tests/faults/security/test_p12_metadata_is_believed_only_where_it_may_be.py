"""What a client writes into a call's metadata, and methods that are not there."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from service.pb import translation_pb2 as pb
from tests.faults.security.answers import MODEL, REQUESTS, SENTENCE, SERVICE, ask

ID = "x-request-id"


async def a_call(channel: grpc.aio.Channel, request_id: str | None) -> str:
    metadata = ((ID, request_id),) if request_id is not None else ()
    call = channel.unary_unary(f"{SERVICE}Translate")(
        REQUESTS["Translate"].SerializeToString(), metadata=metadata, timeout=60
    )
    return (await call.code()).name


@pytest.mark.fault(16)
async def test_two_requests_of_one_id_do_not_run_at_the_same_time(inside: str) -> None:
    """The later one gets ALREADY_EXISTS; once the first has ended, or was cancelled, the id is free again."""
    async with grpc.aio.insecure_channel(inside) as channel:
        open_call = channel.stream_stream(f"{SERVICE}TranslateInteractive")(metadata=((ID, "one"),), timeout=120)
        await open_call.write(REQUESTS["TranslateInteractive"].SerializeToString())
        assert await open_call.read()
        assert await a_call(channel, "one") == "ALREADY_EXISTS"
        assert await a_call(channel, "two") == "OK"
        await open_call.done_writing()
        while await open_call.read() is not grpc.aio.EOF:
            pass
        assert (await open_call.code()).name == "OK"
        assert await a_call(channel, "one") == "OK"

        cancelled = channel.stream_stream(f"{SERVICE}TranslateInteractive")(metadata=((ID, "three"),), timeout=120)
        await cancelled.write(REQUESTS["TranslateInteractive"].SerializeToString())
        assert await cancelled.read()
        cancelled.cancel()
        async with asyncio.timeout(60):
            while await a_call(channel, "three") == "ALREADY_EXISTS":  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.fault(16)
async def test_an_id_is_free_before_its_status_arrives(inside: str) -> None:
    """A client that calls again at once under the same id is never refused, after a success and after a failure."""
    wrong = pb.TranslateRequest(model="no-such-model", texts=[SENTENCE]).SerializeToString()
    async with grpc.aio.insecure_channel(inside) as channel:
        for _ in range(50):
            call = channel.unary_unary(f"{SERVICE}Translate")(wrong, metadata=((ID, "again"),), timeout=60)
            assert (await call.code()).name == "NOT_FOUND"
        assert [await a_call(channel, "again") for _ in range(10)] == ["OK"] * 10


async def test_requests_without_an_id_never_meet(inside: str) -> None:
    async with grpc.aio.insecure_channel(inside) as channel:
        assert set(await asyncio.gather(*(a_call(channel, None) for _ in range(20)))) == {"OK"}


@pytest.mark.fault(17)
def test_metadata_that_the_server_writes_is_not_taken_from_a_client(channel: grpc.Channel) -> None:
    """OK; nothing of it comes back, and nothing changes."""
    sent = [
        ("grpc-retry-pushback-ms", "7"),
        ("x-stepstream-caller", "somebody"),
        ("x-forwarded-for", "10.0.0.1"),
        ("grpc-previous-rpc-attempts", "3"),
        ("x-stepstream-max-call-ms", "7"),
    ]
    plain, strange = ask(channel, "StreamTranslate"), ask(channel, "StreamTranslate", metadata=sent)
    assert (strange.name, len(strange.messages)) == ("OK", len(plain.messages))
    assert strange.trailing.keys() == plain.trailing.keys()
    assert "7" not in strange.trailing.values()


@pytest.mark.fault(17)
@pytest.mark.parametrize("wrong", ["", "a b", "a" * 65, "../x", "a;b", '"'])
def test_what_cannot_be_an_id_is_replaced(channel: grpc.Channel, wrong: str) -> None:
    """OK under an id of the server's making."""
    answer = ask(channel, "GetModel", metadata=[(ID, wrong)])
    assert answer.name == "OK"
    assert answer.trailing[ID] != wrong
    assert ask(channel, "GetModel", metadata=[(ID, "mine.1")]).trailing[ID] == "mine.1"


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "path", [f"{SERVICE}Other", "/other.Service/Translate", "/t/../../etc", f"{SERVICE}", "/", f"/x{SERVICE}Translate"]
)
def test_a_method_that_is_not_there_is_unimplemented(channel: grpc.Channel, path: str) -> None:
    """UNIMPLEMENTED."""
    assert ask(channel, path, REQUESTS["Translate"]).name == "UNIMPLEMENTED"


@pytest.mark.fault(19)
@pytest.mark.parametrize(("size", "name"), [(7_000, "OK"), (20_000, "RESOURCE_EXHAUSTED")])
def test_metadata_is_bounded(channel: grpc.Channel, size: int, name: str) -> None:
    """7 KB pass, 20 KB get RESOURCE_EXHAUSTED, and the connection serves on."""
    request = pb.GetModelRequest(model=MODEL)
    assert ask(channel, "GetModel", request, metadata=[("x-long", "a" * size)]).name == name
    assert ask(channel, "GetModel").name == "OK"
