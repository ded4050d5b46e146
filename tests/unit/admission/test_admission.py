"""What is admitted, refused and displaced, with a clock that stands still unless told."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission.admission import AFTER_CROWD_S, PAUSE_S, Admission, AdmissionLimits
from service.admission.gate import Gate
from service.admission.pushback import LONGEST_MS, SHORTEST_MS, pushback_ms
from service.admission.ticket import Claim, Size, Ticket
from service.engine.request import Priority
from service.engine.row_limit import RowLimit
from service.errors import DeadlineExceededError, QueueFullError, ServiceError

ONE = Size(rows=1, tokens=10)
LOW, NORMAL, HIGH = Claim("us", Priority.LOW), Claim("us"), Claim("us", Priority.HIGH)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[..., Admission]:
    def make(*, num_slots: int = 2, **limits: Any) -> Admission:
        values = {
            "max_queue_length": 4,
            "max_queue_tokens": 1000,
            "max_queue_wait_s": 1.0,
            "max_client_share": 0.5,
        }
        return Admission(AdmissionLimits(**(values | limits)), [RowLimit(num_slots)], clock=clock)

    return make


def admit(admission: Admission, claim: Claim = NORMAL, *sizes: Size) -> Ticket:
    ticket = admission.arrive(claim)
    try:
        places = ticket.admit(sizes or (ONE,))
    except ServiceError:
        ticket.__exit__(None, None, None)
        raise
    for place in places:
        place.submitted(lambda _: None)
    return ticket


def begin(ticket: Ticket) -> None:
    for place in ticket.places:
        place.joined()


def end(ticket: Ticket) -> None:
    ticket.__exit__(None, None, None)


def refuse(admission: Admission, *, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(QueueFullError, match="too long"):
            admit(admission)


def teach(admission: Admission, clock: Clock, *, seconds: float) -> None:
    """Let requests of one source of 10 tokens wait for `seconds` each; all have ended then."""
    running = admit(admission, NORMAL, *[ONE] * 2)
    for _ in range(12):
        waiting = admit(admission)
        clock.now += seconds
        begin(waiting)
        end(waiting)
    end(running)


def test_what_free_rows_take_is_never_refused(make: Callable[..., Admission]) -> None:
    admission = make(num_slots=16, max_queue_length=1)
    tickets = [admit(admission) for _ in range(16)]
    assert admission.queue_length == 0
    waiting = admit(admission)
    with pytest.raises(QueueFullError):
        admit(admission)
    end(tickets[3])
    begin(waiting)
    admit(admission)


def test_so_many_requests_wait_and_no_more(make: Callable[..., Admission]) -> None:
    admission = make()
    running = [admit(admission) for _ in range(2)]
    waiting = [admit(admission) for _ in range(4)]
    with pytest.raises(QueueFullError, match="too many requests") as raised:
        admit(admission)
    assert SHORTEST_MS <= (raised.value.pushback_ms or 0) <= LONGEST_MS
    begin(waiting[0])
    end(running[0])
    admit(admission)
    assert admission.queue_length == 4


def test_so_many_tokens_wait_and_no_more(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_tokens=35)
    for _ in range(5):
        admit(admission)
    with pytest.raises(QueueFullError, match="source tokens"):
        admit(admission)
    admit(admission, NORMAL, Size(1, 5))


def test_a_request_of_many_texts_is_taken_or_refused_as_one(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_tokens=400)
    texts = [ONE] * 30
    first = admit(admission, NORMAL, *texts)
    assert admission.queue_length == 1
    with pytest.raises(QueueFullError):
        admit(admission, NORMAL, *texts)
    admit(admission)
    for place in first.places[:25]:
        place.joined()
    assert admission.queue_length == 2
    with pytest.raises(QueueFullError):
        admit(admission, NORMAL, *[ONE] * 35)
    admit(admission, NORMAL, *texts)


def test_the_first_that_waits_is_taken_however_large(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_tokens=5, max_queue_length=1)
    admit(admission, NORMAL, *[ONE] * 300)


def test_a_refused_or_ended_request_leaves_nothing_behind(make: Callable[..., Admission]) -> None:
    admission = make()
    tickets = [admit(admission) for _ in range(6)]
    for _ in range(100):
        with pytest.raises(QueueFullError):
            admit(admission)
    for ticket in tickets:
        end(ticket)
        end(ticket)
    tickets = [admit(admission) for _ in range(6)]
    assert admission.queue_length == 4


def test_those_that_are_still_being_read_have_their_places(make: Callable[..., Admission]) -> None:
    admission = make()
    arriving = [admission.arrive(NORMAL) for _ in range(6)]
    with pytest.raises(QueueFullError):
        admission.arrive(NORMAL)
    end(arriving[0])
    admission.arrive(NORMAL)
    for ticket in arriving[1:]:
        ticket.admit([ONE])


def test_a_higher_priority_displaces_the_newest_of_the_lowest(make: Callable[..., Admission]) -> None:
    admission = make()
    errors: dict[int, ServiceError] = {}
    tickets = []
    claims = [NORMAL, NORMAL, LOW, NORMAL, LOW, NORMAL]
    for number, claim in enumerate(claims):
        tickets.append(admit(admission, claim))
        tickets[-1].places[0].submitted(lambda error, number=number: errors.setdefault(number, error))
    with pytest.raises(QueueFullError):
        admit(admission, LOW)
    for number in (6, 7):
        ticket = admit(admission, NORMAL)
        ticket.places[0].submitted(lambda error, number=number: errors.setdefault(number, error))
    assert list(errors) == [4, 2]
    with pytest.raises(QueueFullError):
        admit(admission, NORMAL)
    admit(admission, HIGH)
    assert list(errors) == [4, 2, 7]
    assert all(isinstance(error, QueueFullError) and error.pushback_ms for error in errors.values())
    assert admission.queue_length == 4


def test_what_has_begun_is_never_displaced(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_length=1)
    admit(admission, LOW, ONE, ONE)
    begun = admit(admission, LOW, ONE, ONE)
    begun.places[0].joined()
    with pytest.raises(QueueFullError):
        admit(admission, HIGH)
    assert begun.refusal is None


def test_nobody_is_displaced_for_a_request_that_does_not_fit_anyway(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_tokens=60)
    tickets = [admit(admission, LOW) for _ in range(4)] + [admit(admission, HIGH), admit(admission, HIGH)]
    with pytest.raises(QueueFullError):
        admit(admission, HIGH, Size(1, 50))
    assert admission.queue_length == 4
    assert not any(ticket.refusal for ticket in tickets)
    admit(admission, HIGH, Size(1, 40))


def test_a_source_of_a_displaced_request_cannot_be_submitted_any_more(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_length=1)
    admit(admission, NORMAL, ONE, ONE)
    ticket = admission.arrive(LOW)
    (place,) = ticket.admit([ONE])
    admit(admission, HIGH)
    with pytest.raises(QueueFullError, match="higher priority"):
        place.submitted(lambda _: None)


def test_one_client_alone_may_fill_the_queue_and_others_still_find_room(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_length=8)
    flood, other = Claim("flood"), Claim("other")
    for _ in range(10):
        admit(admission, flood)
    with pytest.raises(QueueFullError):
        admit(admission, flood)
    for _ in range(4):
        admit(admission, other)
    with pytest.raises(QueueFullError):
        admit(admission, other)


def test_while_others_wait_a_client_gets_its_share_and_no_more(make: Callable[..., Admission]) -> None:
    admission = make(max_queue_length=8, max_queue_tokens=80)
    admit(admission, NORMAL, ONE, ONE)
    admit(admission, Claim("other"))
    for _ in range(4):
        admit(admission, Claim("flood"))
    with pytest.raises(QueueFullError, match="share"):
        admit(admission, Claim("flood"))
    admit(admission, Claim("other"))


def test_a_queue_that_is_too_slow_is_full_before_its_places_are(make: Callable[..., Admission], clock: Clock) -> None:
    admission = make(max_queue_length=100, max_queue_wait_s=1.0)
    teach(admission, clock, seconds=0.3)
    clock.now += PAUSE_S
    running = admit(admission, NORMAL, ONE, ONE)
    for _ in range(3):
        admit(admission)
    with pytest.raises(QueueFullError, match="too long"):
        admit(admission)
    admit(admission, Claim("other"))
    end(running)


def test_a_queue_that_stands_is_kept_short_and_a_burst_is_not(make: Callable[..., Admission], clock: Clock) -> None:
    """A burst may wait for ten seconds; once the queue stands, what comes waits for five, and where much is refused,
    for a tenth of one."""
    admission = make(max_queue_length=400, max_queue_tokens=100_000, max_queue_wait_s=10.0)
    teach(admission, clock, seconds=0.03)
    clock.now += PAUSE_S
    admit(admission, NORMAL, ONE, ONE)
    waiting = [admit(admission) for _ in range(333)]
    refuse(admission)
    clock.now += 0.6
    for ticket in waiting[:167]:
        end(ticket)
    refuse(admission)
    end(waiting[167])
    waiting = [*waiting[168:], admit(admission)]
    refuse(admission, times=120)
    for ticket in waiting[:-3]:
        end(ticket)
    refuse(admission)
    end(waiting[-3])
    admit(admission)
    for ticket in list(admission._queued):
        end(ticket)
    waiting = [admit(admission) for _ in range(3)]
    refuse(admission)
    for ticket in waiting:
        end(ticket)
    clock.now += AFTER_CROWD_S
    assert len([admit(admission) for _ in range(333)]) == 333


def refuse_after_a_burst(admission: Admission, clock: Clock, *, times: int) -> None:
    """335 requests are let in, and so many refused. The queue has been empty for long enough to stand no more then."""
    teach(admission, clock, seconds=0.03)
    clock.now += PAUSE_S
    taken = [admit(admission) for _ in range(335)]
    refuse(admission, times=times)
    for ticket in taken:
        end(ticket)
    clock.now += PAUSE_S


@pytest.mark.parametrize("times", [50, 200])
def test_for_a_while_after_a_crowd_a_queue_is_kept_short_whether_or_not_it_stands(
    make: Callable[..., Admission], clock: Clock, times: int
) -> None:
    admission = make(max_queue_length=400, max_queue_tokens=100_000, max_queue_wait_s=10.0)
    refuse_after_a_burst(admission, clock, times=times)
    crowd(admission)
    assert admission.queue_length == 33
    clock.now += 0.6
    refuse(admission)


def test_few_refusals_are_no_crowd(make: Callable[..., Admission], clock: Clock) -> None:
    admission = make(max_queue_length=400, max_queue_tokens=100_000, max_queue_wait_s=10.0)
    refuse_after_a_burst(admission, clock, times=40)
    crowd(admission)
    assert admission.queue_length == 333


def test_callers_who_wait_for_each_other_are_all_served_though_the_queue_never_empties(
    make: Callable[..., Admission], clock: Clock
) -> None:
    """24 of them, two at a time, which takes 60 ms: one waits for two thirds of a second."""
    admission = make(max_queue_length=400, max_queue_tokens=100_000, max_queue_wait_s=5.0)
    teach(admission, clock, seconds=0.03)
    tickets = [admit(admission) for _ in range(24)]
    for _ in range(500):
        clock.now += 0.03
        done = tickets.pop(0)
        begin(tickets[1])
        end(done)
        tickets.append(admit(admission))


def test_a_cold_server_refuses_nothing_for_its_speed(make: Callable[..., Admission], clock: Clock) -> None:
    admission = make(max_queue_length=50, max_queue_wait_s=0.001)
    for _ in range(52):
        admit(admission, Claim("us", deadline=clock.now + 0.001))


def test_what_was_learned_of_the_queue_is_forgotten_with_time(make: Callable[..., Admission], clock: Clock) -> None:
    admission = make(max_queue_length=50, max_queue_wait_s=1.0)
    teach(admission, clock, seconds=60.0)
    clock.now += 10.0
    for _ in range(52):
        admit(admission)


def test_a_deadline_before_the_end_of_the_queue_is_refused_at_once(
    make: Callable[..., Admission], clock: Clock
) -> None:
    admission = make(max_queue_length=100, max_queue_wait_s=60.0)
    teach(admission, clock, seconds=0.2)
    admit(admission, NORMAL, ONE, ONE)
    for _ in range(4):
        admit(admission)
    with pytest.raises(QueueFullError, match="deadline") as raised:
        admit(admission, Claim("us", deadline=clock.now + 0.9))
    assert 800 <= (raised.value.pushback_ms or 0) <= 1200
    admit(admission, Claim("us", deadline=clock.now + 1.1))
    admit(admission, Claim("us", Priority.HIGH, deadline=clock.now + 0.3))
    admit(admission, Claim("other", deadline=clock.now + 0.7))
    with pytest.raises(DeadlineExceededError):
        admit(admission, Claim("us", deadline=clock.now))


def test_a_resting_translation_leaves_its_row_to_others(make: Callable[..., Admission]) -> None:
    admission = make(num_slots=1, max_queue_length=1)
    resting = admit(admission)
    begin(resting)
    resting.places[0].rest()
    admit(admission)
    resting.places[0].resume()
    admit(admission)
    with pytest.raises(QueueFullError):
        admit(admission)


def test_the_gate_is_closed_while_nothing_could_be_taken(make: Callable[..., Admission]) -> None:
    one, two = make(), make()
    gate = Gate(lambda: [one, two])
    for admission, claim in ((one, LOW), (two, HIGH)):
        gate.check("us")
        assert not gate.may_close
        tickets = [admit(admission, claim) for _ in range(6)]
    assert gate.may_close
    gate.check("us")
    for _ in range(4):
        admit(one, HIGH)
    with pytest.raises(QueueFullError) as raised:
        gate.check("us")
    assert raised.value.pushback_ms
    end(tickets[0])
    begin(tickets[2])
    gate.check("us")
    Gate(list).check("us")


@given(st.floats(0.0, 1e6))
def test_a_pushback_is_within_its_bounds_and_not_before_the_wait_ends(wait_s: float) -> None:
    found = {pushback_ms(wait_s) for _ in range(50)}
    assert min(found) >= SHORTEST_MS
    assert max(found) <= LONGEST_MS
    assert min(found) >= min(1e3 * wait_s, LONGEST_MS / 1.5) - 1
    assert len(found) > 1


Steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(Priority),
        st.lists(st.builds(Size, st.integers(1, 4), st.integers(2, 40)), min_size=1, max_size=5),
        st.integers(0, 20),
        st.booleans(),
    ),
    max_size=60,
)


@given(Steps)
def test_whatever_happens_the_queue_is_bounded_and_nothing_is_left(steps: Any) -> None:
    clock = Clock()
    limits = AdmissionLimits(max_queue_length=6, max_queue_tokens=120, max_queue_wait_s=5.0, max_client_share=0.5)
    admission = Admission(limits, [RowLimit(4)], clock=clock)
    alive: list[Ticket] = []
    for client, priority, sizes, which, ends in steps:
        clock.now += 0.01
        try:
            alive.append(admit(admission, Claim(client, priority), *sizes))
        except QueueFullError:
            assert admission.queue_length > 0
        for ticket in [ticket for ticket in alive if ticket.refusal is not None]:
            assert not ticket.has_begun
            end(ticket)
            alive.remove(ticket)
        if alive and ends:
            end(alive.pop(which % len(alive)))
        elif alive:
            alive[which % len(alive)].places[0].joined()
        assert admission.queue_length <= 9
    for ticket in alive:
        end(ticket)
    assert admission.queue_length == admission._num_rows == admission._num_arriving == 0
    assert admission._backlog.is_empty
    assert (admission._backlog._requests, admission._backlog._tokens, admission._backlog.work) == (0, 0, 0)


def test_a_request_without_anything_to_decode_is_admitted_even_beyond_the_rows(make: Callable[..., Admission]) -> None:
    admission = make(num_slots=1)
    resting = admit(admission, NORMAL, ONE)
    resting.places[0].rest()
    running = admit(admission, NORMAL, ONE)
    resting.places[0].resume()
    with admission.arrive(NORMAL) as ticket:
        assert list(ticket.admit([])) == []
    assert admission.num_promised == 2
    for ticket in (resting, running):
        ticket.__exit__(None, None, None)
    assert admission.num_promised == 0


def test_a_request_that_has_ended_holds_nothing_of_its_engine(make: Callable[..., Admission]) -> None:
    class Engine:
        def withdraw(self, error: ServiceError) -> None: ...

    admission, engine = make(), Engine()
    gone = weakref.ref(engine)
    gc.disable()
    try:
        with admission.arrive(NORMAL) as ticket:
            [place] = ticket.admit([ONE])
            place.submitted(engine.withdraw)
            place.joined()
        del ticket, place, engine
        assert gone() is None
    finally:
        gc.enable()


def test_rows_are_held_to_the_knee_while_much_is_refused_and_no_longer(clock: Clock) -> None:
    row_limit = RowLimit(8)
    row_limit.knee = 3
    limits = AdmissionLimits(max_queue_length=2, max_queue_tokens=1000, max_queue_wait_s=9.0, max_client_share=1.0)
    admission = Admission(limits, [row_limit], clock=clock)
    tickets = [admit(admission) for _ in range(10)]
    assert not row_limit.is_at_knee
    for _ in range(4):
        with pytest.raises(QueueFullError):
            admit(admission)
    assert not row_limit.is_at_knee, "4 of 14 are few"
    with pytest.raises(QueueFullError):
        admit(admission)
    assert row_limit.is_at_knee
    for ticket in tickets[:5]:
        begin(ticket)
        end(ticket)
    assert admission.is_full, "though 3 of 8 rows are free"
    for ticket in tickets[5:]:
        begin(ticket)
        end(ticket)
    for _ in range(8):
        clock.now += 0.1
        end(admit(admission))
    assert row_limit.is_at_knee, "not before far fewer are refused"
    for _ in range(30):
        clock.now += 0.1
        end(admit(admission))
    assert not row_limit.is_at_knee


def test_what_the_gate_refuses_is_counted(clock: Clock) -> None:
    row_limit = RowLimit(1)
    limits = AdmissionLimits(max_queue_length=1, max_queue_tokens=1000, max_queue_wait_s=9.0, max_client_share=1.0)
    admission = Admission(limits, [row_limit], clock=clock)
    gate = Gate(lambda: [admission])
    tickets = [admit(admission) for _ in range(2)]
    for _ in range(8):
        with pytest.raises(QueueFullError):
            gate.check("us", Priority.NORMAL)
    assert row_limit.is_at_knee
    for ticket in tickets:
        end(ticket)


def serve(admission: Admission, *, seconds: float) -> None:
    """Requests that free rows take, each of 10 tokens and of so many seconds of the engine."""
    for _ in range(8):
        running = admit(admission)
        begin(running)
        running.places[0].served(seconds)
        end(running)


def crowd(admission: Admission) -> None:
    """As many requests as are let in."""
    with suppress(QueueFullError):
        for _ in range(1000):
            admit(admission)


def test_a_sudden_crowd_waits_no_longer_than_allowed_though_nobody_has_waited_yet(
    make: Callable[..., Admission],
) -> None:
    admission = make(num_slots=2, max_queue_length=1000, max_queue_tokens=100_000, max_queue_wait_s=5.0)
    serve(admission, seconds=0.98)
    crowd(admission)
    assert admission.queue_length == 10, "two rows, a second each at most, for five seconds"


def test_who_reads_slowly_does_not_make_the_queue_look_long(make: Callable[..., Admission], clock: Clock) -> None:
    admission = make(num_slots=2, max_queue_length=1000, max_queue_tokens=100_000, max_queue_wait_s=5.0)
    for _ in range(8):
        slow = admit(admission)
        begin(slow)
        clock.now += 5.0
        slow.places[0].served(0.98)
        end(slow)
    crowd(admission)
    assert admission.queue_length == 10
