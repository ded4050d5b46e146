"""Scores are those of the literature, from whichever precision is published."""

from pathlib import Path

import pytest
import sacrebleu

from export.cli import main
from export.errors import ConfigurationError, CorpusError
from export.evaluate import TestSet, describe, read_sources, read_test_set, score
from export.metrics import bleu, lowercase_and_tokenize
from service.model.certificate import read_certificate
from service.model.text import open_texts

MODEL_STORE = Path(__file__).parents[3] / "model_store"


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


def test_korean_is_scored_in_its_own_words_and_has_no_form_of_the_literature(tmp_path):
    references = ["파일 %s을(를) 새 이름으로 저장합니다.", "창을 닫습니다."]
    for language, lines in (("en", ["Saves the file %s by a new name.", "Closes the window."]), ("ko", references)):
        (tmp_path / f"test.{language}").write_text("".join(f"{line}\n" for line in lines))
    test_set = read_test_set(tmp_path, "test", "en", "ko")
    assert test_set.tokenized_references is None
    perfect = score(test_set, references)
    assert (perfect.bleu, perfect.bleu_lowercased_tokenized, perfect.chrf) == (100, None, 100)
    assert "|tok:ko-mecab-" in perfect.bleu_signature
    assert perfect.placeholders_kept.model_dump() == {"num_with_placeholders": 1, "num_kept": 1}
    other_particle = score(test_set, ["파일 %d는 새 이름으로 저장합니다.", "창을 닫습니다."])
    assert (
        other_particle.bleu
        > sacrebleu.corpus_bleu(["파일 %d는 새 이름으로 저장합니다.", "창을 닫습니다."], [references]).score
    )
    assert [line.split()[0] for line in describe(other_particle)] == ["BLEU", "chrF", "placeholders"]
    assert describe(other_particle)[-1] == "placeholders kept in 0 of the 1 sentences with any"


@pytest.mark.parametrize(("language", "tokenizer"), [("de", "13a"), ("en", "13a"), ("ko", "ko-mecab"), ("zh", "zh")])
def test_training_and_evaluation_count_bleu_in_the_same_words(language, tokenizer):
    metric = bleu(language)
    metric.corpus_score(["a"], [["a"]])
    assert f"|tok:{tokenizer}" in str(metric.get_signature())


def test_a_tokenizer_that_is_not_installed_is_one_clear_line():
    with pytest.raises(ConfigurationError, match=r"^BLEU of ja needs sacrebleu\[ja\]$"):
        bleu("ja")


@pytest.mark.parametrize("path", sorted(MODEL_STORE.glob("*/*/certificate.json")), ids=lambda path: path.parts[-3])
def test_certificates_of_before_still_load(path):
    for scores in read_certificate(path).scores:
        assert len(describe(scores)) == 2 + (scores.bleu_lowercased_tokenized is not None) + (
            scores.placeholders_kept is not None
        )


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
    (tmp_path / "test.de").write_text("ba\nce\n")
    (tmp_path / "lc_tok").mkdir()
    (tmp_path / "lc_tok" / "test.de").write_text("ba\n")
    with pytest.raises(CorpusError, match="test has 2 target lines, but 1 tokenized ones"):
        read_test_set(tmp_path, "test", "en", "de")


def test_a_source_that_is_too_long_is_named(gru, load_graphs):
    model = load_graphs(gru, gru.graphs)
    texts = open_texts(model.manifest, model.folder)
    with pytest.raises(CorpusError, match=r"line 2 has \d+ tokens, tiny-gru takes at most 256"):
        read_sources(model, texts, ["ba", "ba " * 300])


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
    missing = "manifest.json is missing or not a plain file: No such file or directory"
    assert first == f"stepstream-export evaluate: {tmp_path}: {missing}"
    assert second.endswith("test_1999.en exists")
