"""A real graph that runs for as long as it is told, and rows whose steps and encodes run it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, save

from service.model.candidates import Candidates
from service.model.memory import on_host
from service.model.session import Session
from service.model.slots import Encoded
from tests.unit.engine.conftest import FakeRows

FOR_EVER = 2**60
"""Rounds."""


def write_loop(path: Path) -> Path:
    """A graph that adds 1 `rounds` times."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["total_in", "one"], ["total_out"]),
            helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total_in", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total_out", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "", "zero"], ["total"], body=body)],
        "loop",
        [helper.make_tensor_value_info("rounds", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, [1])],
        [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Loop:
    """The graph, through the session that serves, in both ways in which that runs a graph."""

    def __init__(self, folder: Path) -> None:
        self._session = Session(write_loop(folder / "loop.onnx"), num_threads=1)
        self.execution_provider = self._session.execution_provider

    def run(self, rounds: int) -> float:
        return float(self._session.run({"rounds": np.array([rounds])})["total"][0])

    def run_bound(self, rounds: int) -> float:
        total = np.zeros(1, np.float32)
        self._session.bind({"rounds": on_host(np.array([rounds]))}, {"total": on_host(total)}).run()
        return float(total[0])


class LoopingRows(FakeRows):
    """Each step and each encode runs the graph first."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(step_s=0.01)
        self.step_rounds: list[int] = []
        self.encode_rounds: list[int] = []
        self._loop = loop

    def step(self) -> Candidates:
        self._loop.run_bound(self.step_rounds.pop() if self.step_rounds else 1)
        return super().step()

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded:
        self._loop.run(self.encode_rounds.pop() if self.encode_rounds else 1)
        return super().encode(sources)
