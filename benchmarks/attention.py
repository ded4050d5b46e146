"""`python -m benchmarks.attention`: every attention compared on the same sentences, by the length of the source.

It translates the test splits greedily with each version of the store that has these languages, through the loader that
serves, and writes a table (attention.md) and a plot (attention.png).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from export.errors import ExportError
from export.evaluate import translate
from export.metrics import bleu
from export.training.data import read_lines
from service.model.errors import ModelError
from service.model.onnx_model import OnnxModel
from service.model.store import list_versions

ROOT = Path(__file__).parents[1]
SPLITS = ("test_2016_flickr", "test_2017_flickr")
LONGEST = (10, 15, 20, None)
"""Ranges of the source's length in words, each up to and with a number; the last one has no end."""


@dataclass(frozen=True)
class Comparison:
    """One model: size in bytes, BLEU over all sentences and over each range of lengths, nan for a range without any."""

    name: str
    attention: str
    num_bytes: int
    bleu: float
    bleu_by_length: tuple[float, ...]


def main(arguments: list[str] | None = None) -> int:
    """Compare; the exit status. What a caller can put right is one line on stderr and status 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, default=ROOT / "data" / "multi30k", help="folder of SPLIT.LANGUAGE.gz files"
    )
    parser.add_argument("--model-store", type=Path, default=ROOT / "model_store")
    parser.add_argument("--languages", nargs=2, default=("en", "de"), metavar=("SOURCE", "TARGET"))
    parser.add_argument("--splits", nargs="+", default=SPLITS, metavar="SPLIT", help=f"(default: {' '.join(SPLITS)})")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the table and the plot")
    options = parser.parse_args(arguments)
    try:
        _compare_all(options)
    except (ExportError, ModelError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _compare_all(options: argparse.Namespace) -> None:
    source, target = (
        [line for split in options.splits for line in read_lines(options.corpus, split, language)]
        for language in options.languages
    )
    ranges = ranges_of(source)
    comparisons = []
    newest = {stored.name: stored.folder for stored in list_versions(options.model_store)}
    for folder in newest.values():
        model = OnnxModel(folder)
        if (model.manifest.source_language, model.manifest.target_language) == tuple(options.languages):
            comparisons.append(compare(model, source, target, ranges))
            print(f"{comparisons[-1].name:<20} BLEU {comparisons[-1].bleu:.1f}", flush=True)
    comparisons.sort(key=lambda comparison: comparison.bleu, reverse=True)
    text = table(comparisons, [len(indices) for indices in ranges], options.splits)
    (options.output / "attention.md").write_text(text, encoding="utf-8")
    plot(comparisons, options.output / "attention.png")
    print(f"\n{text}")


def ranges_of(sentences: list[str]) -> list[list[int]]:
    """The numbers of the sentences in each range of LONGEST."""
    ranges: list[list[int]] = [[] for _ in LONGEST]
    for i, sentence in enumerate(sentences):
        length = len(sentence.split())
        ranges[next(r for r, longest in enumerate(LONGEST) if longest is None or length <= longest)].append(i)
    return ranges


def compare(model: OnnxModel, source: list[str], target: list[str], ranges: list[list[int]]) -> Comparison:
    """Translate all sources and score them against the targets."""
    manifest = model.manifest
    hypotheses = translate(model, source)
    metric = bleu(manifest.target_language)

    def score(indices: list[int]) -> float:
        if not indices:
            return math.nan
        return float(metric.corpus_score([hypotheses[i] for i in indices], [[target[i] for i in indices]]).score)

    return Comparison(
        manifest.name,
        manifest.attention or "none",
        sum(path.stat().st_size for path in model.folder.iterdir()),
        score([*range(len(source))]),
        tuple(score(indices) for indices in ranges),
    )


def headings() -> list[str]:
    """Each range of lengths in words."""
    names = []
    shortest = 1
    for longest in LONGEST:
        names.append(f"{shortest} and more" if longest is None else f"{shortest} to {longest}")
        shortest = 0 if longest is None else longest + 1
    return names


def table(comparisons: list[Comparison], num_sentences: list[int], splits: Sequence[str]) -> str:
    """The comparison as a Markdown page; num_sentences: of each range of lengths."""
    columns = [f"{name} words ({number})" for name, number in zip(headings(), num_sentences, strict=True)]
    lines = [
        "# Attention compared",
        "",
        f"BLEU (cased sacreBLEU) of greedy translations of {' and '.join(splits)}, {sum(num_sentences)} sentences,",
        "by the length of the source; the shipped versions, through the loader that serves. Made by `make compare`.",
        "",
        f"| model | attention | MB | BLEU | {' | '.join(columns)} |",
        "|---|---|---|---|" + "---|" * len(columns),
    ]
    for one in comparisons:
        by_length = " | ".join("\N{EN DASH}" if math.isnan(value) else f"{value:.1f}" for value in one.bleu_by_length)
        lines.append(f"| `{one.name}` | {one.attention} | {one.num_bytes / 1e6:.1f} | {one.bleu:.1f} | {by_length} |")
    return "\n".join([*lines, "", "![BLEU by the length of the source](attention.png)", ""])


def plot(comparisons: list[Comparison], path: Path) -> None:
    """One line for each model over the ranges of lengths."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    styles = ["-", "--", ":"]
    colours = mpl.colormaps["tab10"]
    for i, one in enumerate(comparisons):
        axes.plot(
            headings(), one.bleu_by_length, marker="o", linestyle=styles[i % 3], color=colours(i % 10), label=one.name
        )
    axes.set_xlabel("words of the source")
    axes.set_ylabel("BLEU")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    raise SystemExit(main())
