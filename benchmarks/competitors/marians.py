"""A folder of MarianMT as contenders: transformers itself, and optimum-onnx in both precisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import comparison
from benchmarks.competitors.child import Child
from benchmarks.competitors.environment import FOLDER, python
from benchmarks.competitors.rows import Other
from benchmarks.report import LeftOutError

LIBRARIES = {
    "transformers": "transformers generate, fp32",
    "optimum": "optimum-onnx, fp32",
    "optimum-int8": "optimum-onnx, int8",
}
"""Names, by what marian.py calls them."""


def graphs(shape: str) -> Path:
    """Where the graphs of optimum-onnx are kept, which take minutes to make."""
    return FOLDER / "marian" / shape


def marians(
    running: ExitStack,
    shape: str,
    weights: Path,
    threads: Sequence[int],
    goals: Mapping[str, float],
    left_out: list[tuple[str, str]],
) -> Iterator[Other]:
    """Each library that runs here; the others go to left_out, with the reason. Goals by library."""
    for library, name in LIBRARIES.items():
        arguments = (library, str(weights), str(graphs(shape)), str(comparison.TARGET_LENGTH))
        try:
            settings = [
                running.enter_context(Child(str(each), python(), "marian.py", *arguments, str(each)))
                for each in threads
            ]
        except LeftOutError as error:
            left_out.append((name, str(error)))
        else:
            yield Other(name, settings, goals.get(library))
