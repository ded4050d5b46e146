"""Where keys are trusted, a version is served only if one of them has signed its manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from export.sign import make_key, read_private_key, sign_folder
from service.client.server_process import SERVE_COMMAND
from tests.faults.versions import NAME, Change, Managed, edit_manifest, managed_server, put


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trusted private key and one of a stranger; the trusted public key lies in a folder of its own."""
    folder = tmp_path_factory.mktemp("keys")
    public = make_key(folder / "ours.pem")
    make_key(folder / "strangers.pem")
    (folder / "trusted").mkdir()
    public.rename(folder / "trusted" / public.name)
    return folder


def signed(key: Path) -> Change:
    return lambda folder: sign_folder(folder, read_private_key(key))


@pytest.fixture(scope="module")
def store(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    (store / NAME).mkdir()
    put(store, 1, signed(keys / "ours.pem"))
    return store


@pytest.fixture(scope="module")
def server(keys: Path, store: Path) -> Iterator[Managed]:
    flags = ("--model-control", "explicit", "--initial-models", NAME, "--trusted-keys", str(keys / "trusted"))
    with managed_server(store, *flags) as server:
        yield server


def test_what_a_trusted_key_has_signed_is_served(server: Managed, store: Path, keys: Path) -> None:
    put(store, 2, signed(keys / "ours.pem"))
    server.load(2)
    assert server.translate()[0] == 2
    server.unload(2)


@pytest.mark.fault(39)
@pytest.mark.parametrize("kind", ["unsigned", "a stranger's", "another version's", "cut off", "too long"])
def test_what_no_trusted_key_has_signed_is_refused(server: Managed, store: Path, keys: Path, kind: str) -> None:
    """FAILED with the reason SIGNATURE, or FILE where it is no signature at all; the signed version serves."""
    version = 10 + ["unsigned", "a stranger's", "another version's", "cut off", "too long"].index(kind)
    ours = signed(keys / "ours.pem")

    def cut(folder: Path) -> None:
        path = folder / "manifest.sig"
        path.write_bytes(path.read_bytes()[:63])

    def lengthen(folder: Path) -> None:
        path = folder / "manifest.sig"
        path.write_bytes(path.read_bytes() + b"\0")

    changes: dict[str, tuple[Change, ...]] = {
        "unsigned": (),
        "a stranger's": (signed(keys / "strangers.pem"),),
        "another version's": (ours, lambda folder: edit_manifest(folder, max_target_length=8)),
        "cut off": (ours, cut),
        "too long": (ours, lengthen),
    }
    put(store, version, *changes[kind])
    with pytest.raises(grpc.RpcError) as raised:
        server.load(version)
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert server.states()[version] == ("FAILED", "FILE" if kind == "too long" else "SIGNATURE")
    assert server.translate()[0] == 1


@pytest.mark.fault(39)
def test_a_server_of_unsigned_versions_refuses_to_start_where_keys_are_trusted(keys: Path, tmp_path: Path) -> None:
    """Exit status 1 and one line with the reason."""
    (tmp_path / NAME).mkdir()
    put(tmp_path, 1)
    for trusted, reason in ((keys / "trusted", "is not signed"), (keys / "none", "cannot be read")):
        command = (*SERVE_COMMAND, "--model-store", str(tmp_path), "--trusted-keys", str(trusted))
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 1
        assert reason in result.stderr.splitlines()[-1]
