"""A real Prometheus scrapes replicas and the proxy under load: every query of the dashboard finds something, every
alert can be computed."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostile.envoy import find_envoy, running_envoy
from hostile.ports import free_port
from service.client.client import Client
from service.client.errors import ModelNotFoundError
from tests.faults.replicas import Replica, running_replicas, store_of

DEPLOY = Path(__file__).parents[2] / "deploy"
MODEL = "en-de-transformer"
LIMIT_S = 120.0
NOWHERE = "http://127.0.0.1:9/v1/traces"
RARE = frozenset({"envoy_connection_rate_http_local_rate_limit_rate_limited"})
"""What Envoy counts only once it has happened."""

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.skipif(find_envoy() is None, reason="envoy is not installed"),
]


class Prometheus:
    """A running one."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP interface; raises OSError."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def finds(self, query: str) -> bool:
        """Whether a query has a result, whose values are numbers."""
        result = self.ask("query", query=query)["result"]
        return any(sample["value"][1] != "NaN" for sample in result)


@contextmanager
def running_prometheus(replicas: list[Replica], counters: str, folder: Path) -> Iterator[Prometheus]:
    """With the shipped files, but for the addresses and a shorter interval."""
    port = free_port()
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    del jobs["stepstream"]["dns_sd_configs"]
    jobs["stepstream"]["static_configs"] = [{"targets": [f"127.0.0.1:{one.watch_port}" for one in replicas]}]
    jobs["envoy"]["static_configs"] = [{"targets": [counters]}]
    jobs["prometheus"]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(DEPLOY / "prometheus/alerts.yml", folder)
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def queries() -> list[tuple[str, str]]:
    """Each panel's title and queries, as Grafana would send them."""
    dashboard = json.loads((DEPLOY / "grafana/dashboards/stepstream.json").read_text())
    return [
        (
            panel["title"],
            target["expr"].replace("$__rate_interval", "30s").replace("$model", ".*").replace("$instance", ".*"),
        )
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not _try(holds):
        assert time.monotonic() < end
        time.sleep(0.5)


def _try(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except OSError:
        return False  # it is about to listen


@contextmanager
def load(address: str, *, num_clients: int = 4) -> Iterator[None]:
    """Streams, and calls that are refused for their model, as long as the block runs."""
    stopping = threading.Event()

    def work() -> None:
        with Client(address) as client:
            while not stopping.is_set():
                list(client.stream("Two dogs play in the snow.", model=MODEL))
                with pytest.raises(ModelNotFoundError):
                    client.translate(["Two dogs."], model="no-such-model")

    with ThreadPoolExecutor(num_clients) as threads:
        working = [threads.submit(work) for _ in range(num_clients)]
        try:
            yield
        finally:
            stopping.set()
        for one in working:
            one.result()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped two replicas and the proxy under load for some seconds, and the load goes on."""
    folder = tmp_path_factory.mktemp("prometheus")
    store = store_of(tmp_path_factory.mktemp("store"), MODEL)
    with running_replicas(2, store, otlp_endpoint=NOWHERE, model_control="watch") as replicas:
        addresses = [replica.address for replica in replicas]
        with running_envoy(addresses, folder) as envoy:
            envoy.wait_until_healthy(*addresses)
            with running_prometheus(replicas, envoy.addresses["counters"], folder) as running, load(envoy.address):
                eventually(lambda: running.finds("sum(increase(stepstream_target_tokens_total[30s])) > 0"))
                eventually(
                    lambda: running.finds(
                        'sum(rate(envoy_cluster_upstream_rq_total{envoy_cluster_name="replicas"}[30s])) > 0'
                    )
                )
                yield running


def test_every_query_of_the_dashboard_finds_something(prometheus: Prometheus) -> None:
    missing = []
    for title, query in queries():
        if not any(name in query for name in RARE) and not prometheus.finds(query):
            missing.append((title, query))
    assert missing == []


def test_every_target_is_reached_and_every_alert_can_be_computed(prometheus: Prometheus) -> None:
    targets = prometheus.ask("targets")["activeTargets"]
    assert {(target["labels"]["job"], target["health"]) for target in targets} == {
        ("stepstream", "up"),
        ("envoy", "up"),
        ("prometheus", "up"),
    }
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    eventually(
        lambda: all(rule["health"] == "ok" for group in prometheus.ask("rules")["groups"] for rule in group["rules"])
    )
    assert len(rules) > 20
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()
