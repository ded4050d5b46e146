"""The locks in `requirements/` hold what `pyproject.toml` asks for: exactly, with hashes, and from no named index."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
LOCKS = ["build", "cpu", "cuda", "dev", "export"]
TORCH_ONLY = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
NEVER_IMPORTED = {"huggingface-hub"}
"""What a package of the serving image asks for and imports only to download; tests/unit/test_json_vocabulary.py shows
that it serves without."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(*names: str) -> list[Requirement]:
    """The requirements of some locks, without their hashes."""
    text = "".join((FOLDER / f"{name}.txt").read_text() for name in names)
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if line and line[0] not in "# "]


def locked_names(*names: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in locked(*names)}


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    return specifier.version


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_one_version_with_its_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (FOLDER / f"{name}.txt").read_text().strip())
    entries = [entry for entry in entries if not entry.startswith("#")]
    assert len(entries) == len(locked(name))
    for entry in entries:
        first, *hashes = entry.replace(" \\", "").splitlines()
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][^=\s;]*( ; .*)?", first), first
        assert hashes, first
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes), first


@pytest.mark.parametrize("name", [*LOCKS, "torch"])
def test_a_lock_names_no_index_and_no_path(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    assert not re.search(r"://|--(?!hash=)|^-|\s/|\b[a-z0-9-]+\.(org|com|net|io|dev)\b", text, re.MULTILINE)


def test_torch_is_locked_by_version_alone_and_nowhere_else() -> None:
    (torch,) = [line for line in (FOLDER / "torch.txt").read_text().splitlines() if not line.startswith("#")]
    assert torch in project()["project"]["optional-dependencies"]["export"]
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", torch)
    assert [name for name in sorted(locked_names(*LOCKS)) if TORCH_ONLY.fullmatch(name)] == []


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_serving_installs_neither_torch_nor_onnx_nor_a_build_tool(name: str) -> None:
    unwanted = {"torch", "onnx", "onnxscript", "lightning-fabric", "matplotlib", "tensorboard", "hatchling", "pytest"}
    assert not (unwanted | {"transformers"} | NEVER_IMPORTED) & locked_names(name)
    other = {"cpu": "onnxruntime-gpu", "cuda": "onnxruntime"}[name]
    assert other not in locked_names(name)


@pytest.mark.parametrize(
    ("extras", "locks"),
    [
        (["cpu", "load", "tokenizers"], ["cpu"]),
        (["cuda", "load", "tokenizers"], ["cuda"]),
        (["cpu", "export", "import"], ["export", "torch"]),
        (["dev"], ["cpu", "export", "dev", "torch"]),
    ],
    ids=["cpu", "cuda", "export", "dev"],
)
def test_every_dependency_of_the_project_is_locked_at_a_version_it_allows(extras: list[str], locks: list[str]) -> None:
    table = project()["project"]
    wanted = [*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])]
    pins = locked(*locks)
    for requirement in map(Requirement, wanted):
        versions = [version(pin) for pin in pins if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
        assert versions, f"{requirement.name} is not locked: run `make lock`"
        assert all(requirement.specifier.contains(found) for found in versions), f"{requirement}: {versions}"


def test_the_build_backend_is_locked_with_what_editable_installs_need() -> None:
    pins = {canonicalize_name(pin.name): version(pin) for pin in locked("build")}
    for requirement in map(Requirement, project()["build-system"]["requires"]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
    assert "editables" in pins


def test_a_package_has_one_version_in_all_locks() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for pin in locked(*LOCKS):
        versions.setdefault((pin.name, str(pin.marker)), set()).add(version(pin))
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("locks", [["build"], ["cpu"], ["export"], ["export", "dev", "build"]], ids="-".join)
def test_a_lock_holds_everything_that_its_packages_need(locks: list[str]) -> None:
    known = locked_names(*locks)
    installed = {canonicalize_name(found.name): found for found in metadata.distributions()}
    here = [pin for pin in locked(*locks) if pin.marker is None or pin.marker.evaluate()]
    checked = [installed[name] for pin in here if (name := canonicalize_name(pin.name)) in installed]
    needed = {
        canonicalize_name(requirement.name)
        for found in checked
        for requirement in map(Requirement, found.requires or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert checked
    left_out = NEVER_IMPORTED if locks == ["cpu"] else set()
    assert {name for name in needed - known if not TORCH_ONLY.fullmatch(name)} <= left_out
