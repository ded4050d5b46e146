"""A model of opus-mt's shape, imported by the command, beside other ways to run the same folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ctranslate2.converters import TransformersConverter

from benchmarks import comparison, random_folder
from benchmarks.competitors.marians import marians
from benchmarks.competitors.rows import Other, compare_rows
from benchmarks.report import ROOT, Bench, Table
from service.model.bundle import read_manifest

SHAPE = "opus-mt"
THREADS = (1, 2)
GREEDY = "CTranslate2, int8"
BEAM_SIZE = 4
BEAM_REQUESTS = (1, 8)
SENTENCE = "Two dogs play in the snow.\n"


def measure(bench: Bench) -> Iterator[Table]:
    weights, converted = bench.scratch / "transformers" / SHAPE, bench.scratch / "ctranslate2" / SHAPE
    random_folder.make(SHAPE, weights)
    converted.parent.mkdir(exist_ok=True)
    TransformersConverter(str(weights)).convert(str(converted), quantization="int8")
    folder = _imported(weights, bench.scratch)
    end_id = read_manifest(folder).vocabulary.end_id
    pieces = {token_id: piece for piece, token_id in json.loads((weights / "vocab.json").read_text()).items()}
    ours, theirs = comparison.our_settings(folder), comparison.their_settings(converted, pieces.__getitem__)
    left_out: list[tuple[str, str]] = []
    with ExitStack() as running:
        others = [Other(GREEDY, theirs, None), *marians(running, SHAPE, weights, THREADS, {}, left_out)]
        rows = compare_rows(ours, others, bench.rounds, end_id=end_id)
    yield Table(
        f"A folder of MarianMT in opus-mt's shape (6 + 6 layers, 512, 8 heads, 58,101 tokens, random weights), "
        f"{comparison.SOURCE_LENGTH} into {comparison.TARGET_LENGTH} tokens, with encoding, greedy, tokens/s; ours: as "
        "`stepstream-export import hf --precision int8` publishes it, at its best setting; CTranslate2: by its own "
        "converter; all with at most two threads, whichever setting is quicker",
        ("with", "requests", "ours", "theirs", "setting", "ours / theirs", ""),
        rows,
    )
    rows = []
    for num_sources in BEAM_REQUESTS:
        rates = comparison.compare(
            ours, theirs, num_sources=num_sources, beam_size=BEAM_SIZE, rounds=bench.rounds, end_id=end_id
        )
        figures = (f"{rates.ours:,.0f}", f"{rates.theirs:,.0f}", f"{rates.ratio:.2f}")
        rows.append((str(num_sources), *figures, f"{rates.our_setting}; {rates.their_setting}"))
    yield Table(
        f"The same by a beam search of {BEAM_SIZE}, beside CTranslate2",
        ("requests", "ours", "theirs", "ours / theirs", "workers x threads"),
        rows,
        ("workers x threads",),
    )
    if left_out:
        yield Table("Not measured", ("with", "because"), left_out, ("because",))


def _imported(weights: Path, scratch: Path) -> Path:
    """The version that the command publishes."""
    sentences = scratch / "sentences.txt"
    sentences.write_text(SENTENCE, encoding="utf-8")
    options = ("--max-length", "64", "--precision", "int8", "--sentences", str(sentences))
    command = (sys.executable, "-m", "export.cli", "import", "hf", str(weights), *options)
    subprocess.run((*command, "--model-store", str(scratch / "imported")), cwd=ROOT, check=True, capture_output=True)
    return scratch / "imported" / SHAPE / "1"
