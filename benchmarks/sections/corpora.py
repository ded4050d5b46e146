"""What `stepstream translate-corpus` keeps of the rate of bare engines on the same processors."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.bare_engine import BareEngines, Run, rate
from benchmarks.figures import at_least, median_ratio
from benchmarks.report import RECURRENT, ROOT, SHIPPED, Bench, LeftOutError, Table
from service.cores import num_cores
from service.corpora.arguments import NEEDED, SHARD_LINES
from service.corpora.model import find_model

NUM_LINES = 20_000
GOAL = 0.9


def measure(bench: Bench) -> Iterator[Table]:
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise LeftOutError(f"{', '.join(missing)} missing: pip install 'stepstream[corpora]'")
    sentences = (bench.captions * (NUM_LINES // len(bench.captions) + 1))[:NUM_LINES]
    source = bench.scratch / "corpus.txt"
    source.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    rows = []
    for name in (SHIPPED, RECURRENT):
        bare, ours, whole = [], [], []
        model = find_model(ROOT / "model_store", name, 0)
        with BareEngines(model, sentences, number=num_cores()) as engines:
            for number in range(bench.rounds):
                bare.append(engines.tokens_per_second())
                runs, seconds = _translate(source, bench.scratch / f"{name}-{number}", name)
                ours.append(rate(runs))
                whole.append(seconds)
        ratio = median_ratio(ours, bare)
        rates = (f"{statistics.median(each):,.0f}" for each in (bare, ours))
        rows.append((name, *rates, f"{ratio:.2f}", at_least(ratio, GOAL), f"{statistics.median(whole):.1f} s"))
    yield Table(
        f"A corpus of {NUM_LINES:,} captions in shards of {SHARD_LINES:,}, greedy, from the first shard's start to the "
        f"last one's end, beside as many bare engines in processes of their own, {num_cores()}, that have its token "
        "ids ready",
        ("model", "bare engines, tokens/s", "corpus, tokens/s", "corpus / bare", "to reach", "whole command"),
        rows,
    )


def _translate(source: Path, output: Path, name: str) -> tuple[list[Run], float]:
    """The shards of one run of the command, and its seconds from start to end."""
    command = [sys.executable, "-m", "service.cli", "translate-corpus", str(source), str(output), "--model", name]
    started = time.perf_counter()
    subprocess.run([*command, "--model-store", str(ROOT / "model_store")], check=True, capture_output=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    records = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    return [
        Run(record["num_tokens"], record["started_at"], record["started_at"] + record["seconds"]) for record in records
    ], seconds
