"""The memory that an import of a model of transformers takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from benchmarks import random_folder
from benchmarks.figures import at_most
from benchmarks.process_memory import Peaks, peaks
from benchmarks.report import ROOT, Bench, Table

MB = 1e6
GOAL = 1.3
MAX_LENGTH = "64"
SENTENCE = "Two dogs play in the snow.\n"
"""What is measured before publishing takes a step of transformers and of torch for each token of each sentence."""
LIBRARIES = "small"
"""The shape whose memory is that of libraries alone."""
SHAPES = (LIBRARIES, "opus-mt", "nllb-600M")


def measure(bench: Bench) -> Iterator[Table]:
    measured = {shape: _import(bench, shape) for shape in SHAPES}
    libraries = measured[LIBRARIES][1].together
    rows = []
    for shape, (weights, found) in measured.items():
        ratio = (found.together - libraries) / weights
        counts = shape != LIBRARIES
        rows.append(
            (
                shape,
                f"{weights / MB:.0f}",
                f"{found.together / MB:.0f}",
                f"{found.together / weights:.2f}" if counts else "",
                f"{ratio:.2f}" if counts else "",
                at_most(ratio, GOAL) if counts else "",
            )
        )
    yield Table(
        "Memory of `stepstream-export import hf`, all its processes together, at the most, in MB: of opus-mt's shape "
        "(6 + 6 layers, 512, 8 heads, 58,101 tokens), of NLLB's of 600 million parameters, of a small one, which is "
        "libraries alone",
        ("model", "weights", "peak", "peak / weights", "peak over the small one's / weights", "to reach"),
        rows,
    )
    names = list(measured[LIBRARIES][1].each)
    yield Table(
        "The same, each process alone, one after another beside the first",
        ("process", *SHAPES),
        [(name, *(f"{found.each.get(name, 0) / MB:.0f}" for _, found in measured.values())) for name in names],
    )


def _import(bench: Bench, shape: str) -> tuple[int, Peaks]:
    """Bytes of the weights, and the peaks."""
    folder, store = bench.scratch / "transformers" / shape.lower(), bench.scratch / "imported"
    random_folder.make(shape, folder)
    sentences = bench.scratch / "sentences.txt"
    sentences.write_text(SENTENCE, encoding="utf-8")
    options = ("--max-length", MAX_LENGTH, "--sentences", str(sentences), "--model-store", str(store))
    found = peaks((sys.executable, "-m", "export.cli", "import", "hf", str(folder), *options), cwd=ROOT)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    shutil.rmtree(folder)
    shutil.rmtree(store)
    return weights, found
