"""The generator against a fake server behind a real socket: what it sends, counts, verifies, and says of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.client.errors import ServerUnreachableError
from service.client.load.fleet import Played
from service.client.load.generator import Generator, Orders
from service.client.load.reference import Reference
from service.client.load.report import Results, warnings_of
from service.client.load.scenario import Scenario, Targets
from service.client.load.sending import TranslateJob, WeightedJob
from service.client.load.stage import Stage
from service.client.load.tally import Second, Tally
from service.client.options import DecodingOptions

SENTENCES = ("one", "two words", "three words here")
RIGHT = {
    sentence: Reference(7, tuple(range(10, 11 + len(sentence.split()))), sentence.upper()) for sentence in SENTENCES
}


def orders(address: str, references: dict[str, Reference] | None = None, *, model: str = "shout") -> Orders:
    job = TranslateJob(model, 0, SENTENCES, DecodingOptions(), references or {})
    return Orders(address, [WeightedJob(model, 1.0, job)], Targets(), connections=2, timeout_s=20.0, seed=0, number=0)


def at_once(number: int) -> Stage:
    return Stage("at once", 0.1, 0.0, arrivals=(0.0,) * number, rate=1.0)


async def play(told: Orders, stage: Stage) -> tuple[Tally, list[Second]]:
    seconds: list[Second] = []
    async with Generator(told) as generator:
        return await generator.run(stage, time.monotonic(), seconds.append), seconds


async def test_an_open_loop_sends_every_request_that_is_due(fake_service: Any) -> None:
    arrivals = tuple(number / 50 for number in range(20))
    tally, seconds = await play(orders(fake_service.address), Stage("open", 0.5, 0.2, arrivals, rate=50.0))
    assert len(fake_service.requests) == 20
    assert {request.text for request in fake_service.requests} == set(SENTENCES)
    assert tally.num_sent == tally.num_ok == tally.num_good == 10, "what is due while it warms up does not count"
    assert sum(second.num_due for second in seconds) == sum(second.num_ok for second in seconds) == 20
    tokens = sum(len(request.text.split()) + 1 for request in fake_service.requests)
    assert sum(second.num_tokens for second in seconds) == tokens
    assert seconds[-1].num_running == 0


async def test_an_open_loop_waits_for_no_answer(fake_service: Any) -> None:
    fake_service.pause_s = 0.2
    tally, _ = await play(orders(fake_service.address), at_once(10))
    assert fake_service.max_in_flight == 10
    assert tally.num_ok == 10


async def test_a_closed_loop_has_as_many_requests_under_way_as_clients(fake_service: Any) -> None:
    fake_service.pause_s = 0.02
    tally, _ = await play(orders(fake_service.address), Stage("closed", 0.4, 0.0, num_clients=3))
    assert fake_service.max_in_flight == 3
    assert tally.num_ok == len(fake_service.requests) > 3


async def test_what_is_refused_fails_or_ends_early_is_told_apart(fake_service: Any) -> None:
    fake_service.failures = {
        "one": [(grpc.StatusCode.INTERNAL, "a fault")] * 100,
        "two words": [(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")] * 100,
    }
    fake_service.incomplete_text = "three words here"
    tally, _ = await play(orders(fake_service.address), at_once(30))
    assert tally.statuses.keys() == {"INTERNAL", "UNAVAILABLE", "INCOMPLETE"}
    assert tally.num_sent == 30
    assert tally.num_refused == tally.statuses["UNAVAILABLE"]
    assert tally.num_failed == tally.statuses["INTERNAL"] + tally.statuses["INCOMPLETE"]
    assert tally.num_good == 0


async def test_translations_that_are_right_are_verified_without_a_difference(fake_service: Any) -> None:
    tally, _ = await play(orders(fake_service.address, RIGHT), at_once(20))
    assert (tally.num_verified, tally.num_different, tally.differences) == (20, 0, [])


def alter_every(service: Any, nth: int, alter: Callable[[Any], None]) -> None:
    """Every nth stream of a fake service is not what it should be."""
    shout, numbers = service._shout, count(1)

    def altered(*arguments: Any) -> Any:
        messages = shout(*arguments)
        if next(numbers) % nth == 0:
            alter(messages)
        return messages

    service._shout = altered


def other_text(messages: Any) -> None:
    messages[-1].completion.text += " "


def other_delta(messages: Any) -> None:
    messages[0].step.text_delta = messages[0].step.text_delta.lower()


def other_token(messages: Any) -> None:
    messages[0].step.token_id += 1


def other_version(messages: Any) -> None:
    messages[0].version += 1


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (other_text, "the text is '"),
        (other_delta, "the streamed text is '"),
        (other_token, "the tokens are [11"),
        (other_version, "version 8 answered, the reference is of version 7"),
    ],
)
async def test_one_altered_translation_in_ten_is_found(
    fake_service: Any, alter: Callable[[Any], None], words: str
) -> None:
    alter_every(fake_service, 10, alter)
    tally, seconds = await play(orders(fake_service.address, RIGHT), at_once(40))
    assert (tally.num_ok, tally.num_verified, tally.num_different) == (40, 40, 4)
    assert sum(second.num_different for second in seconds) == 4
    assert all(words in difference for difference in tally.differences)


async def test_a_generator_that_is_held_up_says_so_and_counts_the_wait(fake_service: Any) -> None:
    held_s = 0.4
    asyncio.get_running_loop().call_later(0.1, time.sleep, held_s)
    arrivals = tuple(number / 100 for number in range(40))
    stage = Stage("held up", 0.5, 0.0, arrivals, rate=100.0)
    tally, _ = await play(orders(fake_service.address), stage)
    assert tally.num_sent == 40
    assert tally.lateness.summary()["max"] >= 0.5e3 * held_s, "requests that were due meanwhile were sent late"
    assert tally.loop_lag.summary()["max"] >= 0.9e3 * held_s
    assert tally.first_token.summary()["max"] >= tally.lateness.summary()["max"], "the wait is no gift to the server"
    results = Results(Scenario(), ["shout"], played=[Played(stage, tally, ())])
    assert any("the generator itself was late: in 1 of 1 stages" in warning for warning in warnings_of(results))


async def test_no_server_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ServerUnreachableError, match="no server answers"):
        async with Generator(orders(f"unix:{tmp_path}/nobody")):
            pass
