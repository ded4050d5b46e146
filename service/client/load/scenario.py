"""What a load test does: how requests arrive, what they ask for, and what is good enough. A TOML file, or flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from service.client.channel import DEFAULT_ADDRESS
from service.client.errors import InvalidRequestError
from service.client.options import DecodingOptions, Sampling


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Closed(_Part):
    """So many clients, each of which sends its next request once the last one has ended."""

    kind: Literal["closed"] = "closed"
    clients: PositiveInt = 16
    duration_s: PositiveFloat = 30.0
    warm_up_s: NonNegativeFloat = 3.0


class Poisson(_Part):
    """Requests arrive at random, `rate` of them a second, whether or not others are answered."""

    kind: Literal["poisson"]
    rate: PositiveFloat
    duration_s: PositiveFloat = 30.0
    warm_up_s: NonNegativeFloat = 3.0


class Trace(_Part):
    """Requests arrive when the lines of a file say, in seconds; speed 2 plays it in half the time."""

    kind: Literal["trace"]
    file: Path
    speed: PositiveFloat = 1.0
    warm_up_s: NonNegativeFloat = 0.0


class Ramp(_Part):
    """Poisson arrivals, faster from stage to stage until the server no longer keeps up; then the knee is looked for
    between the last rate that held and the first that did not, refinements times."""

    kind: Literal["ramp"]
    start_rate: PositiveFloat = 10.0
    growth: float = Field(1.5, gt=1.0)
    max_rate: PositiveFloat = 100_000.0
    stage_s: PositiveFloat = 10.0
    warm_up_s: NonNegativeFloat = 2.0
    good_share: float = Field(0.95, gt=0.0, le=1.0)
    """Of the requests that arrive, what must be answered well for a rate to hold."""
    refinements: NonNegativeInt = 3


class Targets(_Part):
    """When a request was answered well, in milliseconds; None asks for nothing. gap_ms: the mean time between two
    tokens of one request."""

    first_token_ms: PositiveFloat | None = None
    gap_ms: PositiveFloat | None = None
    total_ms: PositiveFloat | None = None


class EmptySteps(_Part):
    """A stream of LoadTestService in place of a translation; steps_per_second 0: as fast as possible."""

    num_steps: PositiveInt = 1000
    step_bytes: NonNegativeInt = 0
    steps_per_second: NonNegativeFloat = 0.0


def _require_known(kind: type[DecodingOptions | Sampling], values: Any) -> None:
    if isinstance(values, Mapping) and (unknown := sorted(values.keys() - {field.name for field in fields(kind)})):
        raise ValueError(f"there is no option {', '.join(map(repr, unknown))}")


def _only_known_options(values: Any) -> Any:
    """Pydantic passes over the unknown keys of a dataclass."""
    _require_known(DecodingOptions, values)
    if isinstance(values, Mapping):
        _require_known(Sampling, values.get("sampling"))
    return values


class Job(_Part):
    """One kind of request. weight: how often it is sent, beside the others. sentences: a UTF-8 file, one a line; None
    for the golden sentences of the model's certificate. model None: the server's only one."""

    weight: PositiveFloat = 1.0
    model: str | None = None
    version: NonNegativeInt | str = 0
    sentences: Path | None = None
    options: Annotated[DecodingOptions, BeforeValidator(_only_known_options)] = DecodingOptions()
    empty_steps: EmptySteps | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.empty_steps is not None and self.model_fields_set - {"weight", "empty_steps"}:
            raise ValueError("empty_steps goes with no model, sentences or options")
        return self

    @property
    def name(self) -> str:
        """For people to read: the model and what differs from greedy search."""
        if self.empty_steps is not None:
            steps = self.empty_steps
            pace = f" at {steps.steps_per_second:g}/s" if steps.steps_per_second else ""
            return f"{steps.num_steps} empty steps of {steps.step_bytes} bytes{pace}"
        changed = [f"{key}={value}" for key, value in _changed(self.options).items()]
        version = f":{self.version}" if self.version else ""
        return " ".join([f"{self.model or 'the only model'}{version}", *changed])


def _changed(options: DecodingOptions) -> dict[str, Any]:
    pairs = ((field, getattr(options, field.name)) for field in fields(options))
    return {
        field.name: _changed(value) if is_dataclass(value) else value  # type: ignore[arg-type]
        for field, value in pairs
        if value != field.default
    }


class Scenario(_Part):
    """One load test. processes: of the generator; connections: of each of them; timeout_s: of each request."""

    address: str = DEFAULT_ADDRESS
    load: Annotated[Closed | Poisson | Trace | Ramp, Field(discriminator="kind")] = Closed()
    mix: tuple[Job, ...] = Field((Job(),), min_length=1)
    targets: Targets = Targets()
    processes: PositiveInt = 1
    connections: PositiveInt = 8
    timeout_s: PositiveFloat = 60.0
    seed: NonNegativeInt = 0


def read_scenario(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, paths in it counted from its folder; raises InvalidRequestError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path}: {error}") from None
    for table, key in ((tables.get("load"), "file"), *((job, "sentences") for job in _tables(tables.get("mix")))):
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(path.parent / table[key])
    return tables


def make_scenario(tables: Mapping[str, Any]) -> Scenario:
    """The scenario of such tables; raises InvalidRequestError with every problem in one line."""
    try:
        return Scenario.model_validate(tables)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        )
        raise InvalidRequestError(f"the scenario cannot be played: {'; '.join(problems)}") from None


def _tables(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
