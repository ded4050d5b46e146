"""A translation that is edited while it is made: what belongs to which edit, what is left out, how it ends."""

import asyncio
import threading

import grpc
import pytest

from service.client.client import AsyncClient
from service.client.errors import DeadlineError, InvalidRequestError, OverloadedError, ServerError
from service.client.interactive import InteractiveTranslation
from service.client.options import DecodingOptions
from service.client.retry import RetryPolicy, make_retries
from service.client.types import Completion, StepEvent
from service.pb import translation_pb2 as pb

LIMIT_S = 5.0


@pytest.fixture
async def client(fake_service):
    async with AsyncClient(fake_service.address) as client:
        yield client


async def take_until_complete(translation):
    """The pairs up to the next completion, with it."""
    pairs = []
    async with asyncio.timeout(LIMIT_S):
        async for edit, event in translation:
            pairs.append((edit, event))
            if isinstance(event, Completion):
                break
    return pairs


def steps_of(pairs):
    return [(event.index, event.text_delta) for _, event in pairs if isinstance(event, StepEvent)]


def target_of(pairs):
    """The target as somebody who follows the steps has it."""
    target = []
    for _, event in pairs:
        if isinstance(event, StepEvent):
            assert event.index <= len(target)
            target[event.index :] = [event.text_delta]
    return "".join(target)


async def wait_until(condition):
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_start_is_a_stream_and_each_edit_goes_on_where_its_target_leaves_the_last_one(client):
    async with client.interactive("one two three", model="shout") as translation:
        start = await take_until_complete(translation)
        assert translation.edit("ONE ZWEI") == 1
        first = await take_until_complete(translation)
        assert translation.edit("EINS") == 2
        second = await take_until_complete(translation)
    assert [edit for edit, _ in start + first + second] == [0] * 5 + [1] * 4 + [2] * 5
    assert steps_of(start) == [(0, "ONE"), (1, " TWO"), (2, " THREE"), (3, "")]
    assert steps_of(first) == [(1, " ZWEI"), (2, " THREE"), (3, "")]
    assert steps_of(second) == [(0, "EINS"), (1, " TWO"), (2, " THREE"), (3, "")]
    assert [pairs[-1][1].text for pairs in (start, first, second)] == [
        "ONE TWO THREE",
        "ONE ZWEI THREE",
        "EINS TWO THREE",
    ]


async def test_an_edit_that_changes_nothing_brings_its_completion_alone(client):
    async with client.interactive("one two", model="shout") as translation:
        await take_until_complete(translation)
        translation.edit("ONE")
        ((edit, completion),) = await take_until_complete(translation)
    assert (edit, completion.text) == (1, "ONE TWO")


async def test_what_belongs_to_an_older_edit_is_left_out(client, fake_service):
    fake_service.holds["one two"] = threading.Event()
    async with client.interactive("one two", model="shout") as translation:
        translation.edit("A")
        translation.edit("B")
        fake_service.holds["one two"].set()
        pairs = await take_until_complete(translation)
    assert {edit for edit, _ in pairs} == {2}
    assert steps_of(pairs) == [(0, "B"), (1, " TWO"), (2, "")]
    assert fake_service.edits == ["A", "B"]


@pytest.mark.parametrize(
    ("edit", "text"), [("ONE", "ONE TWO THREE"), ("ONE ZWEI", "ONE ZWEI THREE"), ("EINS", "EINS TWO THREE")]
)
async def test_kept_steps_that_were_left_out_are_given_with_the_edit_that_keeps_them(client, fake_service, edit, text):
    fake_service.holds[edit] = threading.Event()
    async with client.interactive("one two three", model="shout") as translation:
        first = await anext(translation)
        translation.edit(edit)
        await wait_until(lambda: fake_service.edits)
        fake_service.holds[edit].set()
        pairs = await take_until_complete(translation)
    assert {number for number, _ in pairs} == {1}
    assert target_of([first, *pairs]) == pairs[-1][1].text == text


async def test_what_was_received_but_not_yet_given_is_out_of_date_after_an_edit_too(client):
    async with client.interactive("one", model="shout") as translation:
        assert [(await anext(translation))[0] for _ in range(2)] == [0, 0]
        translation.edit("EINS")
        pairs = await take_until_complete(translation)
    assert {edit for edit, _ in pairs} == {1}


async def test_an_iteration_that_was_left_goes_on_without_a_loss(client):
    async with client.interactive("one two", model="shout") as translation:
        events = []
        for _ in range(4):
            async for _, event in translation:
                events.append(event)
                break
    assert [type(event) for event in events] == [StepEvent, StepEvent, StepEvent, Completion]


async def test_after_close_the_last_edit_is_completed_and_the_iteration_ends(client, fake_service):
    fake_service.holds["EINS"] = threading.Event()
    async with client.interactive("one two", model="shout") as translation:
        translation.edit("EINS")
        translation.close()
        fake_service.holds["EINS"].set()
        async with asyncio.timeout(LIMIT_S):
            pairs = [pair async for pair in translation]
        assert pairs[-1][1].text == "EINS TWO"
    assert fake_service.interactive_closed.is_set()


async def test_a_closed_translation_takes_no_edit(client, fake_service):
    async with client.interactive("one two", model="shout") as translation:
        translation.close()
        with pytest.raises(InvalidRequestError, match="is closed"):
            translation.edit("EINS")
        await take_until_complete(translation)
    assert fake_service.edits == []


async def test_leaving_the_block_cancels_the_call_on_the_server(client, fake_service):
    fake_service.holds["EINS"] = threading.Event()
    async with client.interactive("one two", model="shout") as translation:
        await take_until_complete(translation)
        translation.edit("EINS")
        await wait_until(lambda: fake_service.edits)
        assert not fake_service.interactive_ended.is_set()
    assert await asyncio.to_thread(fake_service.interactive_ended.wait, LIMIT_S)
    assert not fake_service.holds["EINS"].is_set()


async def test_every_argument_reaches_the_server(client, fake_service):
    options = DecodingOptions(max_length=9, target_prefix="EINS")
    arguments = {"model": "shout", "version": 3, "options": options, "timeout_s": 4.0, "include_attention": True}
    async with client.interactive("one two", **arguments) as translation:
        pairs = await take_until_complete(translation)
    (request,) = fake_service.requests
    assert (request.model, request.version, request.text) == ("shout", 3, "one two")
    assert request.options == pb.DecodingOptions(max_length=9, target_prefix="EINS")
    assert fake_service.deadlines_s == [pytest.approx(4.0, abs=1.0)]
    assert [event.most_attended[0] for _, event in pairs[:-1]] == ["▁one", "▁two", "</s>"]


async def test_a_refused_edit_ends_the_iteration_with_its_named_error(client, fake_service):
    fake_service.failures["EINS"] = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")]
    async with client.interactive("one two", model="shout") as translation:
        await take_until_complete(translation)
        translation.edit("EINS")
        with pytest.raises(OverloadedError, match="the queue is full"):
            await take_until_complete(translation)


async def test_a_time_limit_ends_the_call(client, fake_service):
    async with client.interactive("one two", model="shout", timeout_s=0.3) as translation:
        await take_until_complete(translation)
        with pytest.raises(DeadlineError):
            await take_until_complete(translation)
    assert await asyncio.to_thread(fake_service.interactive_ended.wait, LIMIT_S)


async def test_a_server_that_ends_before_the_last_edit_is_complete_is_an_error(client, fake_service):
    text = fake_service.incomplete_text
    async with client.interactive(text, model="shout") as translation:
        translation.close()
        with pytest.raises(ServerError, match="before it was complete"):
            await take_until_complete(translation)


async def test_a_server_that_ends_while_edits_may_come_is_an_error(client, fake_service):
    async with client.interactive(fake_service.hurried_text, model="shout") as translation:
        await take_until_complete(translation)
        with pytest.raises(ServerError, match="before it was complete"):
            await take_until_complete(translation)


async def test_a_step_beyond_the_end_of_the_target_is_an_error(client, fake_service, monkeypatch):
    message = pb.StreamTranslateResponse(step=pb.Step(index=1))
    monkeypatch.setattr(fake_service, "_shout", lambda *_: [message])
    async with client.interactive("one two", model="shout") as translation:
        with pytest.raises(ServerError, match="step 1 of a target of 0 tokens"):
            await take_until_complete(translation)


async def test_an_edit_that_is_not_unicode_is_an_invalid_request_and_changes_nothing(client):
    async with client.interactive("one two", model="shout") as translation:
        with pytest.raises(InvalidRequestError, match="not valid Unicode"):
            translation.edit("\udcff")
        pairs = await take_until_complete(translation)
    assert {edit for edit, _ in pairs} == {0}


class RefusedCall:
    """A call that the server refuses while the client says that it has no more edits."""

    async def write(self, request):
        pass

    async def done_writing(self):
        raise grpc.aio.InternalError("the call has ended")

    async def __aiter__(self):
        await asyncio.sleep(0.01)
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), grpc.aio.Metadata(), details="the queue is full"
        )
        yield

    def cancel(self):
        pytest.fail("a call is cancelled that the server ended")


async def test_the_status_of_a_call_that_ends_while_the_client_closes_it_is_the_servers():
    class Stub:
        def TranslateInteractive(self, **_):  # noqa: N802
            return RefusedCall()

    translation = InteractiveTranslation(
        Stub(), pb.StreamTranslateRequest(), make_retries("host:1", RetryPolicy(), None).call(None)
    )
    translation.close()
    with pytest.raises(OverloadedError, match="the queue is full"):
        await anext(translation)
