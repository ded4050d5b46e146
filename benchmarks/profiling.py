"""The decoder step under onnxruntime's profiler: how long each kind of operator takes."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.model.onnx_model import OnnxModel

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Operator:
    """One kind of operator: its nodes in a step, and the time of all of them in a step."""

    kind: str
    num_nodes: int
    microseconds: float


@dataclass(frozen=True)
class Profile:
    """The operators of a step."""

    operators: tuple[Operator, ...]

    @property
    def node_overhead(self) -> float:
        """Microseconds that the profiler itself takes of each node's time: those of the cheapest kind, such as one that
        only writes down another shape."""
        return min(each.microseconds / each.num_nodes for each in self.operators)

    def net(self, operator: Operator) -> float:
        """Microseconds of an operator without what the profiler takes."""
        return operator.microseconds - operator.num_nodes * self.node_overhead


def read_profile(model: OnnxModel) -> list[Event]:
    """All that a model which was loaded with a profile has recorded, in its order."""
    events: list[Event] = json.loads(model.end_profile().read_text(encoding="utf-8"))
    return events


def summarize(events: Iterable[Event]) -> Profile:
    """Medians over the runs but the first: of each kind's time in a run. A run's event follows those of its nodes."""
    times: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, int] = {}
    run: list[Event] = []
    is_first = True
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            run.append(event)
        elif event["name"] == "model_run":
            if not is_first:
                counts = dict(Counter(node["args"]["op_name"] for node in run))
                for kind in counts:
                    times[kind].append(sum(node["dur"] for node in run if node["args"]["op_name"] == kind))
            is_first = False
            run.clear()
    return Profile(tuple(Operator(kind, counts[kind], statistics.median(times[kind])) for kind in counts))
