"""The decoder step in a bare loop: no server, no engine, no texts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

SOURCE_LENGTH = 16
NUM_STEPS = 24


@dataclass
class BareLoop:
    """Steps of `num_rows` sequences with sources of SOURCE_LENGTH tokens: NUM_STEPS of them, after a first one."""

    model: OnnxModel
    num_rows: int

    def tokens_per_second(self) -> float:
        """Encode, then run and time the steps alone; each row continues from its best token."""
        vocabulary = self.model.manifest.vocabulary
        ids = np.random.default_rng(1).integers(10, vocabulary.source_size, (self.num_rows, SOURCE_LENGTH))
        slots = Slots(self.model, self.num_rows)
        slots.join(slots.encode(ids.tolist()))
        slots.step()
        started = time.perf_counter()
        for _ in range(NUM_STEPS):
            candidates = slots.step()
            slots.choose(candidates.ids[:, 0].tolist())
        return self.num_rows * NUM_STEPS / (time.perf_counter() - started)
