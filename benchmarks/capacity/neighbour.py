"""Keeps a core as busy as another replica would: a machine in use reads weights on all of its cores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.pinning import on_core
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

NUM_ROWS, SOURCE_LENGTH, NUM_STEPS = 16, 16, 24
BUSY_LINE = "busy"


@contextmanager
def neighbour(folder: Path, core: int) -> Iterator[None]:
    """A process on a core that translates with a version for as long as the block runs."""
    with on_core(core):
        command = (sys.executable, "-m", "benchmarks.capacity.neighbour", str(folder))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != BUSY_LINE:
            raise RuntimeError(f"the neighbour ended with {process.wait()}")
        yield
    finally:
        process.terminate()
        process.communicate()


def _translate(model: OnnxModel) -> None:
    size = model.manifest.vocabulary.source_size
    sources: list[list[int]] = np.random.default_rng(1).integers(10, size, (NUM_ROWS, SOURCE_LENGTH)).tolist()
    slots = Slots(model, NUM_ROWS)
    slots.join(slots.encode(sources))
    for _ in range(NUM_STEPS):
        slots.choose(slots.step().ids[:, 0].tolist())


if __name__ == "__main__":
    onnx_model = OnnxModel(Path(sys.argv[1]), num_threads=1)
    print(BUSY_LINE, flush=True)
    while True:
        _translate(onnx_model)
