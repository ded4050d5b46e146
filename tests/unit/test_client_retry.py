"""A call that is refused or lost is tried again, as often as that can help, and no more."""

from __future__ import annotations

import time

import grpc
import pytest

from service.client.addresses import target_of
from service.client.client import AsyncClient, Client
from service.client.ending import Ending, ending_of
from service.client.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ServerError,
    ServerUnreachableError,
    StepstreamError,
)
from service.client.options import DecodingOptions, Sampling
from service.client.retry import Attempts, Retry, RetryPolicy, RetryThrottle, make_retries
from service.client.types import StreamEvent
from service.pb import translation_pb2 as pb

TEXT = "one two three four"
STOPPING = Ending(grpc.StatusCode.UNAVAILABLE, "the server is stopping", is_answered=True, pushback_s=0.25)
CUT_OFF = Ending(grpc.StatusCode.UNKNOWN, "Stream removed", is_answered=False)
OVERLOADED = Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", is_answered=True)


def attempts(*, policy: RetryPolicy = RetryPolicy(), timeout_s: float | None = None) -> Attempts:  # noqa: B008
    return make_retries("host:1", policy, None).call(timeout_s)


@pytest.mark.fault(64)
def test_after_five_failures_nothing_is_tried_again_until_ten_calls_succeed_for_each():
    """Five attempts fail: no call is tried again before successes have paid for a retry."""
    throttle = RetryThrottle()
    assert [throttle.failed() for _ in range(6)] == [True] * 4 + [False] * 2
    for _ in range(19):
        throttle.succeeded()
        assert throttle._tokens < 6
    for _ in range(2):
        throttle.succeeded()
    assert throttle.failed()


@pytest.mark.parametrize(
    ("ending", "again"),
    [
        (STOPPING, True),
        (CUT_OFF, True),
        (Ending(grpc.StatusCode.INTERNAL, "RST_STREAM", is_answered=False), True),
        (Ending(grpc.StatusCode.CANCELLED, "Stream removed (RST_STREAM)", is_answered=False), True),
        (Ending(grpc.StatusCode.OK, "", is_answered=False), True),
        (Ending(grpc.StatusCode.UNAVAILABLE, "the model's engine has failed", is_answered=True), True),
        (Ending(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses", is_answered=False), True),
        (Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", is_answered=True, pushback_s=0.5), True),
        (OVERLOADED, False),
        (Ending(grpc.StatusCode.UNAVAILABLE, "overloaded", is_answered=True, may_retry=False), False),
        (Ending(grpc.StatusCode.INTERNAL, "an internal error", is_answered=True), False),
        (Ending(grpc.StatusCode.OK, "", is_answered=True), False),
        (Ending(grpc.StatusCode.DEADLINE_EXCEEDED, "", is_answered=False), False),
        (Ending(grpc.StatusCode.CANCELLED, "Channel closed!", is_answered=False), False),
        (Ending(grpc.StatusCode.INVALID_ARGUMENT, "no text", is_answered=True), False),
        (Ending(grpc.StatusCode.NOT_FOUND, "no such model", is_answered=True), False),
        (Ending(grpc.StatusCode.FAILED_PRECONDITION, "tried 4 times", is_answered=True), False),
    ],
)
def test_what_a_server_has_answered_for_good_is_not_asked_again(ending: Ending, again: bool):
    call = attempts()
    call.arguments()
    if again:
        assert call.pause_s(ending) >= 0.0
    else:
        with pytest.raises(StepstreamError):
            call.pause_s(ending)


@pytest.mark.parametrize(
    ("value", "pushback_s", "may_retry"),
    [("250", 0.25, True), ("0", 0.0, True), ("-1", None, False), ("soon", None, False), (None, None, True)],
)
def test_the_server_says_when_and_whether_to_try_again(value: str | None, pushback_s: float | None, may_retry: bool):
    trailing = [("x-request-id", "a")] + ([("grpc-retry-pushback-ms", value)] if value else [])
    ending = ending_of(grpc.StatusCode.UNAVAILABLE, "", trailing)
    assert (ending.pushback_s, ending.may_retry, ending.is_answered) == (pushback_s, may_retry, True)


def test_pauses_are_what_the_server_asks_for_or_drawn_from_a_growing_range():
    assert attempts().pause_s(STOPPING) == 0.25
    policy = RetryPolicy(initial_backoff_s=0.1, max_backoff_s=0.5)
    for retry, most in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 0.5)):
        pauses = [policy.pause_s(retry) for _ in range(300)]
        assert 0.0 <= min(pauses) < most / 4 < most * 3 / 4 < max(pauses) <= most


def test_a_call_has_a_number_of_attempts_with_an_id_each():
    call = attempts(policy=RetryPolicy(max_attempts=3))
    seen = []
    for _ in range(2):
        seen.append(dict(call.arguments()["metadata"]))
        call.pause_s(STOPPING)
    seen.append(dict(call.arguments()["metadata"]))
    with pytest.raises(ServerUnreachableError):
        call.pause_s(STOPPING)
    assert [one["x-stepstream-attempt"] for one in seen] == ["1", "2", "3"]
    ids = [one["x-request-id"] for one in seen]
    assert [one.rpartition("-")[2] for one in ids] == ["1", "2", "3"]
    assert len({one.rpartition("-")[0] for one in ids}) == 1


def test_the_deadline_spans_all_attempts():
    call = attempts(timeout_s=0.2)
    first = call.arguments()["timeout"]
    with pytest.raises(ServerUnreachableError, match="stopping"):
        call.pause_s(STOPPING)
    time.sleep(0.05)
    second = call.arguments()["timeout"]
    assert first is not None
    assert second is not None
    assert second <= first - 0.05


@pytest.mark.fault(65)
def test_a_request_that_is_lost_twice_without_a_new_token_is_not_tried_again():
    """A request whose servers are lost, one after the other, costs two of them; one that gets on goes on."""
    call = attempts(policy=RetryPolicy(max_attempts=10))
    for _ in range(4):
        call.arguments()
        call.pause_s(CUT_OFF, num_tokens=3)
        call.arguments()
        call.progressed()
    call.pause_s(CUT_OFF, num_tokens=3)
    with pytest.raises(ServerError):
        call.pause_s(CUT_OFF, num_tokens=3)


@pytest.mark.fault(58)
def test_calls_lost_together_are_all_tried_again_but_not_for_ever():
    """250 calls are lost with their server: each is tried again; if losses go on, they are throttled too."""
    retries = make_retries("host:1", RetryPolicy(), None)
    for _ in range(250):
        retries.call(None).pause_s(CUT_OFF)
    with pytest.raises(ServerError):
        [retries.call(None).pause_s(CUT_OFF) for _ in range(10)]


def test_a_version_that_no_other_server_has_is_named():
    call = attempts(policy=RetryPolicy(max_attempts=2))
    ending = Ending(grpc.StatusCode.NOT_FOUND, "version 3 of the model is not loaded", is_answered=True)
    call.arguments()
    call.pause_s(ending, num_tokens=2)
    call.arguments()
    with pytest.raises(ModelNotFoundError, match=r"no other can go on: version 3 of the model is not loaded"):
        call.pause_s(ending, num_tokens=2)


def read(address: str, **options: object) -> tuple[list[StreamEvent], list[Retry]]:
    retries: list[Retry] = []
    with Client(address, on_retry=retries.append) as client:
        return list(client.stream(TEXT, model="shout", include_attention=True, **options)), retries


@pytest.mark.fault(58)
@pytest.mark.parametrize("cuts", [[0], [1], [3, 1], [1, 1, 1]])
async def test_a_stream_goes_on_from_its_tokens_on_the_version_that_began(fake_service, cuts: list[int]):
    """A stream is cut off again and again: both clients give the events of an unbroken one, and resend no token."""
    whole, _ = read(fake_service.address)
    fake_service.cuts[TEXT] = list(cuts)
    events, retries = read(fake_service.address)
    assert events == whole
    num_tokens = [sum(cuts[: n + 1]) for n in range(len(cuts))]
    assert [retry.num_tokens for retry in retries] == num_tokens
    again = fake_service.requests[2:]
    assert [len(request.resume.token_ids) for request in again] == num_tokens
    assert all(request.version == (7 if cuts[0] else 0) for request in again)
    fake_service.cuts[TEXT] = list(cuts)
    async with AsyncClient(fake_service.address) as client:
        assert [event async for event in client.stream(TEXT, model="shout", include_attention=True)] == whole


@pytest.mark.fault(58)
def test_a_beam_search_is_made_again_and_shown_once(fake_service):
    """A beam search is cut off: the request is repeated whole, and what the caller has is left out."""
    options = DecodingOptions(beam_size=2)
    whole, _ = read(fake_service.address, options=options)
    fake_service.cuts[TEXT] = [4]
    events, (retry,) = read(fake_service.address, options=options)
    assert events == whole
    assert retry.num_tokens == 3
    assert not fake_service.requests[-1].HasField("resume")


@pytest.mark.fault(58)
def test_another_beam_search_than_the_one_that_was_shown_is_an_error(fake_service):
    """A beam search is cut off, and another server finds something else: an error, and never a text of two halves."""
    fake_service.cuts[TEXT] = [4]
    with Client(fake_service.address) as client:
        stream = client.stream(TEXT, model="shout", options=DecodingOptions(beam_size=2))
        next(stream)
        fake_service.streams[TEXT] = [pb.StreamTranslateResponse(step=pb.Step(index=0, token_id=99))]
        with pytest.raises(ServerError, match="translates in another way"):
            list(stream)


def test_sampling_without_a_seed_gets_one_that_stays(fake_service):
    fake_service.cuts[TEXT] = [2]
    read(fake_service.address, options=DecodingOptions(sampling=Sampling()))
    first, second = (request.options.seed for request in fake_service.requests)
    assert first == second != 0


def test_a_call_of_one_answer_is_tried_again_with_its_number(fake_service):
    fake_service.failures["a"] = [(grpc.StatusCode.UNAVAILABLE, "the model's engine has failed")]
    with Client(fake_service.address) as client:
        assert client.translate(["a"], model="shout")[0].text == "A"
    assert [one["x-stepstream-attempt"] for one in fake_service.metadata] == ["1", "2"]


def test_a_client_that_tries_once_gives_the_first_error(fake_service):
    fake_service.failures["a"] = [(grpc.StatusCode.UNAVAILABLE, "the model's engine has failed")]
    once = RetryPolicy(max_attempts=1)
    with Client(fake_service.address, retry=once) as client, pytest.raises(ServerUnreachableError):
        client.translate(["a"], model="shout")
    assert len(fake_service.requests) == 1


def test_a_full_queue_without_a_time_to_come_back_is_an_error_at_once(fake_service):
    fake_service.failures["a"] = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")]
    with Client(fake_service.address) as client, pytest.raises(OverloadedError):
        client.translate(["a"], model="shout")
    assert len(fake_service.requests) == 1


@pytest.mark.fault(58)
@pytest.mark.parametrize("cuts", [[0], [2], [5, 0], [5, 2]])
async def test_an_interactive_translation_starts_again_with_its_last_edit(fake_service, cuts: list[int]):
    """The server of an interactive translation is lost, before and after an edit: another one starts with the edit, and
    the caller gets each step of the target once."""

    async def play() -> list[tuple[int, StreamEvent]]:
        seen = []
        async with (
            AsyncClient(fake_service.address) as client,
            client.interactive(TEXT, model="shout", include_attention=True) as translation,
        ):
            async for edit, event in translation:
                seen.append((edit, event))
                if edit == 0 and not hasattr(event, "index"):
                    translation.edit("ONE XX")
                elif edit == 1 and not hasattr(event, "index"):
                    translation.close()
        return seen

    whole = await play()
    fake_service.cuts[TEXT] = list(cuts)
    assert await play() == whole


def test_several_addresses_are_one_target():
    target = target_of("127.0.0.1:1, 127.0.0.2:2")
    assert target.name == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert target.shown == "127.0.0.1:1,127.0.0.2:2"
    assert target_of(["[::1]:1", "[::1]:2"]).name == "ipv6:[::1]:1,[::1]:2"
    assert target_of(["dns:///replicas:8001"]).name == target_of("dns:///replicas:8001").name == "dns:///replicas:8001"


@pytest.mark.parametrize("addresses", ["", [], "a", "127.0.0.1:1,b", "127.0.0.1:1,127.0.0.1:99999", "127.0.0.1:1,"])
def test_what_is_no_address_is_refused(addresses: str | list[str]):
    if addresses == "a":
        assert target_of(addresses).name == "a"
        return
    with pytest.raises(InvalidRequestError):
        target_of(addresses)


def test_a_name_that_nobody_knows_is_named():
    with pytest.raises(ServerUnreachableError, match=r"no address is known for nowhere\.invalid"):
        target_of("127.0.0.1:1,nowhere.invalid:1")
