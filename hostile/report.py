"""What every report begins with."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

from export.environment import processor_name
from service.cores import num_cores

REPORTS = Path("hostile/reports")
PACKAGES = ("grpcio", "onnxruntime", "protobuf")


def heading(title: str) -> str:
    """The title, the machine and the versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    python = ".".join(map(str, sys.version_info[:3]))
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return f"# {title}\n\n{processor_name()}, {num_cores()} cores, {memory:,} MiB; Python {python}, {versions}.\n"
