"""What is taken from a version's folder is what was hashed, whatever happens to its files meanwhile."""

import shutil
from pathlib import Path

import pytest

from service.model import bundle as bundles
from service.model.bundle import Bundle
from service.model.errors import BundleError
from service.model.private_file import mapped, private_file, write

SHIPPED = Path(__file__).parents[2] / "model_store" / "en-de-dot" / "1"
GRAPH = "decoder_step.onnx"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "1")
    return tmp_path / "1"


@pytest.fixture(params=["memory", "disk"])
def scratch(request, tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch" if request.param == "disk" else None


def test_a_copy_is_the_file_and_stays_it(folder, scratch):
    content = (folder / GRAPH).read_bytes()
    with Bundle(folder) as bundle, private_file("graph", scratch) as file:
        bundle.copy(GRAPH, file)
        (folder / GRAPH).write_bytes(b"changed")
        with mapped(file) as copied:
            assert copied[:] == content
    assert scratch is None or list(scratch.iterdir()) == []


def _change(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)


def _grow(path):
    with path.open("ab") as file:
        file.write(b"x" * 2**25)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_change, "does not have the SHA-256 in the manifest"),
        (_truncate, r"has \d+ bytes, the manifest says"),
        (_grow, r"has \d+ bytes, at most \d+ are read"),
    ],
    ids=["changed", "truncated", "grown"],
)
def test_a_file_that_changes_while_it_is_read_is_refused(harm, reason, folder, scratch, monkeypatch):
    written = []

    def write_and_harm(target, content):
        if not written:
            harm(folder / GRAPH)
        written.append(len(content))
        write(target, content)

    monkeypatch.setattr(bundles, "write", write_and_harm)
    with Bundle(folder) as bundle, private_file("graph", scratch) as file:
        with pytest.raises(BundleError, match=f"{GRAPH} {reason}"):
            bundle.copy(GRAPH, file)
        assert sum(written) <= bundle.manifest.files[GRAPH].size + max(written)
    assert len(written) > 1
