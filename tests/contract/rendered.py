"""What kustomize makes of deploy/kubernetes, by the kustomize that is in kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"

Manifest = dict[str, Any]


def kubectl() -> str:
    """Its path: where `make check` puts it, or where it is installed; skips the test where it is not."""
    found = shutil.which("kubectl", path=f"{ROOT / '.venv' / 'kubectl'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("kubectl, which has kustomize, is not installed; `make check` gets it where npm is")
    return found


@cache
def documents(folder: Path) -> Sequence[Manifest]:
    """Everything that a kustomization gives."""
    run = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return tuple(yaml.safe_load_all(run.stdout))


def manifests(folder: Path) -> dict[str, Manifest]:
    """By kind; the Service without an address of its own is the HeadlessService."""
    return {_kind(one): one for one in documents(folder)}


def with_components(overlay: str, components: Sequence[str], folder: Path) -> Path:
    """An overlay of an overlay, in a new folder, that also has these components."""
    folder.mkdir()
    near = Path(os.path.relpath(KUBERNETES, folder))
    kustomization = {
        "resources": [str(near / "overlays" / overlay)],
        "components": [str(near / "components" / component) for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def _kind(document: Manifest) -> str:
    is_headless = document["kind"] == "Service" and document["spec"].get("clusterIP") == "None"
    return "HeadlessService" if is_headless else document["kind"]
