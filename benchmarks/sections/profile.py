"""Where the time of a step goes, by kind of operator."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from benchmarks.profiling import Profile, read_profile, summarize
from benchmarks.report import BASE, SHIPPED, Bench, Table
from benchmarks.steps import NUM_STEPS, BareLoop, advance
from service.model.onnx_model import OnnxModel

ROWS = (1, 8, 64)
SMALLEST_SHARE = 0.005
"""Of a step's time; kinds with less at every number of rows are summed up."""


def measure(bench: Bench) -> Iterator[Table]:
    for label, folder in ((SHIPPED, bench.shipped(SHIPPED)), (BASE, bench.base)):
        plain = OnnxModel(folder, num_threads=1)
        profiles, bare = {}, {}
        for rows in ROWS:
            model = OnnxModel(
                folder, num_threads=1, profile=bench.scratch / f"profile-{label.replace(' ', '-')}-{rows}"
            )
            loop = BareLoop(plain, rows)
            rates = []
            for _ in range(bench.rounds):
                advance(BareLoop(model, rows).encoded())
                rates.append(loop.tokens_per_second())
            profiles[rows] = summarize(read_profile(model))
            bare[rows] = 1e6 * rows / statistics.median(rates)
        overheads = ", ".join(f"{profile.node_overhead:.1f}" for profile in profiles.values())
        yield Table(
            f"Where a decoder step of {label} spends its time, in ms and as a share of the step in a bare loop without "
            f"the profiler, one thread; operators: medians of {bench.rounds * NUM_STEPS} steps under onnxruntime's "
            f"profiler, less {overheads} us a node, the time of the cheapest kind, taken for the profiler's own",
            ("operator", "nodes", *(f"{rows} rows" for rows in ROWS)),
            list(_rows(profiles, bare)),
        )


def _rows(profiles: dict[int, Profile], bare: dict[int, float]) -> Iterator[tuple[str, ...]]:
    """The kinds with a share worth a line, the largest first, all others in one line, and sums; bare in us."""
    times = {rows: {each.kind: profile.net(each) for each in profile.operators} for rows, profile in profiles.items()}
    nodes = {each.kind: each.num_nodes for profile in profiles.values() for each in profile.operators}

    def line(name: str, kinds: Iterable[str]) -> tuple[str, ...]:
        sums = ((sum(times[rows].get(kind, 0.0) for kind in kinds), bare[rows]) for rows in profiles)
        return (name, str(sum(nodes[kind] for kind in kinds)), *(_share(*each) for each in sums))

    largest = {kind: max(times[rows].get(kind, 0.0) / bare[rows] for rows in profiles) for kind in nodes}
    shown = sorted((kind for kind in nodes if largest[kind] >= SMALLEST_SHARE), key=largest.__getitem__, reverse=True)
    for kind in shown:
        yield line(kind, [kind])
    rest = [kind for kind in nodes if kind not in shown]
    yield line(f"{len(rest)} other kinds", rest)
    yield line("all operators", list(nodes))
    outside = {rows: bare[rows] - sum(times[rows].values()) for rows in profiles}
    yield (
        "outside of operators",
        "",
        *(_share(each, bare[rows]) if each > 0 else "lost in noise" for rows, each in outside.items()),
    )
    yield ("a step in a bare loop", "", *(f"{bare[rows] / 1e3:.3f}" for rows in profiles))


def _share(microseconds: float, whole: float) -> str:
    return f"{microseconds / 1e3:.3f} ({microseconds / whole:.1%})"
