"""What an engine delivers arrives in its order, with turns of the event loop in between."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from service.engine.mailbox import EVENTS_A_TURN, UNLIMITED, Delivery, Mailbox
from service.engine.request import StepResult


def result(index: int) -> StepResult:
    return StepResult(index, (), (), (), 0.0, 0.0)


async def test_other_work_gets_its_turn_between_the_events_of_one_step() -> None:
    mailboxes = [Mailbox(UNLIMITED) for _ in range(10 * EVENTS_A_TURN)]
    Delivery(asyncio.get_running_loop()).deliver([(mailbox, result(0)) for mailbox in mailboxes])
    seen = []
    while not seen or seen[-1] < len(mailboxes):
        await asyncio.sleep(0)
        seen.append(sum(not mailbox._events.empty() for mailbox in mailboxes))
    assert all(later - earlier <= EVENTS_A_TURN for earlier, later in pairwise(seen))


async def test_a_later_step_never_overtakes_an_earlier_one() -> None:
    mailboxes = [Mailbox(UNLIMITED) for _ in range(8 * EVENTS_A_TURN)]
    delivery = Delivery(asyncio.get_running_loop())
    for step in range(5):
        left = mailboxes[step * EVENTS_A_TURN :]
        delivery.deliver([(mailbox, result(step)) for mailbox in left])
        await asyncio.sleep(0)
    for place, mailbox in enumerate(mailboxes):
        expected = range(min(5, place // EVENTS_A_TURN + 1))
        assert [(await mailbox.get()).first_index for _ in expected] == list(expected)


async def test_an_engine_is_one_step_ahead_of_its_event_loop_and_no_more() -> None:
    mailboxes = [Mailbox(UNLIMITED) for _ in range(4 * EVENTS_A_TURN)]
    delivery = Delivery(asyncio.get_running_loop())
    num_steps = 0

    def make_steps() -> None:
        nonlocal num_steps
        for step in range(6):
            delivery.wait_for_loop()
            delivery.deliver([(mailbox, result(step)) for mailbox in mailboxes])
            num_steps += 1

    engine = asyncio.get_running_loop().run_in_executor(None, make_steps)
    while not engine.done():
        assert num_steps - mailboxes[-1]._events.qsize() <= 2
        await asyncio.sleep(0)
    assert num_steps == 6
    assert [(await mailboxes[-1].get()).first_index for _ in range(6)] == list(range(6))


async def test_an_engine_does_not_wait_for_ever_for_a_loop_that_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.mailbox.LONGEST_BEHIND_S", 0.01)
    loop = asyncio.new_event_loop()
    delivery = Delivery(loop)
    for step in range(3):
        delivery.wait_for_loop()
        delivery.deliver([(Mailbox(UNLIMITED), result(step))])
    loop.close()
