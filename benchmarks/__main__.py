"""`make bench`: every figure of speed in one report, each value the median of interleaved rounds."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.report import Bench, LeftOutError
from benchmarks.sections import SECTIONS
from export.environment import processor_name
from service.cores import num_cores

PACKAGES = ("onnxruntime", "ctranslate2", "torch", "grpcio")
MIB = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (default: 5)")
    parser.add_argument(
        "--only", type=section_names, default=list(SECTIONS), help=f"comma-separated (default: {','.join(SECTIONS)})"
    )
    options = parser.parse_args()
    console = Console(width=150, soft_wrap=False)
    console.print(f"{machine()}; {options.rounds} rounds", highlight=False)
    seconds: dict[str, float] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(options.rounds, Path(temporary))
        for name in options.only:
            console.print(f"\n## {name}", highlight=False)
            started = time.perf_counter()
            try:
                for table in SECTIONS[name](bench):
                    table.print_on(console)
            except LeftOutError as error:
                console.print(f"\n{name}: left out: {error}", highlight=False)
            except Exception:
                traceback.print_exc()
                failed.append(name)
            seconds[name] = time.perf_counter() - started
    each = ", ".join(f"{name} {spent:.0f}" for name, spent in seconds.items())
    console.print(f"\nMeasured in {sum(seconds.values()):.0f} s: {each}", highlight=False, soft_wrap=True)
    if failed:
        console.print(f"Failed: {', '.join(failed)}", highlight=False)
    return 1 if failed else 0


def section_names(text: str) -> list[str]:
    """Names from a comma-separated list; raises ArgumentTypeError for one that is no section."""
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def machine() -> str:
    """Processor, cores, memory, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{processor_name()}, {num_cores()} cores, {memory:,} MiB; Python {python}, {versions}"


if __name__ == "__main__":
    raise SystemExit(main())
