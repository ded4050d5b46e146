"""Versions of a model in a store of a test's own, made of the shipped ones, and a server that manages them."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from hostile.ports import free_port
from service.client.server_process import SERVE_COMMAND, running_server
from service.pb import management_pb2 as management
from service.pb import translation_pb2 as translation
from service.pb.management_pb2_grpc import ModelManagementServiceStub
from service.pb.translation_pb2_grpc import TranslationServiceStub

SHIPPED = Path(__file__).parents[2] / "model_store"
NAME = "en-de"
SOURCES = (SHIPPED / "en-de-dot" / "1", SHIPPED / "en-de-transformer" / "1")
"""Of odd versions, and of even ones: their translations differ."""
TEXTS = (
    "A man in a blue shirt is standing on a ladder cleaning a window.",
    "Two young, white males are outside near many bushes.",
    "A little girl climbing into a wooden playhouse.",
    "Several men in hard hats are operating a giant pulley system.",
)
TIMEOUT_S = 120.0
Change = Callable[[Path], None]


def put(store: Path, version: int, *changes: Change, seal: bool = False) -> Path:
    """Publish a version as publishing does: made whole under another name, then renamed. The manifest gets the hashes
    of what the changes left where it is to be sealed."""
    place = store / NAME / str(version)
    workshop = store / NAME / f".publishing-{version}"
    shutil.copytree(SOURCES[(version - 1) % 2], workshop)
    edit_manifest(workshop, name=NAME, version=version)
    for change in changes:
        change(workshop)
    if seal:
        seal_version(workshop)
    return workshop.rename(place)


def edit_manifest(folder: Path, **values: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def seal_version(folder: Path) -> None:
    """Give the manifest the hash and size of every file."""
    paths = [path for path in sorted(folder.iterdir()) if path.name not in ("manifest.json", "manifest.sig")]
    records = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in paths
    }
    edit_manifest(folder, files=records)


@dataclass(frozen=True)
class Managed:
    """A server and what a test asks it: HOST:PORT of each of its ports, and stubs of both services."""

    address: str
    watch_address: str
    admin_address: str
    pid: int
    manager: ModelManagementServiceStub
    translator: TranslationServiceStub

    def translate(self, text: str = TEXTS[0], *, version: int = 0, label: str = "") -> tuple[int, str]:
        """The version that translated, and the translation."""
        request = translation.TranslateRequest(model=NAME, version=version, label=label, texts=[text])
        answer = self.translator.Translate(request, timeout=TIMEOUT_S)
        return answer.version, answer.translations[0].text

    def load(self, version: int) -> None:
        self.manager.LoadModel(management.LoadModelRequest(model=NAME, version=version), timeout=TIMEOUT_S)

    def unload(self, version: int) -> None:
        self.manager.UnloadModel(management.UnloadModelRequest(model=NAME, version=version), timeout=TIMEOUT_S)

    def label(self, label: str, version: int) -> None:
        request = management.SetLabelRequest(model=NAME, label=label, version=version)
        self.manager.SetLabel(request, timeout=TIMEOUT_S)

    def states(self) -> dict[int, tuple[str, str]]:
        """Of each version: its state and the reason of its failure, in short."""
        listed = self.manager.ListVersions(management.ListVersionsRequest(), timeout=TIMEOUT_S)
        return {
            one.version: (
                management.VersionState.Name(one.state).removeprefix("VERSION_STATE_"),
                management.FailureReason.Name(one.failure_reason).removeprefix("FAILURE_REASON_"),
            )
            for one in listed.versions
        }

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.watch_address}/readyz", timeout=TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False

    def num_loads(self, outcome: str) -> float:
        """What the server has counted."""
        with urllib.request.urlopen(f"http://{self.watch_address}/metrics", timeout=TIMEOUT_S) as answer:
            lines = answer.read().decode().splitlines()
        (line,) = [line for line in lines if line.startswith(f'stepstream_model_loads_total{{outcome="{outcome}"}}')]
        return float(line.split()[-1])


def listening_process(port: int) -> int:
    """The child of this process that listens on a TCP port."""
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    (inode,) = [line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"]
    for child in Path("/proc/self/task").glob("*/children"):
        for pid in child.read_text().split():
            if any(str(one.readlink()) == f"socket:[{inode}]" for one in Path(f"/proc/{pid}/fd").iterdir()):
                return int(pid)
    raise AssertionError(f"nobody listens on {port}")


@contextmanager
def managed_server(store: Path, *flags: str, serve: Sequence[str] = SERVE_COMMAND) -> Iterator[Managed]:
    """A real server on the store, in a process of its own, for as long as the block runs."""
    watch, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    ports = ("--metrics-port", watch.rpartition(":")[2], "--admin-port", admin.rpartition(":")[2])
    with (
        running_server((*serve, *ports, "--model-store", str(store), *flags)) as address,
        grpc.insecure_channel(address) as channel,
        grpc.insecure_channel(admin) as admin_channel,
    ):
        pid = listening_process(int(address.rpartition(":")[2]))
        yield Managed(
            address, watch, admin, pid, ModelManagementServiceStub(admin_channel), TranslationServiceStub(channel)
        )
