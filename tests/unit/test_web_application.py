"""What the page's server gives besides translations: the page, and how busy the servers are."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.client.web.application import STATIC
from service.client.web.load import LoadMeter
from service.client.web.serving import PageServer
from service.metrics import Metrics
from service.web import METRICS_S, WatchServer
from tests.reference.page_server import page_server

MAX_PAGE_BYTES = 200_000


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def watched(metrics: Metrics) -> Iterator[str]:
    """HOST:PORT of the metrics."""
    server = WatchServer("127.0.0.1", 0, metrics.registry, is_live=lambda: True, is_ready=lambda: True)
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def page() -> Iterator[PageServer]:
    with page_server("127.0.0.1:1") as page:
        yield page


def get(page: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def test_the_page_is_confined_to_its_own_files(page: PageServer) -> None:
    status, headers, body = get(page, "/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert re.findall(rb'(?:src|href)="(.*?)"', body)
    assert not re.search(rb'<script(?![^>]* src=)|<style| style=| on\w+="|https?://', body)


def test_every_file_of_the_page_is_served_and_small(page: PageServer) -> None:
    names = [path.name for path in STATIC.iterdir()]
    assert {"index.html", "page.js", "page.css", "icon.svg"} <= set(names)
    assert sum(len(get(page, f"/{name}")[2]) for name in names) < MAX_PAGE_BYTES


def test_what_a_browser_has_already_is_not_sent_again(page: PageServer) -> None:
    _, headers, _ = get(page, "/page.js")
    status, _, body = get(page, "/page.js", if_none_match=headers["etag"])
    assert (status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/../command.py", "/static/page.js", "/%2e%2e/command.py", "//etc/passwd", "/x"])
def test_nothing_but_the_page_is_served(page: PageServer, path: str) -> None:
    assert get(page, path)[0] == 404


def test_a_name_that_is_not_the_servers_own_is_not_answered(page: PageServer) -> None:
    assert get(page, "/", host="localhost")[0] == 200
    for name in ("rebound.example:8080", "", "["):
        assert get(page, "/", host=name)[0] == 421
    with page_server("127.0.0.1:1", allowed_hosts=("Page.example",)) as behind_a_proxy:
        assert get(behind_a_proxy, "/", host="page.example")[0] == 200


def test_the_page_may_call_the_server_that_it_is_told_of_and_no_other() -> None:
    with page_server("127.0.0.1:1", server_url="https://envoy.example:8443") as page:
        assert json.loads(get(page, "/configuration.json")[2]) == {"server": "https://envoy.example:8443"}
        policy = get(page, "/")[1]["content-security-policy"]
    assert "connect-src 'self' https://envoy.example:8443;" in policy


def test_the_load_is_the_sum_of_what_the_servers_say(metrics: Metrics, watched: str) -> None:
    metrics.engine("a", 1, num_slots=64).load_changed(num_rows=3, queue_length=2, queue_tokens=9)
    metrics.engine("b", 1, num_slots=32).load_changed(num_rows=4, queue_length=0, queue_tokens=0)
    with page_server("127.0.0.1:1", metrics_address=watched) as page:
        status, _, body = get(page, "/load")
    assert status == 200
    assert json.loads(body) == {
        "num_servers": 1,
        "slots_in_use": 7,
        "slots": 96,
        "queue_depth": 2,
        "tokens_per_s": None,
    }


async def test_tokens_a_second_are_counted_between_readings(metrics: Metrics, watched: str) -> None:
    engine, now = metrics.engine("a", 1, num_slots=64), [100.0]
    meter = LoadMeter([watched, "127.0.0.1:1"], clock=lambda: now[0])
    rates = []
    for num_rows in (5, 8, 0, 0):
        load = await meter.read()
        assert load is not None
        assert load.num_servers == 1
        rates.append(load.tokens_per_s)
        for _ in range(10):
            engine.step_made(num_rows=num_rows, seconds=0.001)
        now[0] += 2.0
        await asyncio.sleep(2 * METRICS_S)
    assert rates == [None, 25.0, 32.5, 20.0]


async def test_a_name_with_several_addresses_is_that_of_several_servers(
    metrics: Metrics, watched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(watched.rpartition(":")[2])
    metrics.engine("a", 1, num_slots=64)
    loop = asyncio.get_running_loop()

    async def both(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))] * 2

    monkeypatch.setattr(loop, "getaddrinfo", both)
    load = await LoadMeter([f"replicas:{port}"]).read()
    assert load is not None
    assert (load.num_servers, load.slots) == (2, 128)


def test_where_nobody_tells_the_load_that_is_said(page: PageServer) -> None:
    assert get(page, "/load")[0] == 503


def test_a_port_in_use_is_one_line(page: PageServer) -> None:
    command = [sys.executable, "-m", "service.cli", "web", "--port", str(page.port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr == f"stepstream: 127.0.0.1:{page.port}: Address already in use\n"


@pytest.mark.parametrize(
    "arguments",
    [["--port", "x"], ["--address", "nowhere"], ["--server-url", "ftp://x"], ["--server-url", "http://x/y"]],
)
def test_arguments_that_make_no_sense_are_refused(run, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    status, _, stderr = run("web", *arguments)
    assert status == 2
    assert stderr.startswith("stepstream web: argument")
