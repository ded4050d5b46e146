"""Every setting of the server: environment variables `STEPSTREAM_*`, a TOML file, or flags of `stepstream serve`.

Flags win over the environment, the environment over the file. This module does not know what the settings do.
"""

from __future__ import annotations

import itertools
import os
import re
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.admission.admission import AdmissionLimits
from service.attempts import MAX_ATTEMPTS
from service.cores import num_cores
from service.policies import parse_policies

FILE_VARIABLE = "STEPSTREAM_SETTINGS_FILE"
MOST_ENGINES = 4
"""Of one model, where nobody sets their number: each reads all weights in every step."""
LIGHT_STEP_BYTES = 16 * 2**20
"""A smaller step ends so soon that the engines would wait for each other's turn in the interpreter."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(gt=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(ge=0.0, le=1e9)]
PositiveSeconds = Annotated[float, Field(gt=0.0, le=1e9)]


class Settings(BaseSettings):
    """The server's settings; each description gives the unit, each field its default."""

    model_config = SettingsConfigDict(env_prefix="STEPSTREAM_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: Port = Field(8001, description="TCP port of gRPC; 0 for any free one")
    metrics_host: str = Field(
        "127.0.0.1", description="address of /metrics, /livez and /readyz; they ask nobody who they are"
    )
    metrics_port: Port = Field(
        8002, description="TCP port of /metrics, /livez and /readyz over HTTP; 0 for any free one"
    )
    model_store: Path = Field(Path("model_store"), description="folder of MODEL/VERSION/ folders")
    execution_providers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("cpu",),
        description="ordered, comma-separated: cpu, cuda; onnxruntime's options after a colon, "
        "as in cuda:device_id=0;use_tf32=0,cpu",
    )
    num_processes: Count = Field(
        1, description="server processes behind the gRPC port, each with all models; connections are divided among them"
    )
    num_workers: int = Field(
        0,
        ge=0,
        description="engines of each model, which step side by side; 0: one for each core, at most 4, "
        "and one alone for a model whose step has less than 16 MiB",
    )
    num_threads: Count = Field(1, description="threads that the step of one engine uses")
    engine_niceness: int = Field(
        10,
        ge=0,
        le=19,
        description="how much nicer an engine's thread is than the rest of the process, which then need not wait for "
        "a step; 0 where other processes want the same cores and nothing divides these among them",
    )
    max_slots: Annotated[int, Field(gt=0, le=65_536)] = Field(
        64, description="sequences that share one engine's decoder step; fewer while much is refused"
    )
    max_queue_length: Count = Field(256, description="requests that wait for a slot, for each model")
    max_queue_tokens: Count = Field(32_768, description="source tokens of requests that wait, for each model")
    max_queue_wait_s: PositiveSeconds = Field(
        5.0,
        description="seconds; a request that would wait longer for a slot, as far as can be told, is refused; "
        "once the queue has stood for a twentieth of it, one that would wait for half of it, and for a hundredth of it "
        "while a third of what comes is refused",
    )
    max_client_share: float = Field(
        0.5, gt=0.0, le=1.0, description="of the queue, that one client may have while others wait"
    )
    max_call_s: PositiveSeconds = Field(300.0, description="seconds until a call ends whose caller has set no deadline")
    max_encode_tokens: Count = Field(
        48, description="source tokens, padding included, that one encode between two steps may take"
    )
    max_text_bytes: Count = Field(32_768, description="longest text, in bytes of UTF-8, also once it is normalized")
    max_message_bytes: Count = Field(2**20, description="longest message from a client, in bytes")
    max_concurrent_streams: Count = Field(
        1024,
        description="calls on one connection; 100 where clients connect without a proxy, which shares one among many",
    )
    max_connection_age_s: Seconds = Field(
        0.0,
        description="seconds after which a client is asked to connect again, while its running calls go on to their "
        "end; 0: never; lets clients that balance among replicas by themselves find new ones",
    )
    max_texts: Count = Field(1024, description="most texts in one Translate request")
    step_timeout_s: PositiveSeconds = Field(
        10.0,
        description="seconds that a decoder step or an encode may take before it is ended; the second one that does "
        "ends the process",
    )
    max_failed_steps: Count = Field(
        3, description="decoder steps in a row that may fail with no sequence to blame before the process ends"
    )
    max_write_stall_s: PositiveSeconds = Field(
        30.0, description="seconds that a client may leave a message of its stream unread before the call is ended"
    )
    drain_delay_s: Seconds = Field(
        0.0,
        description="seconds between not being ready and refusing requests when the server stops; "
        "behind a load balancer the time of two of its checks",
    )
    max_attempts: Count = Field(
        MAX_ATTEMPTS, description="attempts of one request, as its client counts them; later ones are refused"
    )
    grace_s: PositiveSeconds = Field(30.0, description="seconds that running translations get when the server stops")
    admin_host: str = Field(
        "127.0.0.1", description="address of the ports for operators; another needs tokens or mutual TLS"
    )
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate and its chain; none: no TLS")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's key")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of who signs clients' certificates; none: clients need none"
    )
    tokens_file: Path | None = Field(
        None,
        description="JSON or TOML file of the bearer tokens, as `stepstream token` makes them; none: no token is asked",
    )
    verify_certificates: bool = Field(True, description="replay each version's golden sentences before serving it")
    access_log: bool = Field(True, description="write one line for each call, without its texts")
    load_test_service: bool = Field(
        False, description="offer LoadTestService: streams of empty steps that find what the transport can carry"
    )
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="where traces go over OTLP/HTTP, as in http://collector:4318/v1/traces; nowhere if empty",
    )
    trace_ratio: float = Field(
        1.0, ge=0, le=1, description="part of the calls that are traced, where the caller has not decided it"
    )
    model_control: Literal["none", "watch", "explicit"] = Field(
        "none",
        description="none: load the store at the start, and refuse to start with a version that is damaged; watch: "
        "follow what is published and taken away; explicit: load and unload over the admin port alone",
    )
    watch_interval_s: PositiveSeconds = Field(5.0, description="seconds between two looks at the store, in watch")
    initial_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="comma-separated: NAME or NAME:VERSION to load at the start, in explicit"
    )
    initial_labels: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="comma-separated: NAME:VERSION=LABEL, given as soon as the version serves"
    )
    version_policy: str = Field(
        "all",
        description="which versions of a model to load, in none and watch: all, latest:N or specific:1,3; after it "
        "exceptions by model, as in latest:1;NAME=all",
    )
    trusted_keys: Path | None = Field(
        None, description="PEM file, or folder of such, of Ed25519 keys of which one must have signed each version"
    )
    probe_memory_mb: Count = Field(
        4096,
        description="MiB of addresses that each of the two processes which try versions out may use; not with cuda",
    )
    probe_timeout_s: PositiveSeconds = Field(120.0, description="seconds that trying a version out may take")
    admin_port: Port = Field(8003, description="TCP port of model management over gRPC; 0 for any free one")

    @model_validator(mode="before")
    @classmethod
    def _split_providers(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("execution_providers"), str):
            values = values | {"execution_providers": tuple(values["execution_providers"].split(","))}
        for name in ("initial_models", "initial_labels"):
            if isinstance(values, dict) and isinstance(values.get(name), str):
                values = values | {name: tuple(filter(None, values[name].split(",")))}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        parse_providers(self.execution_providers)
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if not _is_loopback(self.admin_host) and self.tokens_file is None and self.tls_client_ca is None:
            raise ValueError(f"admin_host is {self.admin_host}, not loopback: that needs tokens_file or tls_client_ca")
        parse_policies(self.version_policy)
        ports = {"port": self.port, "metrics_port": self.metrics_port, "admin_port": self.admin_port}
        for (one, number), (other, same) in itertools.combinations(ports.items(), 2):
            if number and number == same:
                raise ValueError(f"{one} and {other} are both {number}")
        if self.num_processes > 1 and self.model_control == "explicit":
            raise ValueError("explicit model_control is for one process: each of several would have to be told")
        for model in self.initial_models:
            if not re.fullmatch(r"[^:]+(:[1-9]\d{0,17})?", model):
                raise ValueError(f"{model!r} is not NAME or NAME:VERSION")
        parse_labels(self.initial_labels)
        return self

    @property
    def admission_limits(self) -> AdmissionLimits:
        """Of one model."""
        return AdmissionLimits(
            max_queue_length=self.max_queue_length,
            max_queue_tokens=self.max_queue_tokens,
            max_queue_wait_s=self.max_queue_wait_s,
            max_client_share=self.max_client_share,
        )

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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_labels(texts: tuple[str, ...]) -> dict[tuple[str, int], list[str]]:
    """The labels of each model's version, of texts such as "en-de:2=stable"; raises ValueError."""
    labels: dict[tuple[str, int], list[str]] = {}
    for text in texts:
        if not (found := re.fullmatch(r"([^:=]+):([1-9]\d{0,17})=([a-z][a-z0-9_-]{0,31})", text)):
            raise ValueError(f"{text!r} is not NAME:VERSION=LABEL")
        labels.setdefault((found[1], int(found[2])), []).append(found[3])
    return labels


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
