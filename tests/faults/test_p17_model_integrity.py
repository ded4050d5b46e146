"""A version that is damaged or was tampered with is refused, and everything that served before goes on serving."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest

from tests.faults.damage import FILES, SEALED, SEALED_WEIGHTS, WEIGHTS_FILES
from tests.faults.damaged_graphs import weights_beside
from tests.faults.versions import NAME, Change, Managed, edit_manifest, managed_server, put

_versions = count(10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    (store / NAME).mkdir()
    put(store, 1)
    return store


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Managed]:
    flags = ("--model-control", "explicit", "--initial-models", NAME, "--probe-timeout-s", "40")
    with managed_server(store, *flags) as server:
        yield server


def assert_refused(server: Managed, version: int, reason: str) -> None:
    before, num_loads = server.translate(), server.num_loads(reason.lower())
    with pytest.raises(grpc.RpcError) as raised:
        server.load(version)
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "/" not in raised.value.details()
    states = server.states()
    assert states[version] == ("FAILED", reason)
    assert states[1] == ("READY", "UNSPECIFIED")
    assert server.is_ready()
    assert server.translate() == before
    assert before[0] == 1
    assert server.num_loads(reason.lower()) == num_loads + 1


@pytest.mark.fault(36, 38, 39, 42, 43)
@pytest.mark.parametrize(("change", "reason"), (FILES | WEIGHTS_FILES).values(), ids=FILES | WEIGHTS_FILES)
def test_a_damaged_file_refuses_the_version(server: Managed, store: Path, change: Change, reason: str) -> None:
    """FAILED_PRECONDITION and FAILED with the reason; the old version serves and readiness stays true."""
    version = next(_versions)
    put(store, version, change)
    assert_refused(server, version, reason)


@pytest.mark.fault(36, 38, 40, 41, 42)
@pytest.mark.parametrize(("change", "reason"), (SEALED | SEALED_WEIGHTS).values(), ids=SEALED | SEALED_WEIGHTS)
def test_whole_files_with_wrong_content_refuse_the_version(
    server: Managed, store: Path, change: Change, reason: str
) -> None:
    """FAILED_PRECONDITION and FAILED with the reason; the old version serves and readiness stays true."""
    version = next(_versions)
    put(store, version, change, seal=True)
    assert_refused(server, version, reason)


@pytest.mark.fault(42)
@pytest.mark.parametrize("promise", ["max_source_length", "max_target_length"])
def test_a_manifest_that_promises_more_tokens_than_its_graphs_have_positions_for_refuses_the_version(
    server: Managed, store: Path, promise: str
) -> None:
    """The positions of a Transformer end; no golden sentence is so long."""
    version = next(number for number in _versions if number % 2 == 0)
    put(store, version, lambda folder: edit_manifest(folder, **{promise: 2**11}), seal=True)
    assert_refused(server, version, "CERTIFICATE")


@pytest.mark.fault(38)
def test_a_linked_folder_is_refused(server: Managed, store: Path) -> None:
    """A symbolic link to a whole version outside of the store is FAILED with the reason FILE."""
    version = next(_versions)
    outside = put(store, version).rename(store.parent / "outside")
    (store / NAME / str(version)).symlink_to(outside)
    assert_refused(server, version, "FILE")


@pytest.mark.fault(37)
def test_a_version_without_its_manifest_or_its_name_is_not_there(server: Managed, store: Path) -> None:
    """NOT_FOUND, as for a version that nobody has begun to publish."""
    version = next(_versions)
    half = put(store, version)
    (half / "manifest.json").rename(store / "manifest.json")
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as raised:
            server.load(version)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        assert version not in server.states()
        half = half.rename(half.with_name(f".publishing-{version}"))
        (store / "manifest.json").exists() and (store / "manifest.json").rename(half / "manifest.json")


@pytest.mark.parametrize("changes", [(), (weights_beside,)], ids=["weights inside", "weights beside"])
def test_what_is_whole_is_loaded(server: Managed, store: Path, changes: tuple[Change, ...]) -> None:
    version = next(number for number in _versions if number % 2)
    put(store, version, *changes, seal=True)
    server.load(version)
    assert server.states()[version] == ("READY", "UNSPECIFIED")
    wanted = server.translate(version=1)[1]
    assert server.translate() == (version, wanted)
    server.unload(version)
