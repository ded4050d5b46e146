"""The folder of a run: cut at any point it goes on, and it never takes what is not its own."""

import hashlib
import json

import pytest

from service.corpora.errors import CorpusError
from service.corpora.files import appearing, append_line
from service.corpora.folder import RunFolder
from service.corpora.shards import Extent, Record, Shard
from service.corpora.tries import MAX_TRIES, counted_try

SETTINGS = {"model": "m", "version": 1, "options": {"beam_size": 4}, "inputs": {"a.txt": "1 byte"}}


def make_shard(path, number, content=b"x\n"):
    """A shard's file and its record."""
    file = path / f"part-{number:06d}.txt"
    file.write_bytes(content)
    return Record(number, "in", 1, 1, 0, 2, file.name, hashlib.sha256(content).hexdigest(), 0.0, 1.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out"


def fill(path, numbers):
    with RunFolder(path, SETTINGS) as folder:
        for number in numbers:
            folder.add(make_shard(path, number))


def test_shards_that_are_done_are_done_for_the_next_run(path):
    fill(path, [0, 2])
    with RunFolder(path, SETTINGS) as folder:
        assert sorted(folder.done) == [0, 2]


def test_a_manifest_cut_at_any_byte_loses_only_the_record_that_was_cut(path):
    fill(path, [0, 1, 2])
    manifest = path / "manifest.jsonl"
    content = manifest.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) + 1):
        manifest.write_bytes(content[:length])
        with RunFolder(path, SETTINGS) as folder:
            assert len(folder.done) == sum(end <= length for end in ends)
            folder.add(make_shard(path, 3))
        with RunFolder(path, SETTINGS) as folder:
            assert 3 in folder.done


def test_a_shard_without_a_record_or_not_as_its_record_says_is_not_done(path):
    fill(path, [0, 1, 2])
    make_shard(path, 3)
    (path / "part-000000.txt").write_bytes(b"y\n")
    (path / "part-000001.txt").unlink()
    for _ in range(2):
        with RunFolder(path, SETTINGS) as folder:
            assert sorted(folder.done) == [2]


def test_what_a_killed_worker_left_is_removed(path):
    fill(path, [0])
    (path / ".part-000001.txt.0123.unfinished").write_bytes(b"half")
    with RunFolder(path, SETTINGS):
        assert not list(path.glob(".part*"))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with appearing(tmp_path / "a") as unfinished:
        unfinished.write_text("half")
        assert not (tmp_path / "a").exists()
    with pytest.raises(FileNotFoundError), appearing(tmp_path / "b") as unfinished:
        unfinished.with_name("missing").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": "n"}, "model was m, now it is n"),
        ({"version": 2}, "version was 1, now it is 2"),
        ({"options": {"beam_size": 2}}, "beam_size was 4, now it is 2"),
        ({"options": {}}, "beam_size was 4, now it is not given"),
        ({"inputs": {"a.txt": "2 bytes"}}, "a.txt was 1 byte, now it is 2 bytes"),
    ],
)
def test_a_run_of_other_settings_is_refused_by_their_names(path, changed, words):
    fill(path, [0])
    before = (path / "run.json").read_bytes()
    with pytest.raises(CorpusError, match=words):
        RunFolder(path, SETTINGS | changed)
    assert (path / "run.json").read_bytes() == before
    with RunFolder(path, SETTINGS) as folder:
        assert sorted(folder.done) == [0]


def test_a_folder_with_other_things_is_refused_and_left_alone(path):
    path.mkdir()
    (path / "thesis.tex").write_text("mine")
    with pytest.raises(CorpusError, match="holds other things"):
        RunFolder(path, SETTINGS)
    assert [file.name for file in path.iterdir()] == ["thesis.tex"]


def test_a_folder_belongs_to_one_run_at_a_time(path):
    with RunFolder(path, SETTINGS), pytest.raises(CorpusError, match="another run"):
        RunFolder(path, SETTINGS)
    with RunFolder(path, SETTINGS):
        pass


@pytest.mark.parametrize("name", ["run.json", "manifest.jsonl"])
def test_a_damaged_file_of_the_folder_is_named(path, name):
    fill(path, [0])
    (path / name).write_text("{\n")
    with pytest.raises(CorpusError, match=f"{name} is damaged"):
        RunFolder(path, SETTINGS)


def test_a_record_is_one_line_of_json(path):
    fill(path, [0])
    append_line(path / "manifest.jsonl", json.dumps({}))
    with pytest.raises(CorpusError, match="damaged"):
        RunFolder(path, SETTINGS)


def test_a_shard_that_ends_its_workers_is_given_up_with_its_lines(tmp_path):
    shard = Shard(3, "in", 61, Extent(0, 10, 20))
    for _ in range(MAX_TRIES):
        counted_try(tmp_path, shard).__enter__()  # the worker is killed before the block ends
    with pytest.raises(CorpusError, match="lines 61 to 80 of in"), counted_try(tmp_path, shard):
        pass


def test_tries_that_end_do_not_count(tmp_path):
    shard = Shard(3, "in", 61, Extent(0, 10, 20))
    for _ in range(MAX_TRIES + 1):
        with counted_try(tmp_path, shard):
            pass
