"""The page that is served is what its sources and the protos make: nothing edited by hand, nothing forgotten."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.client.web.application import STATIC

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
PROTOS = ROOT / "protos" / "stepstream" / "v1"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_page_is_what_its_sources_say(tmp_path: Path) -> None:
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("node_modules", "pb"))
    install(web)
    (web / "src" / "pb").mkdir()
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--es_out={web / 'src' / 'pb'}"]
    plugin = f"--plugin=protoc-gen-es={web / 'node_modules' / '.bin' / 'protoc-gen-es'}"
    subprocess.run([*compiler, plugin, "--es_opt=target=ts", "translation.proto"], check=True, timeout=300)
    subprocess.run(["npm", "run", "--silent", "check"], cwd=web, check=True, timeout=300)
    subprocess.run(["npm", "run", "--silent", "build", "--", str(tmp_path / "made")], cwd=web, check=True, timeout=300)
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    kept = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert kept.keys() == made.keys()
    assert [name for name in sorted(made) if made[name] != kept[name]] == [], "run `make page`"


def install(web: Path) -> None:
    """What the lock file names, taken from the checkout where that is there."""
    if (WEB / "node_modules").is_dir():
        (web / "node_modules").symlink_to(WEB / "node_modules")
        return
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error")
    subprocess.run(["npm", "ci", *options], cwd=web, check=True, timeout=300)
