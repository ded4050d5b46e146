"""Weights of graphs that cannot hold them lie in a file of the version, which is proved as it is copied to be used."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict

import numpy as np
import pytest

from service.management.probe import Job
from service.management.trial import try_version
from service.model.certificate import read_certificate, replay
from service.model.errors import BundleError, NoRoomError
from service.model.greedy import translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.private_file import forget_dead_folders, private_folder
from service.model.store import StoredVersion
from service.settings import Settings
from tests.faults.damaged_graphs import WEIGHTS, weights_beside
from tests.faults.versions import NAME, SOURCES, edit_manifest, put

TEXTS = [[5, 6, 7, 2], [8, 2], [9, 10, 11, 12, 13, 2]]
LARGE = 2**30


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files are, of this process and of those that it starts."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def beside(tmp_path, *changes, number=1):
    store = tmp_path / "store"
    (store / NAME).mkdir(parents=True)
    return put(store, number, weights_beside, *changes, seal=True)


def left_in(folder):
    return list(folder.glob(".stepstream-loading-*"))


def swell(folder):
    """Weights that take long to copy, and no room where they lie, as the manifest says."""
    os.truncate(folder / WEIGHTS, LARGE)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {WEIGHTS: files[WEIGHTS] | {"size": LARGE}})


@pytest.mark.parametrize("number", [1, 2], ids=["recurrent", "transformer"])
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_translations_and_states_are_the_same_to_the_last_bit(number, place, tmp_path, temporary):
    folder = beside(tmp_path, number=number)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    whole = OnnxModel(SOURCES[number - 1], num_threads=1)
    model = OnnxModel(folder, num_threads=1, scratch=scratch if place == "disk" else None)
    (folder / WEIGHTS).write_bytes(b"changed")
    assert WEIGHTS not in model.files
    assert left_in(temporary) == left_in(scratch) == []
    assert translate_greedily(model, TEXTS, max_length=20) == translate_greedily(whole, TEXTS, max_length=20)
    ids, lengths = np.array([TEXTS[2]]), np.array([6])
    encoded = whole.encode(ids, lengths)
    for name, value in model.encode(ids, lengths).items():
        np.testing.assert_array_equal(encoded[name], value)
    replay(model, read_certificate(folder / "certificate.json"))


def test_a_version_without_room_for_a_copy_is_refused(tmp_path, temporary, monkeypatch):
    folder = beside(tmp_path)
    size = (folder / WEIGHTS).stat().st_size
    usage = shutil.disk_usage(temporary)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    with pytest.raises(NoRoomError, match=rf"{temporary} has {size - 1} bytes free, {WEIGHTS} takes {size}"):
        OnnxModel(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
    OnnxModel(folder)
    assert left_in(temporary) == []


def test_nothing_is_left_of_weights_that_are_refused(tmp_path, temporary):
    folder = beside(tmp_path)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[::-1])
    with pytest.raises(BundleError, match=f"{WEIGHTS} does not have the SHA-256 in the manifest"):
        OnnxModel(folder)
    assert left_in(temporary) == []


def test_a_process_that_tries_out_copies_no_more_than_it_may_have_memory(tmp_path, temporary):
    folder = beside(tmp_path)
    swell(folder)
    job = Job(NAME, 1, str(folder), [("CPUExecutionProvider", {})], 1, True, None, LARGE // 2**20 - 1, 60.0)
    command = (sys.executable, "-m", "service.management.probe")
    done = subprocess.run(command, input=json.dumps(asdict(job)) + "\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["reason"] == "memory"
    assert f"{WEIGHTS} cannot be copied to {temporary}: File too large" in done.stdout
    assert left_in(temporary) == []


async def test_nothing_is_left_of_a_process_that_is_killed_while_it_copies(tmp_path, temporary):
    folder = beside(tmp_path)
    swell(folder)
    trial = asyncio.create_task(try_version(StoredVersion(NAME, 1, folder), Settings(model_store=folder.parents[1])))
    while not list(temporary.glob(f"*/{WEIGHTS}")):
        assert not trial.done()
        await asyncio.sleep(0.01)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert left_in(temporary) == []


def test_a_private_folder_is_this_users_alone_and_gone_at_the_end(temporary):
    with private_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert left_in(temporary) == []


KILLED = """
import os, signal
from service.model.private_file import private_folder
with private_folder() as folder:
    (folder / "file").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folders_of_dead_processes_go_and_no_others(temporary):
    for name in ("stepstream-demo", ".stepstream-loading-other-user"):
        (temporary / name).mkdir()
        (temporary / name / "file").touch()
    if os.geteuid() == 0:
        os.chown(temporary / ".stepstream-loading-other-user", 1, -1)
    else:
        shutil.rmtree(temporary / ".stepstream-loading-other-user")
    (temporary / ".stepstream-loading-file").touch()
    (temporary / ".stepstream-loading-empty").mkdir()
    (temporary / ".stepstream-loading-link").symlink_to(temporary / "stepstream-demo")
    kept = sorted(temporary.rglob("*"))
    with private_folder() as folder:
        (folder / "file").touch()
        assert subprocess.run((sys.executable, "-c", KILLED), check=False).returncode == -signal.SIGKILL
        assert sorted(temporary.rglob("*")) != sorted([*kept, folder, folder / "file"])
        forget_dead_folders()
        assert sorted(temporary.rglob("*")) == sorted([*kept, folder, folder / "file"])
