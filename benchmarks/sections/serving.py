"""Many clients of one server at once, beside CTranslate2 in a server of the same kind."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from benchmarks import load, servers
from benchmarks.comparison import TARGET_LENGTH
from benchmarks.figures import at_least, at_most, percentile
from benchmarks.report import BASE, Bench, Table
from benchmarks.servers import Server
from service.client.server_process import running_server
from service.model.bundle import read_manifest
from service.pb import translation_pb2 as pb

NUM_CLIENTS = 64
WARM_UP_S = 1.5
MEASURED_S = 3.5
FIXED_LENGTH = pb.DecodingOptions(min_length=TARGET_LENGTH - 1, max_length=TARGET_LENGTH)

Figures = dict[str, float]


def measure(bench: Bench) -> Iterator[Table]:
    texts = load.Texts(read_manifest(bench.base).name, bench.captions, FIXED_LENGTH)
    settings = [servers.ctranslate2(bench, workers=workers, threads=threads) for workers, threads in ((1, 2), (2, 1))]
    ours, theirs, setting = _compare(bench, texts, load.stream, settings, streaming_figures)
    yield _table(
        f"{BASE}, {NUM_CLIENTS} clients streaming captions into {TARGET_LENGTH} tokens each over gRPC; CTranslate2 by "
        f"its callback at its best setting ({setting})",
        (
            ("tokens/s", ours["rate"], theirs["rate"], at_least(ours["rate"] / theirs["rate"], 10, " x")),
            ("first token, p50 ms", ours["first p50"], theirs["first p50"], ""),
            (
                "first token, p99 ms",
                ours["first p99"],
                theirs["first p99"],
                f"{at_most(ours['first p99'] / theirs['first p99'], round(1 / 30, 3), ' x')} (a thirtieth)",
            ),
            ("between tokens, p99 ms", ours["gap p99"], theirs["gap p99"], ""),
            ("between tokens, median ms: a step", ours["step"], theirs["step"], ""),
            (
                "between tokens, p99 in steps",
                ours["gap p99"] / ours["step"],
                theirs["gap p99"] / theirs["step"],
                f"ours {at_most(ours['gap p99'] / ours['step'], 2, ' steps')}",
            ),
        ),
    )
    settings = [
        servers.ctranslate2(bench, workers=workers, threads=threads, max_batch=max_batch)
        for workers, threads, max_batch in ((2, 1, 32), (1, 2, 64))
    ]
    ours, theirs, setting = _compare(bench, texts, load.translate, settings, unary_figures)
    yield _table(
        f"The same clients unary, one text a request; CTranslate2 with dynamic batching at its best "
        f"setting ({setting})",
        (
            ("tokens/s", ours["rate"], theirs["rate"], at_least(ours["rate"] / theirs["rate"], 1.5, " x")),
            (
                "whole sentence, p50 ms",
                ours["whole p50"],
                theirs["whole p50"],
                f"{at_most(ours['whole p50'] / theirs['whole p50'], round(2 / 3, 3), ' x')} (two thirds)",
            ),
            ("whole sentence, p99 ms", ours["whole p99"], theirs["whole p99"], ""),
        ),
    )


def streaming_figures(window: load.Window) -> Figures:
    """Tokens a second, and milliseconds to the first token and between tokens."""
    firsts, gaps = window.first_token_seconds(), window.seconds_between_tokens()
    return {
        "rate": window.tokens_per_second,
        "first p50": 1e3 * percentile(firsts, 0.5),
        "first p99": 1e3 * percentile(firsts, 0.99),
        "gap p99": 1e3 * percentile(gaps, 0.99),
        "step": 1e3 * statistics.median(gaps),
    }


def unary_figures(window: load.Window) -> Figures:
    """Tokens a second, and milliseconds to the whole sentence."""
    whole = window.whole_seconds()
    return {
        "rate": window.tokens_per_second,
        "whole p50": 1e3 * percentile(whole, 0.5),
        "whole p99": 1e3 * percentile(whole, 0.99),
    }


def _compare(
    bench: Bench,
    texts: load.Texts,
    send: load.Send,
    settings: Sequence[Server],
    figures: Callable[[load.Window], Figures],
) -> tuple[Figures, Figures, str]:
    """Our medians, theirs at the setting with the most tokens a second, and that setting."""
    contenders = [servers.ours(bench.base), *settings]
    found: list[list[Figures]] = [[] for _ in contenders]
    with ExitStack() as running:
        addresses = [running.enter_context(running_server(server.command)) for server in contenders]
        for _ in range(bench.rounds):
            for address, rounds in zip(addresses, found, strict=True):
                window = asyncio.run(
                    load.closed_loop(
                        address, texts, send, num_clients=NUM_CLIENTS, warm_up_s=WARM_UP_S, measured_s=MEASURED_S
                    )
                )
                rounds.append(figures(window))
    ours, *theirs = [{key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for rounds in found]
    best = max(range(len(theirs)), key=lambda i: theirs[i]["rate"])
    return ours, theirs[best], f"{settings[best].setting} workers x threads"


def _table(title: str, rows: Sequence[tuple[str, float, float, str]]) -> Table:
    return Table(
        title,
        ("", "ours", "CTranslate2", "ours / CTranslate2", "to reach"),
        [
            (name, _figure(ours), _figure(theirs), f"{ours / theirs:.3f}" if "steps" not in name else "", goal)
            for name, ours, theirs, goal in rows
        ],
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
