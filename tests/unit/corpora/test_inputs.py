"""Which files belong to a corpus, and the shards that they make."""

import pytest

from service.corpora.errors import CorpusError
from service.corpora.formats.format import Fields, open_format
from service.corpora.inputs import find_files, format_of, identify, plan_shards
from service.corpora.shards import Record, Shard


def test_a_folder_is_its_files_by_name_without_hidden_ones(tmp_path):
    for name in ("b.txt", "a.txt", ".hidden", "_SUCCESS"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert [path.name for path in find_files(tmp_path)] == ["a.txt", "b.txt"]


def test_what_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        find_files(tmp_path / "missing")
    with pytest.raises(CorpusError, match="holds no file"):
        find_files(tmp_path)


def test_the_suffixes_say_the_format_and_several_are_refused(tmp_path):
    assert format_of([tmp_path / "a.jsonl", tmp_path / "b.JSONL"]) == "jsonl"
    assert format_of([tmp_path / "a.en", tmp_path / "b.txt"]) == "text"
    with pytest.raises(CorpusError, match="jsonl, text: choose with --format"):
        format_of([tmp_path / "a.jsonl", tmp_path / "b"])


def test_shards_are_numbered_over_all_files_and_lines_in_each(tmp_path):
    (tmp_path / "a").write_text("1\n2\n3\n")
    (tmp_path / "b").write_text("")
    (tmp_path / "c").write_text("1\n2")
    shards = list(plan_shards(find_files(tmp_path), open_format("text", Fields()), max_lines=2))
    assert [(shard.number, shard.path[-1], shard.first_line, shard.extent.num_lines) for shard in shards] == [
        (0, "a", 1, 2),
        (1, "a", 3, 1),
        (2, "c", 1, 2),
    ]
    assert [Shard.from_json(shard.to_json()) for shard in shards] == shards


def test_a_file_is_known_by_its_content(tmp_path):
    (tmp_path / "a").write_text("1")
    before = identify(tmp_path / "a")
    (tmp_path / "a").write_text("2")
    assert identify(tmp_path / "a") != before
    assert before.num_bytes == 1


def test_a_record_survives_json():
    record = Record(1, "a", 1, 2, 0, 3, "part", "ab", 1.5, 2.5)
    assert Record.from_json(record.to_json()) == record
