"""Every setting of the server: environment variables `STEPSTREAM_*`, a TOML file, or flags of `stepstream serve`.

Flags win over the environment, the environment over the file. This module does not know what the settings do.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.attempts import MAX_ATTEMPTS
from service.cores import num_cores

FILE_VARIABLE = "STEPSTREAM_SETTINGS_FILE"
MOST_ENGINES = 4
"""Of one model, where nobody sets their number: each reads all weights in every step."""
LIGHT_STEP_BYTES = 16 * 2**20
"""A smaller step ends so soon that the engines would wait for each other's turn in the interpreter."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """The server's settings; each description gives the unit, each field its default."""

    model_config = SettingsConfigDict(env_prefix="STEPSTREAM_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: Port = Field(8001, description="TCP port of gRPC; 0 for any free one")
    metrics_port: Port = Field(8002, description="TCP port of /metrics, /live and /ready over HTTP; 0 for any free one")
    model_store: Path = Field(Path("model_store"), description="folder of MODEL/VERSION/ folders")
    execution_providers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("cpu",),
        description="ordered, comma-separated: cpu, cuda; onnxruntime's options after a colon, "
        "as in cuda:device_id=0;use_tf32=0,cpu",
    )
    num_processes: PositiveInt = Field(
        1, description="server processes behind the gRPC port, each with all models; connections are divided among them"
    )
    num_workers: int = Field(
        0,
        ge=0,
        description="engines of each model, which step side by side; 0: one for each core, at most 4, "
        "and one alone for a model whose step has less than 16 MiB",
    )
    num_threads: PositiveInt = Field(1, description="threads that the step of one engine uses")
    max_slots: PositiveInt = Field(64, description="sequences that share one engine's decoder step")
    max_queue_length: PositiveInt = Field(1024, description="requests that wait for a slot, for each engine")
    max_encode_tokens: PositiveInt = Field(
        48, description="source tokens, padding included, that one encode between two steps may take"
    )
    max_text_length: PositiveInt = Field(10_000, description="longest text, in characters")
    max_texts: PositiveInt = Field(1024, description="most texts in one Translate request")
    max_attempts: PositiveInt = Field(
        MAX_ATTEMPTS, description="attempts of one request, as its client counts them; later ones are refused"
    )
    drain_delay_s: NonNegativeFloat = Field(
        0.0,
        description="seconds between not being ready and refusing requests when the server stops; "
        "behind a load balancer the time of two of its checks",
    )
    grace_s: PositiveFloat = Field(30.0, description="seconds that running translations get when the server stops")
    verify_certificates: bool = Field(True, description="replay each version's golden sentences before serving it")

    @model_validator(mode="before")
    @classmethod
    def _split_providers(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("execution_providers"), str):
            values = values | {"execution_providers": tuple(values["execution_providers"].split(","))}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        parse_providers(self.execution_providers)
        if self.port and self.port == self.metrics_port:
            raise ValueError(f"port and metrics_port are both {self.port}")
        return self

    def num_engines(self, step_bytes: int) -> int:
        """Of each process: num_workers; without it as many as there are cores for, at most MOST_ENGINES, and one for a
        light step."""
        most = MOST_ENGINES if step_bytes >= LIGHT_STEP_BYTES else 1
        return self.num_workers or max(1, min(most, num_cores() // (self.num_threads * self.num_processes)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get(FILE_VARIABLE)
        if path and not Path(path).is_file():
            raise FileNotFoundError(f"{FILE_VARIABLE}: {path} does not exist")
        try:
            file = (TomlConfigSettingsSource(settings_cls, toml_file=path),) if path else ()
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{FILE_VARIABLE}: {path}: {error}") from error
        return (init_settings, env_settings, *file)


def parse_providers(names: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """onnxruntime's names and options of an ordered list such as ("cuda:device_id=1", "cpu")."""
    parsed = []
    for name in names:
        short, _, options = name.strip().partition(":")
        if short not in PROVIDERS:
            raise ValueError(f"unknown execution provider {short!r}; known are {', '.join(PROVIDERS)}")
        pairs = dict(part.strip().partition("=")[::2] for part in options.split(";") if part)
        if not all(pairs.values()):
            raise ValueError(f"an option of {short} has no value: {options!r}")
        parsed.append((PROVIDERS[short], pairs))
    return parsed
