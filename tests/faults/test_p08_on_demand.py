"""Versions that are loaded, labelled and unloaded on demand, while others serve."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.cli import main
from service.client.server_process import SERVE_COMMAND
from service.pb import management_pb2 as management
from service.pb import translation_pb2 as translation
from service.pb.management_pb2_grpc import ModelManagementServiceStub
from service.settings import Settings
from tests.faults.damage import SEALED
from tests.faults.process import resident_mib
from tests.faults.versions import NAME, TEXTS, TIMEOUT_S, Managed, managed_server, put

EXPLICIT = ("--model-control", "explicit")
READY, LOADING = ("READY", "UNSPECIFIED"), ("LOADING", "UNSPECIFIED")
endless_loop = SEALED["a loop that never ends"][0]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    (store / NAME).mkdir(parents=True)
    for version in (1, 2):
        put(store, version)
    return store


@pytest.fixture
def server(store: Path) -> Iterator[Managed]:
    with managed_server(store, *EXPLICIT, "--initial-models", f"{NAME}:1") as server:
        yield server


def wait_for(server: Managed, version: int, state: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while server.states().get(version, ("",))[0] != state:
        assert time.monotonic() < deadline, server.states()
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]


def assert_fails(code: grpc.StatusCode, call: object, *arguments: object, **named: object) -> grpc.RpcError:
    assert callable(call)
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **named)
    assert raised.value.code() == code, raised.value
    return raised.value


def held_stream(server: Managed, version: int) -> tuple[threading.Event, Iterator[Any]]:
    """A stream of that version under way, which ends once the event is set."""
    ended = threading.Event()

    def requests() -> Iterator[translation.TranslateInteractiveRequest]:
        start = translation.StreamTranslateRequest(model=NAME, version=version, text=TEXTS[0])
        yield translation.TranslateInteractiveRequest(start=start)
        ended.wait(TIMEOUT_S)

    stream = server.translator.TranslateInteractive(requests(), timeout=TIMEOUT_S)
    next(stream)
    return ended, stream


@pytest.mark.fault(11)
def test_labels_choose_versions_and_hold_them(server: Managed) -> None:
    """What is no label, or a label with a version, is INVALID_ARGUMENT; an unknown label NOT_FOUND; a version with a
    label is not unloaded."""
    server.load(2)
    first, second = (server.translate(version=version) for version in (1, 2))
    assert first[1] != second[1]
    server.label("stable", 1)
    server.label("canary", 2)
    assert server.translate(label="stable") == first
    assert server.translate(label="canary") == server.translate() == second
    server.label("stable", 2)
    assert server.translate(label="stable") == second
    assert_fails(grpc.StatusCode.FAILED_PRECONDITION, server.unload, 2)
    assert_fails(grpc.StatusCode.NOT_FOUND, server.translate, label="beta")
    assert_fails(grpc.StatusCode.INVALID_ARGUMENT, server.translate, label="stable", version=1)
    assert_fails(grpc.StatusCode.INVALID_ARGUMENT, server.translate, label="Stable")
    assert_fails(grpc.StatusCode.INVALID_ARGUMENT, server.label, "../stable", 1)
    assert_fails(grpc.StatusCode.NOT_FOUND, server.label, "stable", 3)
    server.label("stable", 0)
    assert_fails(grpc.StatusCode.NOT_FOUND, server.label, "stable", 0)
    server.label("canary", 1)
    server.unload(2)
    assert_fails(grpc.StatusCode.NOT_FOUND, server.unload, 2)
    assert server.translate() == first


@pytest.mark.fault(36)
def test_a_running_request_ends_with_the_version_that_it_began_with(server: Managed) -> None:
    """The old version is DRAINING until its last stream has ended, whole; new requests get the new one."""
    ended = threading.Event()

    def requests() -> Iterator[translation.TranslateInteractiveRequest]:
        start = translation.StreamTranslateRequest(model=NAME, text=TEXTS[0])
        yield translation.TranslateInteractiveRequest(start=start)
        ended.wait(TIMEOUT_S)
        yield translation.TranslateInteractiveRequest(edit=translation.Edit(target_prefix=""))

    old = server.translate()[1]
    stream = server.translator.TranslateInteractive(requests(), timeout=TIMEOUT_S)
    assert next(stream).edit == 0
    server.load(2)
    server.unload(1)
    assert server.translate()[0] == 2
    assert_fails(grpc.StatusCode.NOT_FOUND, server.translate, version=1)
    time.sleep(1.0)
    assert server.states() == {1: ("DRAINING", "UNSPECIFIED"), 2: READY}
    ended.set()
    last = list(stream)[-1].response.completion
    assert (last.version, last.text) == (1, old)
    wait_for(server, 1, "UNLOADED")


@pytest.mark.fault(36)
def test_a_version_is_loaded_again_while_its_old_self_drains(server: Managed) -> None:
    """The new one serves at once; the old one ends with the stream that holds it."""
    server.load(2)
    ended, stream = held_stream(server, 1)
    server.unload(1)
    server.load(1)
    assert server.states()[1] == READY
    assert server.translate(version=1)[0] == 1
    ended.set()
    assert list(stream)[-1].response.completion.version == 1
    assert server.translate(version=1)[0] == 1
    assert server.states()[1] == READY


@pytest.mark.fault(36)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_version_drains_until_the_last_of_its_selves_is_free(server: Managed, order: tuple[int, int]) -> None:
    """Unloaded, loaded, and unloaded again while streams hold both: DRAINING until both have ended."""
    server.load(2)
    held = []
    for again in (False, True):
        if again:
            server.load(1)
        held.append(held_stream(server, 1))
        server.unload(1)
    for place in order:
        assert server.states()[1][0] == "DRAINING"
        ended, stream = held[place]
        ended.set()
        assert list(stream)[-1].response.completion.version == 1
        time.sleep(1.0)
    wait_for(server, 1, "UNLOADED")


@pytest.mark.fault(11)
def test_a_model_that_is_being_loaded_is_unavailable_for_now(store: Path) -> None:
    """UNAVAILABLE with a pushback, not NOT_FOUND, until the version serves or is refused."""
    put(store, 4, endless_loop, seal=True)
    with managed_server(store, *EXPLICIT, "--probe-timeout-s", "600") as server:
        assert_fails(grpc.StatusCode.NOT_FOUND, server.translate)
        assert not server.is_ready()
        call = server.manager.LoadModel.future(management.LoadModelRequest(model=NAME, version=4), timeout=TIMEOUT_S)
        wait_for(server, 4, "LOADING")
        for version in (0, 4):
            error = assert_fails(grpc.StatusCode.UNAVAILABLE, server.translate, version=version)
            assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
        assert_fails(grpc.StatusCode.NOT_FOUND, server.translate, version=3)
        while not (tried := children(server.pid)):
            time.sleep(0.02)
        os.kill(tried[0], signal.SIGKILL)
        assert_fails(grpc.StatusCode.FAILED_PRECONDITION, call.result)
        assert server.states()[4] == ("FAILED", "CRASH")
        assert_fails(grpc.StatusCode.NOT_FOUND, server.translate)
        assert server.num_loads("crash") == 1


@pytest.mark.fault(41)
def test_a_version_whose_trial_hangs_holds_up_no_other(server: Managed, store: Path) -> None:
    """It is LOADING; another one is loaded, and serves, meanwhile."""
    put(store, 4, endless_loop, seal=True)
    call = server.manager.LoadModel.future(management.LoadModelRequest(model=NAME, version=4), timeout=TIMEOUT_S)
    wait_for(server, 4, "LOADING")
    server.load(2)
    assert server.states() == {1: READY, 2: READY, 4: LOADING}
    call.cancel()


@pytest.mark.fault(41)
def test_a_load_goes_on_without_the_caller_and_happens_once_for_two(server: Managed) -> None:
    """A caller that goes away changes nothing; a second one waits for the same load."""
    first = server.manager.LoadModel.future(management.LoadModelRequest(model=NAME, version=2))
    wait_for(server, 2, "LOADING")
    first.cancel()
    server.load(2)
    assert server.translate()[0] == 2
    assert server.num_loads("loaded") == 2


@pytest.mark.fault(56)
def test_a_server_that_stops_while_it_loads_leaves_no_process_behind(store: Path) -> None:
    """SIGTERM ends the trial with the server, whose exit status is 0."""
    put(store, 4, endless_loop, seal=True)
    flags = ("--initial-models", f"{NAME}:1", "--probe-timeout-s", "600")
    with managed_server(store, *EXPLICIT, *flags) as server:
        call = server.manager.LoadModel.future(management.LoadModelRequest(model=NAME, version=4), timeout=TIMEOUT_S)
        wait_for(server, 4, "LOADING")
        while not (tried := children(server.pid)):
            time.sleep(0.02)
    assert call.done()
    assert not Path(f"/proc/{tried[0]}").exists()


@pytest.mark.fault(66)
def test_model_management_is_not_offered_on_the_port_for_everybody(server: Managed) -> None:
    """UNIMPLEMENTED on the public port."""
    with grpc.insecure_channel(server.address) as channel:
        stub = ModelManagementServiceStub(channel)
        assert_fails(grpc.StatusCode.UNIMPLEMENTED, stub.ListVersions, management.ListVersionsRequest())
    assert Settings.model_fields["admin_host"].default == "127.0.0.1"


@pytest.mark.fault(41)
def test_a_trial_that_needs_more_memory_than_it_may_have_is_refused(store: Path) -> None:
    """The process that tries the version out fails within its limit; nothing else feels it."""
    with managed_server(store, *EXPLICIT, "--probe-memory-mb", "90") as server:
        assert_fails(grpc.StatusCode.FAILED_PRECONDITION, server.load, 1)
        assert server.states()[1] in {("FAILED", reason) for reason in ("MEMORY", "CRASH", "GRAPH", "CERTIFICATE")}


def test_versions_are_managed_from_the_command_line(server: Managed, capsys: pytest.CaptureFixture[str]) -> None:
    def manage(*arguments: str) -> tuple[int, str]:
        action, *rest = arguments
        status = main(["manage", action, *rest, "--address", server.admin_address])
        captured = capsys.readouterr()
        return status, " ".join((captured.out + captured.err).split())

    assert manage("load", NAME) == (0, f"{NAME} version 2: ready")
    assert manage("label", NAME, "stable", "--version", "2") == (0, "stable: version 2")
    assert manage("unload", NAME, "--version", "2")[0] == 1
    assert manage("unload", NAME, "--version", "1") == (0, f"{NAME} version 1: draining")
    wait_for(server, 1, "UNLOADED")
    listed = f"model version state refused for labels {NAME} 1 unloaded {NAME} 2 ready stable"
    assert manage("list") == (0, listed)
    assert manage("load", NAME, "--version", "7") == (1, "stepstream: the store has no such version")
    assert main(["translate", TEXTS[0], "--model", NAME, "--version", "stable", "--address", server.address]) == 0
    assert capsys.readouterr().out.strip() == server.translate(version=2)[1]


@pytest.mark.fault(61)
def test_health_follows_what_serves(server: Managed) -> None:
    """A model without a version that serves is NOT_SERVING, and with the last of all models the server is not ready."""
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def is_serving(service: str) -> bool:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        services = ("", NAME, "stepstream.v1.TranslationService")
        assert all(map(is_serving, services))
        assert server.is_ready()
        server.unload(1)
        assert not any(map(is_serving, services))
        assert not server.is_ready()
        server.load(2)
        assert all(map(is_serving, services))
        assert server.is_ready()


def test_labels_of_the_settings_are_given_when_their_versions_serve(store: Path) -> None:
    labels = f"{NAME}:1=stable,{NAME}:2=canary"
    with managed_server(store, "--initial-labels", labels) as server:
        assert server.translate(label="stable")[0] == 1
        assert server.translate(label="canary")[0] == 2


def test_a_server_that_loads_its_store_by_itself_does_not_load_on_demand(store: Path) -> None:
    with managed_server(store) as server:
        assert server.states() == {1: READY, 2: READY}
        assert_fails(grpc.StatusCode.FAILED_PRECONDITION, server.load, 1)
        assert_fails(grpc.StatusCode.FAILED_PRECONDITION, server.unload, 1)
        server.label("stable", 1)
        assert server.translate(label="stable")[0] == 1


def test_what_an_unloaded_version_refused_does_not_keep_it(server: Managed) -> None:
    """Loaded and unloaded again and again, each time after a request that it refuses: memory stays where it is."""
    refused = translation.TranslateRequest(model=NAME, version=2, texts=["word " * 5_000])
    resident = []
    for _ in range(12):
        server.load(2)
        for _ in range(3):
            assert_fails(grpc.StatusCode.INVALID_ARGUMENT, server.translator.Translate, refused, timeout=TIMEOUT_S)
        server.unload(2)
        wait_for(server, 2, "UNLOADED")
        resident.append(resident_mib(server.pid))
    assert resident[-1] - resident[3] < 24


def test_code_that_lies_in_the_working_folder_is_not_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a version's trial nor by the server that asks for it."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for module in ("json", "numpy", "service"):
        (trap / f"{module}.py").write_text(f"open({str(trap / 'sprung')!r}, 'w')")
    serve = (str(Path(sys.executable).parent / "stepstream"), *SERVE_COMMAND[3:])
    monkeypatch.chdir(trap)
    with managed_server(store, *EXPLICIT, "--initial-models", f"{NAME}:1", serve=serve) as server:
        server.load(2)
        assert server.states()[2] == READY
    assert not (trap / "sprung").exists()
