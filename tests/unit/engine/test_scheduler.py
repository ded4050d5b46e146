from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import Decoding, Request
from service.engine.scheduler import Limits, Scheduler


def limits(**values: int) -> Limits:
    return Limits(**{"max_slots": 4, "max_queue_length": 10, "max_encode_tokens": 64, "length_multiple": 16} | values)


def request(request_id: int, *, length: int = 5, deadline: float | None = None) -> Request:
    return Request(request_id, tuple(range(length)), Decoding(max_length=10), deadline=deadline)


def ids(requests: tuple[Request, ...]) -> list[int]:
    return [r.request_id for r in requests]


def test_requests_join_in_the_order_of_their_arrival() -> None:
    scheduler = Scheduler(limits())
    for i in range(6):
        assert scheduler.submit(request(i))
    assert ids(scheduler.schedule(0.0).joining) == [0, 1, 2, 3]
    assert ids(scheduler.schedule(0.0).joining) == []
    scheduler.finish(2)
    assert ids(scheduler.schedule(0.0).joining) == [4]
    assert scheduler.queue_length == 1
    assert scheduler.num_running == 4


def test_a_full_queue_refuses_and_loses_nothing() -> None:
    scheduler = Scheduler(limits(max_slots=1, max_queue_length=2))
    assert [scheduler.submit(request(i)) for i in range(4)] == [True, True, True, False]
    assert ids(scheduler.schedule(0.0).joining) == [0]
    assert scheduler.queue_length == 2
    assert not scheduler.submit(request(9))


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


def test_a_long_request_is_encoded_alone_when_it_exceeds_the_bound() -> None:
    scheduler = Scheduler(limits(max_encode_tokens=64))
    scheduler.submit(request(0, length=100))
    scheduler.submit(request(1))
    assert ids(scheduler.schedule(0.0).joining) == [0]
    assert ids(scheduler.schedule(0.0).joining) == [1]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(1, 5), st.integers(16, 200))
def test_encoding_between_two_steps_stays_within_its_bound(lengths: list[int], max_slots: int, bound: int) -> None:
    scheduler = Scheduler(limits(max_slots=max_slots, max_queue_length=100, max_encode_tokens=bound))
    for i, length in enumerate(lengths):
        scheduler.submit(request(i, length=length))
    joined: list[int] = []
    while scheduler.has_work:
        joining = scheduler.schedule(0.0).joining
        padded = max(-(-len(r.source_ids) // 16) * 16 for r in joining)
        assert len(joining) == 1 or padded * len(joining) <= bound
        assert scheduler.num_running <= max_slots
        joined += ids(joining)
        for r in joining:
            scheduler.finish(r.request_id)
    assert joined == list(range(len(lengths)))
