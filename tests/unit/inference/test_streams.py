"""The requests of one stream: side by side, each ended apart, and none that outlives the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from service.calls import Call, Calls, current_call, find_call
from service.errors import DeadlineExceededError, InvalidRequestError, QueueFullError, ServiceError, StoppingError
from service.inference.streams import StreamRules, responses_of
from service.pb import inference_pb2 as pb

LIMIT_S = 60.0


class Requests:
    """What a client sends, when a test says so."""

    def __init__(self, *names: str) -> None:
        self.num_read = 0
        self._arriving: asyncio.Queue[str | ServiceError | None] = asyncio.Queue()
        for name in names:
            self.send(name)

    def send(self, what: str | ServiceError | None) -> None:
        """None: the client has sent all."""
        self._arriving.put_nowait(what)

    async def __aiter__(self) -> AsyncIterator[pb.ModelInferRequest]:
        while (what := await self._arriving.get()) is not None:
            if isinstance(what, ServiceError):
                raise what
            self.num_read += 1
            yield pb.ModelInferRequest(id=what)


class Ended:
    """Hears how calls end."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, str]] = []

    def call_started(self, call: Call) -> None:
        pass

    def call_ended(self, call: Call) -> None:
        self.codes.append((call.method, call.code))


def step(request_id: str, model_name: str = "") -> pb.ModelStreamInferResponse:
    response = pb.ModelInferResponse(id=request_id, model_name=model_name)
    return pb.ModelStreamInferResponse(infer_response=response)


class Model:
    """Brings two steps for each request; "wrong" is refused, "broken" raises what nobody foresaw, "slow" waits."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.deadlines: dict[str, float | None] = {}
        self.running: set[str] = set()

    async def steps(self, request: pb.ModelInferRequest) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        self.deadlines[request.id] = find_call().deadline
        self.running.add(request.id)
        try:
            yield step(request.id)
            if request.id == "wrong":
                raise InvalidRequestError("this is wrong")
            if request.id == "broken":
                raise ValueError("nobody foresaw this")
            if request.id.startswith("slow"):
                await self.go.wait()
            yield step(request.id, model_name="last")
        finally:
            self.running.discard(request.id)


@pytest.fixture
def ended() -> Ended:
    return Ended()


@pytest.fixture
def calls(ended: Ended) -> Calls:
    return Calls([ended])


@pytest.fixture
def model() -> Model:
    return Model()


Open = Callable[..., AsyncGenerator[pb.ModelStreamInferResponse, None]]


@pytest.fixture
def opened(calls: Calls, model: Model) -> Open:
    def opened(requests: Any, **changes: Any) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        current_call.set(Call("id", "ModelStreamInfer", peer="ipv4:1.2.3.4:5"))
        rules = {"gate": lambda _: None, "max_running": 8, "max_call_s": LIMIT_S} | {
            name: changes.pop(name) for name in ("gate", "max_running", "max_call_s") if name in changes
        }
        stream: dict[str, Any] = {"remaining_s": None, "is_strict": False} | changes
        return responses_of(aiter(requests), model.steps, StreamRules(calls, **rules), **stream)

    return opened


def told(response: pb.ModelStreamInferResponse) -> tuple[str, str]:
    return response.infer_response.id, response.error_message or response.infer_response.model_name


async def test_requests_run_side_by_side_and_the_stream_ends_after_the_last(opened: Open, model: Model) -> None:
    requests = Requests("slow", "quick")
    requests.send(None)
    stream = opened(requests)
    first = [told(await anext(stream)) for _ in range(3)]
    assert sorted(first) == [("quick", ""), ("quick", "last"), ("slow", "")]
    model.go.set()
    assert [told(one) async for one in stream] == [("slow", "last")]


async def test_a_request_that_fails_ends_alone_with_its_id_its_status_and_a_last_response(
    opened: Open, ended: Ended
) -> None:
    requests = Requests("wrong", "broken", "right")
    requests.send(None)
    responses = [one async for one in opened(requests)]
    assert [told(one)[1] for one in responses if one.infer_response.id == "right"] == ["", "last"]
    failures = {one.infer_response.id: one for one in responses if one.error_message}
    assert failures["wrong"].error_message == "this is wrong"
    assert failures["broken"].error_message == "an internal error; the server's log tells more"
    codes = {"wrong": "INVALID_ARGUMENT", "broken": "INTERNAL"}
    for name, failure in failures.items():
        parameters = failure.infer_response.parameters
        assert parameters["triton_final_response"].bool_param
        assert parameters["grpc_status"].string_param == codes[name]
    assert sorted(code for _, code in ended.codes) == ["INTERNAL", "INVALID_ARGUMENT", "OK"]


async def test_a_strict_stream_ends_with_the_first_error(opened: Open, model: Model) -> None:
    stream = opened(Requests("slow", "wrong"), is_strict=True)
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(InvalidRequestError, match="this is wrong"):
            [one async for one in stream]
    assert model.running == set()


async def test_a_request_that_the_gate_refuses_says_when_to_come_back(opened: Open) -> None:
    def closed(client: str) -> None:
        assert client == "ipv4:1.2.3.4"
        raise QueueFullError("the server is full", pushback_ms=70)

    requests = Requests("one")
    requests.send(None)
    (response,) = [one async for one in opened(requests, gate=closed)]
    assert response.infer_response.parameters["grpc_status"].string_param == "RESOURCE_EXHAUSTED"
    assert response.infer_response.parameters["grpc_retry_pushback_ms"].int64_param == 70


async def test_what_the_caller_may_not_ask_ends_the_stream_after_what_runs(opened: Open, model: Model) -> None:
    requests = Requests("slow")
    requests.send(InvalidRequestError("these are no bytes of a message"))
    stream = opened(requests)
    assert told(await anext(stream)) == ("slow", "")
    model.go.set()
    assert told(await anext(stream)) == ("slow", "last")
    with pytest.raises(InvalidRequestError, match="no bytes of a message"):
        await anext(stream)


async def test_a_stream_that_is_closed_ends_its_requests(opened: Open, model: Model, ended: Ended) -> None:
    stream = opened(Requests("slow 1", "slow 2"))
    await anext(stream)
    await anext(stream)
    await stream.aclose()
    assert model.running == set()
    assert [code for _, code in ended.codes] == [grpc.StatusCode.CANCELLED.name] * 2


async def test_no_more_requests_are_read_than_may_run(opened: Open, model: Model) -> None:
    requests = Requests("slow 1", "slow 2", "slow 3", "slow 4", "slow 5")
    requests.send(None)
    stream = opened(requests, max_running=2)
    await anext(stream)
    await anext(stream)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(model.running) == 2
    assert requests.num_read == 3
    model.go.set()
    assert len([one async for one in stream]) == 8


async def test_a_client_that_reads_nothing_makes_its_requests_wait(opened: Open, model: Model) -> None:
    requests = Requests(*(f"quick {number}" for number in range(200)))
    requests.send(None)
    stream = opened(requests, max_running=4)
    await anext(stream)
    for _ in range(500):
        await asyncio.sleep(0)
    assert requests.num_read < 100
    assert len([one async for one in stream]) == 399


async def test_a_stopping_server_ends_a_stream_once_nothing_of_it_runs(
    opened: Open, calls: Calls, model: Model
) -> None:
    requests = Requests("slow")
    stream = opened(requests)
    await anext(stream)
    stopping = asyncio.create_task(calls.stop(timeout_s=LIMIT_S))
    await asyncio.sleep(0)
    model.go.set()
    assert told(await anext(stream)) == ("slow", "last")
    with pytest.raises(StoppingError):
        await anext(stream)
    assert await stopping == 0


async def test_a_stream_without_a_request_ends(opened: Open) -> None:
    with pytest.raises(DeadlineExceededError, match="no request for"):
        await anext(opened(Requests(), max_call_s=0.05))


async def test_a_request_has_the_deadline_of_its_stream_or_else_the_servers(opened: Open, model: Model) -> None:
    for remaining_s, expected_s in ((30.0, 30.0), (None, LIMIT_S)):
        requests = Requests("one")
        requests.send(None)
        now = Call("", "").started_at
        assert len([one async for one in opened(requests, remaining_s=remaining_s)]) == 2
        deadline = model.deadlines["one"]
        assert deadline is not None
        assert deadline - now == pytest.approx(expected_s, abs=10.0)
