"""The memory that an import of a model of transformers takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.figures import at_most
from benchmarks.process_memory import peak_bytes
from benchmarks.report import ROOT, Bench, Table

MB = 1e6
GOAL = 1.3
MAX_LENGTH = "64"
"""Tokens of a text: what is measured before publishing takes a decoder step in torch for each, many times."""
SHAPES = {"small": ["--small"], "opus-mt": []}


def measure(bench: Bench) -> Iterator[Table]:
    weights: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for name, options in SHAPES.items():
        folder = bench.scratch / "transformers" / name
        make = (sys.executable, "-m", "benchmarks.opus_folder", str(folder), *options)
        subprocess.run(make, cwd=ROOT, check=True, capture_output=True)
        weights[name] = (folder / "model.safetensors").stat().st_size / MB
        command = (sys.executable, "-m", "export.cli", "import", "hf", str(folder), "--max-length", MAX_LENGTH)
        peaks[name] = peak_bytes((*command, "--model-store", str(bench.scratch / "imported")), cwd=ROOT) / MB
    rows = []
    for name in SHAPES:
        ratio = (peaks[name] - peaks["small"]) / weights[name]
        counts = name != "small"
        rows.append(
            (
                name,
                f"{weights[name]:.1f}",
                f"{peaks[name]:.0f}",
                f"{ratio:.2f}" if counts else "",
                at_most(ratio, GOAL) if counts else "",
            )
        )
    yield Table(
        "Memory of `stepstream-export import hf`, all its processes together, at the most, in MB: of a model of "
        "opus-mt's shape (6 + 6 layers, 512, 8 heads, 58,101 tokens), and of a small one, which is libraries alone",
        ("model", "weights", "peak", "peak over the small one's / weights", "to reach"),
        rows,
    )
