"""What one replica's work costs, as a formula with few terms. A replica is one engine with one core to itself.

step     fixed + row * rows + age * (sum of the rows' target tokens) + source * rows * width
encode   fixed + token * tokens + pair * tokens * width, where tokens = sources * width
serving  step for each step, token for each message that is sent, request for each call that comes in

All in seconds. width: the longest source among the rows, padded as the model pads it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepCost(_Values):
    """Of a decoder step: reading the weights, what every row adds, and what it reads of its target and its source."""

    fixed: NonNegativeFloat
    row: NonNegativeFloat
    age: NonNegativeFloat
    source: NonNegativeFloat

    def seconds(self, rows: float, ages: float, width: int) -> float:
        """ages: the sum over the rows."""
        return self.fixed + rows * (self.row + self.source * width) + self.age * ages


class EncodeCost(_Values):
    """Of an encode of several sources at once."""

    fixed: NonNegativeFloat
    token: NonNegativeFloat
    pair: NonNegativeFloat

    def seconds(self, sources: float, width: int) -> float:
        return self.fixed + sources * width * (self.token + self.pair * width)


class ServingCost(_Values):
    """Of everything around the graphs, on the same core: parsing, searching, writing, sending; or of a client. step:
    what is spent once however many messages a step makes."""

    step: NonNegativeFloat
    token: NonNegativeFloat
    request: NonNegativeFloat


class Costs(_Values):
    """Everything that a simulation knows of a model on a machine. sizes: the source and target tokens of real
    translations, of which requests are drawn; length_multiple: what sources are padded to; client: what a process of
    clients spends."""

    model: str
    machine: str
    length_multiple: PositiveInt
    step: StepCost
    encode: EncodeCost
    serving: ServingCost
    client: ServingCost
    sizes: tuple[tuple[PositiveInt, PositiveInt], ...]

    def padded(self, length: int) -> int:
        return -(-length // self.length_multiple) * self.length_multiple

    def request_seconds(self, rows: int) -> float:
        """What a request of mean size costs where so many always share a step."""
        source, target = self.mean_size
        width = self.padded(round(source))
        step_s = self.step.seconds(rows, rows * target / 2, width) + self.serving.step
        return target * (step_s / rows + self.serving.token) + self.serving.request + self.encode.seconds(1, width)

    def client_seconds(self, rows: int) -> float:
        """What a request of mean size costs its client where so many always share a step."""
        return self.mean_size[1] * (self.client.step / rows + self.client.token) + self.client.request

    @property
    def mean_size(self) -> tuple[float, float]:
        """Source and target tokens."""
        number = len(self.sizes)
        return sum(source for source, _ in self.sizes) / number, sum(target for _, target in self.sizes) / number


def read_costs(path: Path) -> Costs:
    """Raises OSError, and ValueError for a file that holds no costs."""
    return Costs.model_validate_json(path.read_text(encoding="utf-8"))


def write_costs(path: Path, costs: Costs) -> None:
    path.write_text(costs.model_dump_json(indent=1) + "\n", encoding="utf-8")
