"""Who reaches whom in the compose file, and what its proxy is told; no container engine is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.contract.deployed import (
    DEFAULTS,
    ROOT,
    SERVERS,
    compose,
    compose_services,
    envoy_resources,
    listening_on,
    seconds,
)


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
