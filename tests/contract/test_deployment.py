"""The containers of the compose file keep their promises, as far as its text shows; no container engine is asked."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.settings import Settings
from tests.contract.deployed import (
    COMMANDS,
    CONTAINERS,
    DEFAULTS,
    ROOT,
    SERVERS,
    THEIRS,
    arguments,
    compose_services,
    image_environment,
    probe,
    seconds,
)


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
    # the page shows the load of each replica, which it asks for itself
    assert command["networks"] == (["clients", "replicas"] if name == "web" else ["clients"])


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
