"""Measures between which values each activation of a float32 graph lies, over sources and targets of random tokens.

Random tokens need no texts, so that the same weights always give the same ranges. Each bound is rounded outwards to a
few digits, so that another processor's last digit gives the same ones too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.models.contract import StateSpec
from export.models.control_tokens import BEGIN_ID, END_ID
from export.quantize import Range, multiplied
from export.trace import NUM_CONTROL_TOKENS
from service.model.session import Array, Session

SOURCE_LENGTHS = (2, 5, 11, 23, 40)
NUM_ROWS = 24
NUM_STEPS = 24
SIGNIFICANT_BITS = 5


@dataclass(frozen=True)
class Ranges:
    """Of the activations of both graphs that are multiplied by constant matrices."""

    encoder: Mapping[str, Range]
    decoder_step: Mapping[str, Range]


def measure_ranges(
    encoder: onnx.ModelProto, decoder_step: onnx.ModelProto, states: Sequence[StateSpec], vocabulary_size: int
) -> Ranges:
    """Run both float32 graphs over batches of rows of one length, so that no padding is measured; each target is the
    greedy one with every fourth token drawn instead."""
    rng = np.random.default_rng(0)
    encoders, steps = _Observed(encoder), _Observed(decoder_step)
    for source_length in SOURCE_LENGTHS:
        source_ids = rng.integers(NUM_CONTROL_TOKENS, vocabulary_size, (NUM_ROWS, source_length))
        source_ids[:, -1] = END_ID
        source_lengths = np.full(NUM_ROWS, source_length)
        inputs = dict(encoders.run({"source_ids": source_ids, "source_lengths": source_lengths}))
        for state in states:
            if state.kind in ("growing", "noise"):
                sizes = {"batch": NUM_ROWS, "source_length": source_length, "capacity": NUM_STEPS}
                shape = [sizes[axis] if isinstance(axis, str) else axis for axis in state.axes]
                inputs[state.name] = np.zeros(shape, np.float32)
        token_ids = np.full(NUM_ROWS, BEGIN_ID)
        for position in range(NUM_STEPS):
            positions = np.full(NUM_ROWS, position)
            outputs = steps.run(
                {"token_ids": token_ids, "positions": positions, "source_lengths": source_lengths, **inputs}
            )
            inputs |= {name: outputs[f"new_{name}"] for name in inputs if f"new_{name}" in outputs}
            drawn = rng.integers(NUM_CONTROL_TOKENS, vocabulary_size, NUM_ROWS)
            token_ids = np.where(rng.random(NUM_ROWS) < 0.25, drawn, outputs["candidate_ids"][:, 0])
    return Ranges(encoders.ranges(), steps.ranges())


class _Observed:
    """A graph that also gives the activations in question, and the least and the greatest value of each so far."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._names = multiplied(model)
        self._outputs = [output.name for output in model.graph.output]
        observed = onnx.ModelProto()
        observed.CopyFrom(model)
        for name in self._names:
            if name not in self._outputs:
                observed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "observed.onnx"
            onnx.save(observed, path, save_as_external_data=True, location="weights.bin")
            self._session = Session(path)
        self._least = dict.fromkeys(self._names, 0.0)
        self._greatest = dict.fromkeys(self._names, 0.0)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The graph's own outputs by name."""
        found = self._session.run(inputs)
        for name in self._names:
            self._least[name] = min(self._least[name], float(found[name].min()))
            self._greatest[name] = max(self._greatest[name], float(found[name].max()))
        return {name: found[name] for name in self._outputs}

    def ranges(self) -> dict[str, Range]:
        return {name: Range(-outwards(-self._least[name]), outwards(self._greatest[name])) for name in self._names}


def outwards(bound: float) -> float:
    """A bound from 0 upwards, rounded up to SIGNIFICANT_BITS binary digits."""
    if bound == 0.0:
        return 0.0
    mantissa, exponent = np.frexp(bound)
    unit = 2.0**SIGNIFICANT_BITS
    return float(np.ldexp(np.ceil(mantissa * unit) / unit, exponent))
