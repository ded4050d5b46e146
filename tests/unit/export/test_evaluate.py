"""Scores are those of the literature, from whichever precision is published."""

import pytest

from export.cli import main
from export.errors import CorpusError
from export.evaluate import TestSet, encode_sources, lowercase_and_tokenize, read_test_set, score
from service.model.vocabulary import Vocabulary


def test_references_are_lowercased_normalised_and_tokenized_as_published():
    assert lowercase_and_tokenize(["Ein Mann, der „etwas“ über saftig-grünes Gras wirft."], "de") == [
        "ein mann , der &quot; etwas &quot; über saftig-grünes gras wirft ."
    ]
    assert lowercase_and_tokenize(["L'homme court jusqu'à l'arrêt."], "fr") == [
        "l&apos; homme court jusqu&apos; à l&apos; arrêt ."
    ]
    assert lowercase_and_tokenize(["A man's T-shirt & hat"], "en") == ["a man &apos;s t-shirt &amp; hat"]


def test_a_perfect_translation_scores_100_and_case_counts_in_sacrebleu_alone():
    references = ["Ein Mann läuft über das Gras.", "Zwei Hunde spielen im tiefen Schnee."]
    test_set = TestSet("test", "de", references, references, lowercase_and_tokenize(references, "de"))
    perfect = score(test_set, references)
    assert (perfect.bleu, perfect.bleu_lowercased_tokenized, perfect.chrf) == pytest.approx((100, 100, 100))
    assert perfect.bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    lowercased = score(test_set, [reference.lower() for reference in references])
    assert lowercased.bleu < 60
    assert lowercased.bleu_lowercased_tokenized == pytest.approx(100)


def test_tokenized_references_of_the_corpus_come_before_made_ones(copy_corpus, tmp_path):
    for language in ("en", "de"):
        (tmp_path / f"test.{language}").write_text("Ba ce.\n")
    assert read_test_set(tmp_path, "test", "en", "de").tokenized_references == ["ba ce ."]
    (tmp_path / "lc_tok").mkdir()
    (tmp_path / "lc_tok" / "test.de").write_text("ba ce . theirs\n")
    assert read_test_set(tmp_path, "test", "en", "de").tokenized_references == ["ba ce . theirs"]


def test_sides_of_different_length_are_refused(tmp_path):
    (tmp_path / "test.en").write_text("ba\nce\n")
    (tmp_path / "test.de").write_text("ba\n")
    with pytest.raises(CorpusError, match="test has 2 source lines, 1 target lines"):
        read_test_set(tmp_path, "test", "en", "de")


def test_a_source_that_is_too_long_is_named(gru, load_graphs):
    model = load_graphs(gru, gru.graphs)
    vocabulary = Vocabulary(model.folder / "vocabulary.model", 40)
    with pytest.raises(CorpusError, match=r"line 2 has \d+ tokens, tiny-gru takes at most 256"):
        encode_sources(model, vocabulary, ["ba", "ba " * 300])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_command_scores_either_precision(precision, gru, load_graphs, copy_corpus, capsys):
    model = load_graphs(gru, gru.graphs if precision == "fp32" else gru.graphs.quantized())
    assert main(["evaluate", str(model.folder), "--corpus", str(copy_corpus)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"tiny-gru version 1 ({precision}) on test_2016_flickr, greedy"
    assert [line.split()[0] for line in printed[1:4]] == ["BLEU", "BLEU", "chrF"]
    assert printed[4].endswith("over 24 sentences")


def test_a_missing_version_or_split_is_one_clear_line(gru, load_graphs, copy_corpus, tmp_path, capsys):
    folder = str(load_graphs(gru, gru.graphs).folder)
    assert main(["evaluate", str(tmp_path), "--corpus", str(copy_corpus)]) == 1
    assert main(["evaluate", folder, "--corpus", str(copy_corpus), "--split", "test_1999"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"stepstream-export evaluate: {tmp_path}: manifest.json cannot be read: No such file or directory"
    assert second.endswith("test_1999.en exists")
