"""`python -m benchmarks.starting STORE`: the parts of a server's start, measured in a process that has just been made;
prints seconds as a line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

_BEGAN = time.perf_counter()


def main() -> None:
    parts = {"python": _seconds_alive()}
    started = _BEGAN
    import service.cli
    import service.server  # noqa: F401

    parts["imports"] = time.perf_counter() - started

    from service.model.certificate import read_certificate, replay
    from service.model.onnx_model import OnnxModel
    from service.model.store import list_versions
    from service.model.text import open_texts

    started = time.perf_counter()
    [version] = list_versions(Path(sys.argv[1]))
    model = OnnxModel(version.folder, num_threads=1)
    open_texts(model.manifest, version.folder)
    parts["load"] = time.perf_counter() - started
    started = time.perf_counter()
    replay(model, read_certificate(version.folder / model.manifest.certificate))
    parts["replay"] = time.perf_counter() - started
    print(json.dumps(parts))


def _seconds_alive() -> float:
    """From when the kernel made this process until this module began to run, to a hundredth of a second."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return now - (time.perf_counter() - _BEGAN) - ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
