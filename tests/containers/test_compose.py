"""The compose file, the Dockerfile and `deploy/rolling-update` as they are, by an engine for containers. Grafana has no
package that could stand in for its image, and is left out. `make test-containers` runs this folder."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable

import pytest

from hostile.rolling.load import MODEL, REQUESTS, Load, all_answers
from hostile.rolling.playing import ONCE
from service.client.client import AsyncClient, Client
from tests.containers.engine import ROOT, Engine, needs_an_engine
from tests.containers.stand_ins import image_of

pytestmark = [pytest.mark.containers, needs_an_engine]
LIMIT_S = 300.0
CALLS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8002/metrics').read().decode())"


def replicas(engine: Engine) -> list[str]:
    return engine.compose("ps", "--quiet", "stepstream").split()


def num_calls(engine: Engine, container: str) -> float:
    """That a replica has answered."""
    lines = engine.podman("exec", container, "python", "-c", CALLS).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("stepstream_requests_total"))


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_the_serving_image_is_small_and_has_no_torch(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    image = image_of("stepstream")
    (about,) = json.loads(engine.podman("image", "inspect", image))
    environment = engine.podman(
        "run", "--rm", "--network", "none", "--entrypoint", "du", image, "-sm", "/opt/stepstream"
    )
    packages = engine.podman(
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        image,
        "-c",
        "ls /opt/stepstream/lib/python*/site-packages",
    )
    with capsys.disabled():
        size = f"{about['Size'] / 1e6:.0f} MB, of which our environment has {environment.split()[0]} MiB"
        sys.stdout.write(f"\n{image}: {size}\n")
    assert about["Config"]["User"] == "10001:10001"
    assert int(environment.split()[0]) < 400
    assert not {"torch", "onnx", "pip"} & set(packages.split())


def test_translations_come_through_the_proxy(address: str) -> None:
    with Client(address) as client:
        assert client.translate(["Two dogs play in the snow."], model=MODEL)[0].text == "Zwei Hunde spielen im Schnee."


def test_prometheus_finds_every_replica(engine: Engine, address: str) -> None:
    def jobs_up() -> list[str]:
        query = ("promtool", "query", "instant", "http://127.0.0.1:9090", "up == 1")
        return re.findall(r'job="(\w+)"', engine.compose("exec", "-T", "prometheus", *query))

    eventually(lambda: sorted(jobs_up()) == ["envoy", "prometheus", "stepstream", "stepstream"])


def test_a_killed_replica_costs_no_stream_of_clients_that_go_on(engine: Engine, address: str) -> None:
    wanted = asyncio.run(all_answers(address))

    async def play() -> Load:
        async with AsyncClient(address) as client:
            load = Load(client, wanted, len(REQUESTS) * 10, concurrency=16)
            running = asyncio.create_task(load.run())
            await load.until_ended(load.concurrency)
            await asyncio.to_thread(engine.podman, "kill", replicas(engine)[0])
            load.may_end = True
            await running
            return load

    load = asyncio.run(play())
    assert (load.num_lost, load.changed) == (0, 0), load.lost
    engine.compose("up", "--detach", "--wait", "--no-recreate", "stepstream")
    assert len(replicas(engine)) == 2


def test_more_replicas_get_calls_and_fewer_do_too(engine: Engine, address: str) -> None:
    engine.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "stepstream=3", "stepstream")
    assert len(replicas(engine)) == 3

    def all_have_calls() -> bool:
        asyncio.run(all_answers(address))
        return all(num_calls(engine, container) > 0 for container in replicas(engine))

    eventually(all_have_calls)
    engine.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "stepstream=2", "stepstream")
    assert len(replicas(engine)) == 2
    asyncio.run(all_answers(address))


def test_a_rolling_update_loses_no_stream(engine: Engine, address: str) -> None:
    """With the command that is shipped, and clients that do not try again."""
    wanted = asyncio.run(all_answers(address))
    before = set(replicas(engine))

    async def play() -> Load:
        async with AsyncClient(address, retry=ONCE) as client:
            load = Load(client, wanted, 300, concurrency=8)
            running = asyncio.create_task(load.run())
            await asyncio.to_thread(engine.run, str(ROOT / "deploy" / "rolling-update"))
            load.may_end = True
            await running
            return load

    load = asyncio.run(play())
    assert (load.num_lost, load.changed) == (0, 0), load.lost
    after = set(replicas(engine))
    assert len(after) == len(before)
    assert not after & before
