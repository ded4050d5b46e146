"""The compose file, the Dockerfiles and Envoy's configuration, read for tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = ["Dockerfile", "Dockerfile.cuda"]
SERVERS = ["stepstream", "stepstream-cuda"]
COMMANDS = ["client", "loadtest", "web"]
OURS = [*SERVERS, *COMMANDS]
THEIRS = ["envoy", "prometheus", "grafana"]
CONTAINERS = [*OURS, *THEIRS]
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}


def compose() -> dict[str, Any]:
    composition: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return composition


def compose_services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = compose()["services"]
    return services


def envoy_resources(kind: str) -> dict[str, dict[str, Any]]:
    """Envoy's listeners or clusters by name."""
    resources = yaml.safe_load((ROOT / "deploy" / "envoy.yaml").read_text())["static_resources"][kind]
    return {resource["name"]: resource for resource in resources}


def listening_on(listener: dict[str, Any]) -> list[int]:
    addresses = [listener["address"], *(more["address"] for more in listener.get("additional_addresses", ()))]
    return [address["socket_address"]["port_value"] for address in addresses]


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """A Dockerfile as (keyword, rest of the line), comments left out and continued lines joined."""
    lines = [line for line in (ROOT / dockerfile).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def last_stage(dockerfile: str) -> list[tuple[str, str]]:
    steps = instructions(dockerfile)
    start = max(index for index, (keyword, _) in enumerate(steps) if keyword == "FROM")
    return steps[start:]


def arguments(dockerfile: str, keyword: str) -> list[str]:
    return [rest for word, rest in instructions(dockerfile) if word == keyword]


def copied_sources(dockerfile: str) -> list[str]:
    """What COPY takes from the build context, not from another stage."""
    copies = [rest.split() for rest in arguments(dockerfile, "COPY") if not rest.startswith("--from=")]
    return [source for *sources, _ in copies for source in sources]


def image_environment(dockerfile: str) -> dict[str, str]:
    return dict(
        pair.split("=", 1) for word, rest in last_stage(dockerfile) if word == "ENV" for pair in re.split(r"\s+", rest)
    )


def probe(text: str) -> str:
    """The Python program of a health check."""
    match = re.search(r"from urllib import request.*timeout=\d\)", text)
    assert match, text
    return match.group()


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", duration)
    assert match, duration
    return float(match[1])
