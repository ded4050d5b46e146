"""Each format: divided into extents that lose nothing, read, and written back with the translations."""

import json

import pytest

from service.corpora.errors import CorpusError
from service.corpora.formats import lines
from service.corpora.formats.format import Fields, open_format
from service.corpora.formats.lines import divide_lines
from service.corpora.shards import Unusable

TEXT = "one\r\n\ntwo ä\nthree\nfour".encode()


def read(form, path, *, max_lines=10**9):
    return [text for extent in form.divide(path, max_lines=max_lines) for text in form.read(path, extent)]


def write(form, path, folder, translate, *, max_lines=10**9):
    """The files of all extents; `translate` is given a text and its number."""
    written = []
    for number, extent in enumerate(form.divide(path, max_lines=max_lines)):
        texts = list(form.read(path, extent))
        target = folder / f"{number}.out"
        form.write(path, extent, [t if isinstance(t, Unusable) else translate(t) for t in texts], target)
        written.append(target)
    return written


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes(TEXT)
    return path


@pytest.mark.parametrize("max_lines", [1, 2, 3, 4, 5, 100])
def test_extents_of_lines_follow_each_other_and_hold_every_line_once(text, max_lines):
    extents = list(divide_lines(text, max_lines=max_lines))
    assert [extent.start for extent in extents] == [0, *(extent.stop for extent in extents[:-1])]
    assert extents[-1].stop == len(TEXT)
    assert all(extent.num_lines <= max_lines for extent in extents)
    assert read(open_format("text", Fields()), text, max_lines=max_lines) == ["one", "", "two ä", "three", "four"]


def test_an_extent_ends_early_where_its_lines_are_long(text):
    extents = list(divide_lines(text, max_lines=100, max_bytes=6))
    assert [(extent.start, extent.stop, extent.num_lines) for extent in extents] == [
        (0, 6, 2),
        (6, 13, 1),
        (13, 19, 1),
        (19, 23, 1),
    ]


def test_an_empty_file_has_no_extent(tmp_path):
    (tmp_path / "in").write_bytes(b"")
    assert list(divide_lines(tmp_path / "in", max_lines=3)) == []


def test_a_line_that_is_too_long_to_be_read_is_passed_over_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 8)
    (tmp_path / "in").write_bytes(b"a\n" + b"x" * 30 + b"\nb\n" + b"y" * 20)
    first, long, last, open_end = read(open_format("text", Fields()), tmp_path / "in")
    assert (first, last) == ("a", "b")
    assert isinstance(long, Unusable)
    assert isinstance(open_end, Unusable)


def test_bytes_that_are_no_text_make_one_line_unusable_and_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "in").write_bytes(b"\xef\xbb\xbfa\n\xff\nb\n")
    form = open_format("text", Fields())
    assert read(form, tmp_path / "in", max_lines=1) == ["a", Unusable("the line is not UTF-8"), "b"]
    (written,) = write(form, tmp_path / "in", tmp_path, str.upper)
    assert written.read_bytes() == b"A\n\nB\n"


def test_a_translation_of_several_lines_stays_one_line_of_text(text, tmp_path):
    (written,) = write(open_format("text", Fields()), text, tmp_path, lambda text: f"{text}\nmore")
    assert len(written.read_text().splitlines()) == 5


JSON_LINES = [
    b'{"text": "one", "score": 1.10, "id": 12345678901234567890}',
    b' {"id": 2, "text" : "two\\nlines"} ',
    b"{}",
    b'{"text": 3}',
    b"[1]",
    b"{",
    b'{"text": "\\ud800"}',
    b'{"text": "done", "translation": "before"}',
]


def test_objects_come_out_as_they_were_with_one_field_more(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(JSON_LINES) + b"\n")
    form = open_format("jsonl", Fields())
    written = b"".join(file.read_bytes() for file in write(form, path, tmp_path, str.upper, max_lines=3))
    assert written.splitlines() == [
        b'{"text": "one", "score": 1.10, "id": 12345678901234567890, "translation": "ONE"}',
        b' {"id": 2, "text" : "two\\nlines", "translation": "TWO\\nLINES"}',
        b'{"translation": null}',
        b'{"text": 3, "translation": null}',
        b'{"translation": null}',
        b'{"translation": null}',
        b'{"text": "\\ud800", "translation": null}',
        JSON_LINES[-1],
    ]
    for line in written.splitlines():
        json.loads(line)
    assert [isinstance(text, Unusable) for text in read(form, path)] == [
        False,
        False,
        True,
        True,
        True,
        True,
        True,
        True,
    ]


def test_fields_have_the_names_that_are_asked_for(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"en": "a"}\n')
    (written,) = write(open_format("jsonl", Fields("en", "de")), path, tmp_path, str.upper)
    assert json.loads(written.read_text()) == {"en": "a", "de": "A"}


class TestParquet:
    @pytest.fixture
    def pq(self):
        return pytest.importorskip("pyarrow.parquet", reason="the extra `corpora` is not installed")

    @pytest.fixture
    def pa(self):
        return pytest.importorskip("pyarrow", reason="the extra `corpora` is not installed")

    def test_rows_come_out_as_they_were_with_one_column_more(self, tmp_path, pa, pq):
        texts = [None if number == 7 else f"text {number}" for number in range(23)]
        table = pa.table({"id": list(range(23)), "text": texts, "nested": [{"a": [n]} for n in range(23)]})
        path = tmp_path / "in.parquet"
        pq.write_table(table, path, row_group_size=5)
        for max_lines in (1, 4, 5, 7, 100):
            written = write(open_format("parquet", Fields()), path, tmp_path, str.upper, max_lines=max_lines)
            whole = pa.concat_tables(pq.read_table(file) for file in written)
            assert whole.drop_columns("translation").equals(table)
            assert whole["translation"].to_pylist() == [text and text.upper() for text in texts]

    def test_every_kind_of_text_column_is_read(self, tmp_path, pa, pq):
        for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
            pq.write_table(pa.table({"text": pa.array(["a", None, "a"]).cast(kind)}), tmp_path / "in.parquet")
            assert read(open_format("parquet", Fields()), tmp_path / "in.parquet") == [
                "a",
                Unusable("the row has no text"),
                "a",
            ]

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"other": ["a"]}, "no column 'text'; there are other"),
            ({"text": [1]}, "has int64"),
            ({"text": ["a"], "translation": ["b"]}, "a column 'translation' already"),
        ],
    )
    def test_a_table_that_does_not_fit_is_refused_by_name(self, tmp_path, pa, pq, columns, words):
        pq.write_table(pa.table(columns), tmp_path / "in.parquet")
        with pytest.raises(CorpusError, match=words):
            list(open_format("parquet", Fields()).divide(tmp_path / "in.parquet", max_lines=1))

    def test_a_file_that_is_no_table_is_refused(self, text, pq):
        with pytest.raises(CorpusError, match="no Parquet file"):
            list(open_format("parquet", Fields()).divide(text, max_lines=1))
