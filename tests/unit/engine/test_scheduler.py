from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.fair_queue import AGING_S, MAX_IDLE_CLIENTS, FairQueue
from service.engine.request import Decoding, Priority, Request
from service.engine.row_limit import RowLimit
from service.engine.scheduler import Limits, Scheduler


def limits(**values: int) -> Limits:
    return Limits(**{"max_slots": 4, "max_encode_tokens": 64, "length_multiple": 16} | values)


def request(request_id: int, *, length: int = 5, rows: int = 1, **values: Any) -> Request:
    return Request(request_id, tuple(range(length)), Decoding(max_length=10, beam_size=rows), **values)


def ids(requests: tuple[Request, ...]) -> list[int]:
    return [r.request_id for r in requests]


def test_requests_join_in_the_order_of_their_arrival() -> None:
    scheduler = Scheduler(limits())
    for i in range(6):
        scheduler.submit(request(i))
    assert ids(scheduler.schedule(0.0).joining) == [0, 1, 2, 3]
    assert ids(scheduler.schedule(0.0).joining) == []
    scheduler.finish(2)
    assert ids(scheduler.schedule(0.0).joining) == [4]
    assert scheduler.queue_length == 1
    assert scheduler.num_running == 4


def test_a_cancelled_request_neither_runs_nor_waits() -> None:
    scheduler = Scheduler(limits(max_slots=1))
    scheduler.submit(request(0))
    scheduler.submit(request(1))
    scheduler.schedule(0.0)
    scheduler.cancel(0)
    scheduler.cancel(1)
    scheduler.cancel(99)
    assert not scheduler.has_work


def test_an_expired_request_leaves_wherever_it_is() -> None:
    scheduler = Scheduler(limits(max_slots=1))
    scheduler.submit(request(0, deadline=1.0))
    scheduler.submit(request(1, deadline=1.0))
    scheduler.submit(request(2, deadline=9.0))
    assert ids(scheduler.schedule(0.0).joining) == [0]
    schedule = scheduler.schedule(1.0)
    assert set(schedule.expired) == {0, 1}
    assert ids(schedule.joining) == [2]


def watched_scheduler(**values: int) -> Scheduler:
    """One whose first request, 99, runs and is streamed."""
    scheduler = Scheduler(limits(**values))
    scheduler.submit(request(99))
    assert ids(scheduler.schedule(0.0).joining) == [99]
    return scheduler


def test_a_long_request_is_encoded_alone_when_it_exceeds_the_bound() -> None:
    scheduler = watched_scheduler(max_encode_tokens=64)
    scheduler.submit(request(0, length=100))
    scheduler.submit(request(1))
    assert ids(scheduler.schedule(0.0).joining) == [0]
    assert ids(scheduler.schedule(0.0).joining) == [1]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(1, 5), st.integers(16, 200))
def test_encoding_between_two_steps_stays_within_its_bound(lengths: list[int], max_slots: int, bound: int) -> None:
    scheduler = watched_scheduler(max_slots=max_slots + 1, max_encode_tokens=bound)
    for i, length in enumerate(lengths):
        scheduler.submit(request(i, length=length))
    joined: list[int] = []
    while scheduler.queue_length:
        joining = scheduler.schedule(0.0).joining
        padded = max(-(-len(r.source_ids) // 16) * 16 for r in joining)
        assert len(joining) == 1 or padded * len(joining) <= bound
        assert scheduler.num_running <= max_slots + 1
        joined += ids(joining)
        for r in joining:
            scheduler.finish(r.request_id)
    assert joined == list(range(len(lengths)))


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_encode_that_keeps_nobody_from_the_next_token_may_be_larger(is_streamed: bool) -> None:
    scheduler = Scheduler(limits(max_slots=64, max_encode_tokens=64))
    scheduler.submit(request(0, streamed=is_streamed))
    scheduler.schedule(0.0)
    for i in range(1, 60):
        scheduler.submit(request(i, streamed=False))
    assert len(scheduler.schedule(0.0).joining) == (4 if is_streamed else 59)


def order(*requests: Request, now: float = 0.0) -> list[int]:
    """How requests that were submitted in this order begin, one at a time."""
    scheduler = Scheduler(limits(max_slots=max(r.decoding.num_rows for r in requests)))
    for one in requests:
        scheduler.submit(one)
    begun = []
    while scheduler.has_work:
        for one in scheduler.schedule(now).joining:
            begun.append(one.request_id)
            scheduler.finish(one.request_id)
    return begun


def test_a_higher_priority_goes_first() -> None:
    priorities = (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.LOW, Priority.HIGH)
    assert order(*(request(i, priority=priority) for i, priority in enumerate(priorities))) == [2, 4, 1, 0, 3]


def test_a_request_that_has_waited_counts_as_one_of_the_next_priority() -> None:
    low = request(0, priority=Priority.LOW, submitted_at=0.0)
    later = [request(i, priority=Priority.HIGH, submitted_at=2 * AGING_S - 0.1) for i in (1, 2)]
    assert order(*later, low, now=2 * AGING_S - 0.1) == [1, 2, 0]
    assert order(low, *later, now=2 * AGING_S) == [0, 1, 2]


@pytest.mark.parametrize("number_of_ours", [1, 3])
def test_a_low_request_begins_however_many_high_ones_keep_coming(number_of_ours: int) -> None:
    scheduler = Scheduler(limits(max_slots=1))
    ours = [request(-i, priority=Priority.LOW, client="us") for i in range(1, number_of_ours + 1)]
    for one in ours:
        scheduler.submit(one)
    waiting = {one.request_id for one in ours}
    for i in range(1000):
        now = 0.01 * i
        for copy in range(2):
            number = 2 * i + copy
            scheduler.submit(request(number, priority=Priority.HIGH, client=f"they{number % 7}", submitted_at=now))
        for one in scheduler.schedule(now).joining:
            waiting.discard(one.request_id)
            scheduler.finish(one.request_id)
    assert not waiting


def test_clients_of_one_priority_take_turns() -> None:
    flood = [request(i, client="flood") for i in range(6)]
    others = [request(10, client="one"), request(20, client="two"), request(21, client="two")]
    assert order(*flood, *others) == [0, 10, 20, 1, 21, 2, 3, 4, 5]


def test_turns_count_work_and_not_requests() -> None:
    wide = [request(i, client="wide", rows=4) for i in range(3)]
    narrow = [request(10 + i, client="narrow") for i in range(8)]
    assert order(*wide, *narrow) == [0, 10, 11, 12, 13, 1, 14, 15, 16, 17, 2]


def test_a_client_that_comes_back_has_not_saved_up_turns() -> None:
    queue = FairQueue()
    for i in range(20):
        queue.add(request(i, client="steady"))
    for _ in range(10):
        queue.take(first(queue))
    for i in range(100, 105):
        queue.add(request(i, client="new"))
    taken = []
    for _ in range(6):
        taken.append(first(queue).client)
        queue.take(first(queue))
    assert taken.count("steady") == 3


@given(st.lists(st.integers(0, 200), min_size=1, max_size=300))
def test_what_is_kept_of_clients_is_bounded(clients: list[int]) -> None:
    queue = FairQueue()
    for i, client in enumerate(clients):
        queue.add(request(i, client=str(client)))
        if len(queue) > 3:
            queue.take(first(queue))
    assert len(queue._begun) <= MAX_IDLE_CLIENTS + len(queue) + 1


def first(queue: FairQueue) -> Request:
    found = queue.first(0.0)
    assert found is not None
    return found


def test_fewer_rows_run_while_they_are_held_to_the_knee_and_none_is_ended() -> None:
    row_limit = RowLimit(8)
    row_limit.knee = 3
    scheduler = Scheduler(limits(max_slots=8), row_limit)
    for i in range(5):
        scheduler.submit(request(i))
    assert len(scheduler.schedule(0.0).joining) == 5
    row_limit.is_at_knee = True
    for i in range(5, 9):
        scheduler.submit(request(i))
    assert ids(scheduler.schedule(0.0).joining) == []
    for i in range(3):
        scheduler.finish(i)
    assert ids(scheduler.schedule(0.0).joining) == [5]
    row_limit.is_at_knee = False
    assert ids(scheduler.schedule(0.0).joining) == [6, 7, 8]


def test_a_request_of_more_rows_than_the_knee_still_joins() -> None:
    row_limit = RowLimit(8)
    row_limit.knee, row_limit.is_at_knee = 3, True
    scheduler = Scheduler(limits(max_slots=8), row_limit)
    scheduler.submit(request(0))
    scheduler.submit(request(1, rows=7))
    scheduler.submit(request(2))
    assert ids(scheduler.schedule(0.0).joining) == [0, 1]
