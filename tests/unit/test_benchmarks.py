"""The comparison of attentions: its ranges of lengths, its table, its failures."""

import math

from benchmarks.attention import LONGEST, Comparison, headings, main, ranges_of, table


def test_every_sentence_is_in_the_range_of_its_words():
    lengths = (1, 10, 11, 15, 16, 20, 21, 40, 0)
    assert ranges_of([" ".join(["a"] * length) for length in lengths]) == [[0, 1, 8], [2, 3], [4, 5], [6, 7]]
    assert ranges_of([]) == [[], [], [], []]


def test_headings_name_the_ranges_without_gap_or_overlap():
    assert headings() == ["1 to 10", "11 to 15", "16 to 20", "21 and more"]
    assert len(headings()) == len(LONGEST)


def test_the_table_has_a_line_for_each_model_and_a_dash_for_a_range_without_sentences():
    comparisons = [
        Comparison("one", "general, global, soft", 2_340_000, 38.16, (41.04, 37.0, 33.26, math.nan)),
        Comparison("two", "none", 900_000, 9.0, (10.0, 8.0, 7.0, math.nan)),
    ]
    lines = table(comparisons, [3, 2, 1, 0], ["val", "test"]).splitlines()
    assert "of val and test, 6 sentences," in lines[2]
    assert lines[5:9] == [
        "| model | attention | MB | BLEU | 1 to 10 words (3) | 11 to 15 words (2) | 16 to 20 words (1) "
        "| 21 and more words (0) |",
        "|---|---|---|---|---|---|---|---|",
        "| `one` | general, global, soft | 2.3 | 38.2 | 41.0 | 37.0 | 33.3 | \N{EN DASH} |",
        "| `two` | none | 0.9 | 9.0 | 10.0 | 8.0 | 7.0 | \N{EN DASH} |",
    ]


def test_a_missing_corpus_or_store_is_one_clear_line(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    assert main(["--corpus", str(corpus), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"python -m benchmarks.attention: neither {corpus}/test_2016_flickr.en.gz nor {corpus}/test_2016_flickr.en "
        "exists\n"
    )
    corpus.mkdir()
    for language in ("en", "de"):
        (corpus / f"val.{language}").write_text("a\n")
    options = ["--splits", "val", "--model-store", str(tmp_path / "store"), "--output", str(tmp_path)]
    assert main(["--corpus", str(corpus), *options]) == 1
    assert (
        capsys.readouterr().err
        == f"python -m benchmarks.attention: the model store {tmp_path / 'store'} is no folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
