"""The images and the compose file keep their promises, as far as their text shows; no container engine is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

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


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of an HTTP server that answers /readyz with a status, and everything else with 404."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_no_privileges_and_cannot_write_to_its_image(name: str) -> None:
    container = compose_services()[name]
    assert container["read_only"] is True
    assert container["tmpfs"][0] == "/tmp"
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", container["user"])
    assert not {"privileged", "cap_add", "network_mode", "pid"} & container.keys()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_bounded_in_memory_processors_and_processes(name: str) -> None:
    container = compose_services()[name]
    assert container["cpus"]
    assert re.fullmatch(r"[1-9]\d*[mg]", container["mem_limit"])
    assert container["pids_limit"] > 0


@pytest.mark.parametrize("name", SERVERS)
def test_the_model_store_is_mounted_read_only_where_the_server_looks_for_it(name: str) -> None:
    server = compose_services()[name]
    (volume,) = server["volumes"]
    assert volume["type"] == "bind"
    assert volume["source"] == f"./{DEFAULTS['model_store']}"
    assert volume["target"] == server["environment"]["STEPSTREAM_MODEL_STORE"]
    assert volume["read_only"] is True


def test_only_the_proxy_is_reached_from_outside_and_from_this_machine_alone_unless_told() -> None:
    services = compose_services()
    assert [name for name, service in services.items() if "ports" in service] == ["envoy"]
    ports = [port.rsplit(":", 2) for port in services["envoy"]["ports"]]
    assert [(address, int(inside)) for address, _, inside in ports] == [
        ("${PUBLISH_ADDRESS:-127.0.0.1}", DEFAULTS["port"]),
        ("${PUBLISH_ADDRESS:-127.0.0.1}", 8080),
        ("127.0.0.1", 3000),
    ]
    listeners = envoy_resources("listeners")
    assert listening_on(listeners["public"]) == [DEFAULTS["port"], 8080]
    assert listening_on(listeners["grafana"]) == [3000]


@pytest.mark.fault(66)
def test_nobody_outside_reaches_metrics_or_administration() -> None:
    """The metrics ask nobody who they are: outside of a container they listen on the loopback address alone, and the
    proxy, the only one that is published, has no way to them or to its own administration on a published port."""
    assert DEFAULTS["metrics_host"] == "127.0.0.1"
    published = {int(port.rsplit(":", 1)[1]) for port in compose_services()["envoy"]["ports"]}
    listeners, clusters = envoy_resources("listeners"), envoy_resources("clusters")
    assert not published & set(listening_on(listeners["counters"]))
    assert "cluster: admin" not in yaml.safe_dump(listeners["public"]) + yaml.safe_dump(listeners["grafana"])
    addresses = [
        one["endpoint"]["address"]["socket_address"]
        for cluster in clusters.values()
        for one in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ]
    assert DEFAULTS["metrics_port"] not in {address["port_value"] for address in addresses}
    assert DEFAULTS["admin_port"] not in {address["port_value"] for address in addresses}


@pytest.mark.parametrize("name", SERVERS)
def test_replicas_are_on_a_network_without_a_way_out_and_found_by_one_name(name: str) -> None:
    networks = compose_services()[name]["networks"]
    assert list(networks) == ["replicas"]
    assert compose()["networks"]["replicas"] == {"internal": True}
    (alias,) = networks["replicas"]["aliases"]
    (endpoint,) = envoy_resources("clusters")["replicas"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": alias, "port_value": DEFAULTS["port"]}
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    (found_by,) = jobs["stepstream"]["dns_sd_configs"]
    assert (found_by["names"], found_by["port"]) == ([alias], DEFAULTS["metrics_port"])


def test_every_network_but_the_proxys_own_has_no_way_out() -> None:
    networks = compose()["networks"]
    assert [name for name, network in networks.items() if not network.get("internal")] == ["public"]
    assert [name for name, service in compose_services().items() if "public" in service["networks"]] == ["envoy"]


def test_a_replica_that_stops_has_no_new_calls_before_it_refuses_them() -> None:
    """The drain delay is longer than two of the proxy's checks and one look at the addresses."""
    replicas = envoy_resources("clusters")["replicas"]
    (check,) = replicas["health_checks"]
    refresh = seconds(replicas["cluster_type"]["typed_config"]["dns_refresh_rate"])
    delay = float(compose_services()["stepstream"]["environment"]["STEPSTREAM_DRAIN_DELAY_S"])
    assert delay > 2 * seconds(check["interval"]) + refresh
    assert check["interval"] == check["no_traffic_interval"] == check["unhealthy_interval"]


def test_the_proxy_waits_for_a_call_longer_than_a_replica_lets_it_take() -> None:
    (chain,) = envoy_resources("listeners")["public"]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    assert seconds(manager["stream_idle_timeout"]) > DEFAULTS["max_call_s"]
    (host,) = manager["route_config"]["virtual_hosts"]
    assert {route["route"]["timeout"] for route in host["routes"]} == {"0s"}


def test_a_rolling_update_gives_a_replica_the_time_that_compose_gives_it() -> None:
    script = (ROOT / "deploy" / "rolling-update").read_text()
    match = re.search(r"^stop_s=(\d+)$", script, re.MULTILINE)
    assert match
    assert float(match[1]) == seconds(compose_services()["stepstream"]["stop_grace_period"])


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_comes_back_after_a_crash(name: str) -> None:
    assert compose_services()[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVERS)
def test_a_container_is_given_more_time_to_stop_than_the_translations_it_runs(name: str) -> None:
    server = compose_services()[name]
    assert float(server["environment"]["STEPSTREAM_GRACE_S"]) >= DEFAULTS["grace_s"]
    ending = sum(float(server["environment"][name]) for name in ("STEPSTREAM_DRAIN_DELAY_S", "STEPSTREAM_GRACE_S"))
    assert seconds(server["stop_grace_period"]) >= ending + 10


@pytest.mark.parametrize("name", SERVERS)
def test_every_variable_of_a_server_is_a_setting_with_a_valid_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = compose_services()[name]
    variables = image_environment(server["build"].get("dockerfile", "Dockerfile")) | server["environment"]
    ours = {key: value for key, value in variables.items() if key.startswith("STEPSTREAM_")}
    assert {key.removeprefix("STEPSTREAM_").lower() for key in ours} <= DEFAULTS.keys()
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.host == settings.metrics_host == "0.0.0.0"
    assert settings.execution_providers == (("cuda", "cpu") if name == "stepstream-cuda" else ("cpu",))


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_healthy_once_it_is_ready(name: str) -> None:
    server = compose_services()[name]
    health = server["healthcheck"]
    way, command = health["test"]
    assert way == "CMD-SHELL"
    assert f"http://127.0.0.1:{DEFAULTS['metrics_port']}/readyz" in command
    assert health["retries"] > 0
    assert seconds(health["timeout"]) <= seconds(health["interval"])
    (in_image,) = arguments(server["build"].get("dockerfile", "Dockerfile"), "HEALTHCHECK")
    assert probe(in_image) == probe(command)


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_believes_the_server_and_no_proxy(
    status: int, healthy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = probe(compose_services()["stepstream"]["healthcheck"]["test"][1])
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(status) as port:
        moved = program.replace(str(DEFAULTS["metrics_port"]), str(port))
        run = subprocess.run([sys.executable, "-c", moved], capture_output=True)
    assert (run.returncode == 0) is healthy, run.stderr


def test_only_replicas_the_proxy_and_whoever_watches_start_unasked() -> None:
    asked_for = {name: service["profiles"] for name, service in compose_services().items() if "profiles" in service}
    assert asked_for == {"stepstream-cuda": ["cuda"], "client": ["demo"], "loadtest": ["loadtest"], "web": ["web"]}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_waits_for_the_proxy_and_calls_through_it(name: str) -> None:
    services = compose_services()
    command = services[name]
    assert command["depends_on"] == {"envoy": {"condition": "service_healthy"}}
    assert any(re.fullmatch(r"(http://)?envoy:(8001|8080)", word) for word in command["command"])
    assert command["image"] == services["stepstream"]["image"]
    assert command["networks"] == ["clients"]


@pytest.mark.parametrize("name", THEIRS)
def test_an_image_of_others_is_pinned_by_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", compose_services()[name]["image"])


def test_what_is_mounted_is_read_only_and_exists() -> None:
    for name, service in compose_services().items():
        for volume in service.get("volumes", ()):
            if isinstance(volume, str) and volume.startswith("./"):
                source, _, mode = volume.split(":")
                assert mode == "ro", name
                assert (ROOT / source).exists(), source


def test_the_cuda_server_reserves_a_gpu() -> None:
    (device,) = compose_services()["stepstream-cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_built_from_a_dockerfile_and_a_stage_that_exist(name: str) -> None:
    build = compose_services()[name]["build"]
    dockerfile = build.get("dockerfile", "Dockerfile")
    assert build["context"] == "."
    assert any(rest.endswith(f" AS {build['target']}") for rest in arguments(dockerfile, "FROM"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_every_base_image_is_pinned_by_version(dockerfile: str) -> None:
    defaults = dict(rest.split("=", 1) for rest in arguments(dockerfile, "ARG"))
    stages = [rest.split() for rest in arguments(dockerfile, "FROM")]
    own = {words[2] for words in stages}
    images = {re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], words[0]) for words in stages} - own
    assert images
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in images), images


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_serves_as_a_fixed_user_that_is_not_root(dockerfile: str) -> None:
    steps = last_stage(dockerfile)
    assert steps[0][1].endswith(" AS serve")
    (user,) = [rest for word, rest in steps if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert {compose_services()[name]["user"] for name in OURS} == {user}
    assert ("ENTRYPOINT", '["stepstream"]') in steps
    assert ("CMD", '["serve"]') in steps
    assert ("EXPOSE", f"{DEFAULTS['port']} {DEFAULTS['metrics_port']}") in steps


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_everything_an_image_copies_exists_and_is_in_the_build_context(dockerfile: str) -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in patterns
    for source in copied_sources(dockerfile):
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in patterns, source


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_no_image_holds_torch_or_onnx(dockerfile: str) -> None:
    locks = [source for source in copied_sources(dockerfile) if source.startswith("requirements/")]
    pinned = [
        Requirement(line.rstrip(" \\")).name
        for lock in locks
        for line in (ROOT / lock).read_text().splitlines()
        if line and line[0] not in "# "
    ]
    assert len(locks) == 2
    assert ("onnxruntime-gpu" if dockerfile == "Dockerfile.cuda" else "onnxruntime") in pinned
    assert not {"torch", "onnx", "onnxscript", "lightning-fabric"} & set(pinned)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_installs_only_what_is_locked_and_keeps_no_cache(dockerfile: str) -> None:
    installs = [
        command
        for rest in arguments(dockerfile, "RUN")
        for command in rest.split("&&")
        if re.search(r"\bpip\b.*\binstall\b", command)
    ]
    assert installs
    assert all("--no-deps" in command for command in installs)
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)
    assert any("PIP_NO_CACHE_DIR=1" in rest for rest in arguments(dockerfile, "ENV"))


def test_checking_names_what_the_machine_lacks_and_fails_for_what_is_wrong(tmp_path: Path) -> None:
    programs, folder = tmp_path / "programs", tmp_path / "deploy"
    programs.mkdir()
    folder.mkdir()
    shutil.copy(ROOT / "deploy" / "check", folder)
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)

    def check() -> subprocess.CompletedProcess[str]:
        command = [programs / "bash", folder / "check"]
        return subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True)

    lacking = check()
    assert lacking.returncode == 0, lacking.stderr
    for program in ("docker-compose", "hadolint", "envoy", "promtool"):
        assert f"left out, since {program} is not installed" in lacking.stdout
    (programs / "promtool").write_text("#!/bin/bash\necho this is wrong\nexit 1\n")
    (programs / "promtool").chmod(0o755)
    failing = check()
    assert failing.returncode == 1
    assert "this is wrong" in failing.stdout
