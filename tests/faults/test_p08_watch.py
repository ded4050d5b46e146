"""A watched store: what is published takes over, what is damaged or half there changes nothing."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.damage import FILES, SEALED
from tests.faults.versions import NAME, TIMEOUT_S, Managed, edit_manifest, managed_server, put

WATCH = ("--model-control", "watch", "--watch-interval-s", "0.2")
READY, FAILED_FILE, UNLOADED = ("READY", "UNSPECIFIED"), ("FAILED", "FILE"), ("UNLOADED", "UNSPECIFIED")
LOADING = ("LOADING", "UNSPECIFIED")
SEVERAL_LOOKS_S = 2.0
empty_graph, endless_loop = FILES["an empty graph"][0], SEALED["a loop that never ends"][0]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    (store / NAME).mkdir(parents=True)
    put(store, 1)
    return store


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for(server: Managed, states: dict[int, tuple[str, str]]) -> None:
    wait_until(lambda: server.states() == states)


@pytest.mark.fault(36, 37)
def test_a_version_takes_over_once_it_is_proved_and_a_damaged_one_never_does(store: Path) -> None:
    """The damaged version is FAILED, the old one serves; a good one is loaded, and the old one then unloaded."""
    with managed_server(store, *WATCH, "--version-policy", "latest:1") as server:
        assert server.states() == {1: READY}
        damaged = put(store, 2, empty_graph)
        wait_for(server, {1: READY, 2: FAILED_FILE})
        time.sleep(SEVERAL_LOOKS_S)
        assert server.num_loads("file") == 1
        assert server.translate()[0] == 1
        assert server.is_ready()
        shutil.rmtree(damaged)
        put(store, 2)
        wait_for(server, {1: UNLOADED, 2: READY})
        assert server.translate()[0] == 2
        put(store, 3, empty_graph)
        wait_for(server, {1: UNLOADED, 2: READY, 3: FAILED_FILE})
        shutil.rmtree(store / NAME / "2")
        wait_for(server, {1: READY, 3: FAILED_FILE})
        assert server.translate()[0] == 1


@pytest.mark.fault(36, 41)
def test_a_version_whose_trial_hangs_holds_up_neither_other_models_nor_other_versions(store: Path) -> None:
    """Nor the looks at the store: a model that is published meanwhile is served."""
    good = put(store, 3).rename(store.parent / "good")
    edit_manifest(good, name="another")
    put(store, 2)
    with managed_server(store, *WATCH, "--probe-timeout-s", "600") as server:
        put(store, 4, endless_loop, seal=True)
        wait_for(server, {1: READY, 2: READY, 4: LOADING})
        (store / "another").mkdir()
        good.rename(store / "another" / "3")
        wait_for(server, {1: READY, 2: READY, 3: READY, 4: LOADING})
        assert server.translate()[0] == 2


@pytest.mark.fault(37)
def test_a_folder_that_is_copied_bit_by_bit_is_served_once_it_is_whole(store: Path) -> None:
    """Without its manifest it is not there; with it but not whole it is FAILED, and tried again as it changes."""
    with managed_server(store, *WATCH) as server:
        whole = put(store, 2).rename(store / "whole")
        slow = store / NAME / "2"
        slow.mkdir()
        for path in sorted(whole.iterdir(), key=lambda path: path.name == "encoder.onnx"):
            if path.name == "encoder.onnx":
                wait_for(server, {1: READY, 2: FAILED_FILE})
            elif path.name == "manifest.json":
                time.sleep(SEVERAL_LOOKS_S)
                assert server.states() == {1: READY}
            shutil.copyfile(path, slow / path.name)
        wait_for(server, {1: READY, 2: READY})
        assert server.num_loads("loaded") == 2


@pytest.mark.fault(44)
def test_a_store_that_is_gone_takes_nothing_away(store: Path) -> None:
    """Every version goes on serving, and the store is followed again once it is back."""
    with managed_server(store, *WATCH) as server:
        away = store.rename(store.with_name("away"))
        time.sleep(SEVERAL_LOOKS_S)
        assert server.translate()[0] == 1
        (store / NAME).mkdir(parents=True)
        time.sleep(SEVERAL_LOOKS_S)
        assert server.translate()[0] == 1
        assert server.is_ready()
        shutil.rmtree(store)
        away.rename(store)
        put(store, 2)
        wait_for(server, {1: READY, 2: READY})


@pytest.mark.fault(44)
def test_where_nothing_can_be_written_what_serves_goes_on(store: Path) -> None:
    """Every write to a file fails, the log's and a new version's private copy: the new version is FAILED, the old one
    serves, and once there is room the new one, put there again, is loaded."""
    with managed_server(store, *WATCH) as server:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = put(store, 2)
        wait_for(server, {1: READY, 2: ("FAILED", "INTERNAL")})
        assert server.translate()[0] == 1
        assert server.is_ready()
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        shutil.rmtree(refused)
        put(store, 2)
        wait_for(server, {1: READY, 2: READY})
        assert server.translate()[0] == 2


@pytest.mark.fault(36)
def test_a_damaged_version_at_the_start_keeps_no_other_from_serving(store: Path) -> None:
    """The good versions serve, the damaged one is FAILED."""
    put(store, 2, empty_graph)
    with managed_server(store, *WATCH, "--version-policy", "latest:1") as server:
        assert server.states() == {1: READY, 2: FAILED_FILE}
        assert server.translate()[0] == 1
        assert server.is_ready()


@pytest.mark.fault(36)
def test_a_server_whose_versions_are_all_damaged_is_not_ready_until_one_is_good(store: Path) -> None:
    """Readiness is false while nothing serves, and true from the first good version on."""
    shutil.rmtree(store / NAME / "1")
    put(store, 1, empty_graph)
    with managed_server(store, *WATCH) as server:
        assert server.states() == {1: FAILED_FILE}
        assert not server.is_ready()
        put(store, 2)
        wait_until(server.is_ready)
        assert server.translate()[0] == 2


def test_a_labelled_version_is_kept_and_a_policy_may_be_a_models_own(store: Path) -> None:
    put(store, 2)
    put(store, 3)
    with managed_server(store, *WATCH, "--version-policy", f"all;{NAME}=latest:2") as server:
        assert server.states() == {2: READY, 3: READY}
        server.label("stable", 2)
        put(store, 4)
        put(store, 5)
        wait_for(server, {2: READY, 3: UNLOADED, 4: READY, 5: READY})
        assert server.translate(label="stable")[0] == 2
        assert server.translate()[0] == 5
        server.label("stable", 5)
        wait_for(server, {2: UNLOADED, 3: UNLOADED, 4: READY, 5: READY})
        assert server.translate(label="stable")[0] == 5
