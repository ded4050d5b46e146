"""The options of a search on the command line, and what is printed of its results."""

import re

import pytest

from service.pb import translation_pb2 as pb

EVERY_TARGET_FLAG = [
    *("--max-length", 1, "--min-length", 0, "--prefix", "c d", "--source-language", "k", "--target-language", "l"),
    *("--repetition-penalty", 1.25, "--no-repeat-ngram-size", 6, "--disable-unknown", "--ignore-end-of-sequence"),
    *("--suppress-token", "▁a", "--suppress-token", "b"),
    *("--sample", "--temperature", 0.75, "--top-k", 7, "--top-p", 0.5, "--min-p", 0.125, "--seed", 2),
]
EVERY_SEARCH_FLAG = [
    *("--beam-size", 3, "--num-hypotheses", 4, "--length-penalty", 0.5, "--coverage-penalty", 0.25, "--patience", 1.5),
    *("--alternatives", "--min-alternative-prob", 0.0625, "--candidates", 10),
    *("--term", "e| f g ", "--term", "h", "--keep", "i", "--keep", "j k"),
]
TARGET_OPTIONS = pb.DecodingOptions(
    source_language="k",
    target_language="l",
    max_length=1,
    min_length=0,
    target_prefix="c d",
    repetition_penalty=1.25,
    no_repeat_ngram_size=6,
    disable_unknown=True,
    ignore_end_of_sequence=True,
    suppress_tokens=["▁a", "b"],
    sampling=pb.Sampling(temperature=0.75, top_k=7, top_p=0.5, min_p=0.125),
    seed=2,
)
SEARCH_OPTIONS = pb.DecodingOptions(
    beam_size=3,
    num_hypotheses=4,
    length_penalty=0.5,
    coverage_penalty=0.25,
    patience=1.5,
    return_alternatives=True,
    min_alternative_expansion_prob=0.0625,
    num_candidates=10,
    terms=[pb.Term(phrases=["e", "f g"]), pb.Term(phrases=["h"])],
    untranslated=["i", "j k"],
)


def sent_by(run, fake_service, *arguments):
    status, _, error = run(*arguments, "--address", fake_service.address)
    assert (status, error) == (0, "")
    return fake_service.requests[-1].options


def test_translate_has_a_flag_for_every_option_but_ids(run, fake_service):
    expected = pb.DecodingOptions()
    expected.MergeFrom(TARGET_OPTIONS)
    expected.MergeFrom(SEARCH_OPTIONS)
    flags = [*EVERY_TARGET_FLAG, *EVERY_SEARCH_FLAG, "--steps"]
    assert sent_by(run, fake_service, "translate", "a", *flags) == expected
    left_out = set(pb.DecodingOptions.DESCRIPTOR.fields_by_name) - {field.name for field, _ in expected.ListFields()}
    assert left_out == {"target_prefix_ids", "min_length"}


def test_a_flag_that_is_not_given_sends_nothing(run, fake_service):
    assert sent_by(run, fake_service, "translate", "a") == pb.DecodingOptions()
    assert sent_by(run, fake_service, "translate", "a", "--min-length", 3) == pb.DecodingOptions(min_length=3)
    sampled = sent_by(run, fake_service, "translate", "a", "--sample")
    assert sampled.HasField("seed"), "the client draws it, so that another server can draw the same"
    sampled.ClearField("seed")
    assert sampled == pb.DecodingOptions(sampling=pb.Sampling())


def test_a_priority_is_a_flag_of_its_own(run, fake_service):
    assert sent_by(run, fake_service, "translate", "a", "--priority", "high") == pb.DecodingOptions()
    assert fake_service.requests[-1].priority == pb.PRIORITY_HIGH
    status, _, error = run("translate", "a", "--address", fake_service.address, "--priority", "urgent")
    assert status == 2
    assert "low or normal or high" in error


def test_every_line_of_a_file_is_translated_with_the_options(run, fake_service, tmp_path):
    (tmp_path / "in").write_text("one\ntwo\n")
    flags = ["--beam-size", 4, "--length-penalty", 0.5, "--prefix", "A", "--keep", "x"]
    sent_by(run, fake_service, "translate", "--file", tmp_path / "in", "--output", tmp_path / "out", *flags)
    expected = pb.DecodingOptions(beam_size=4, length_penalty=0.5, target_prefix="A", untranslated=["x"])
    assert [request.options for request in fake_service.requests] == [expected] * 2


def test_several_hypotheses_are_listed_with_score_and_log_probability_after_the_translation(run, fake_service):
    flags = ["--beam-size", 3, "--num-hypotheses", 3]
    status, output, error = run("translate", "two words", "--address", fake_service.address, *flags)
    assert (status, error) == (0, "")
    first, head, *rows = output.splitlines()
    assert first == "TWO WORDS"
    assert head.split() == ["score", "log-prob"]
    assert [re.split(r" {2,}", row.strip()) for row in rows] == [
        ["1", "-0.2500", "-0.5000", "TWO WORDS"],
        ["2", "-1.2500", "-1.5000", "TWO WORDS!"],
        ["3", "-2.2500", "-2.5000", "TWO WORDS!!"],
    ]


def test_what_is_tentative_is_not_printed_where_the_output_is_no_terminal(run, fake_service):
    command = ("translate", "two words", "--address", fake_service.address, "--beam-size", 2)
    assert run(*command) == (0, "TWO WORDS\n", "")


def test_the_place_of_each_term_is_shown_and_one_that_is_not_met_is_named(run, fake_service):
    flags = ["--beam-size", 2, "--term", "two words|a", "--term", "missing|b", "--keep", "c"]
    _, output, _ = run("translate", "one", "--address", fake_service.address, *flags)
    assert [line.strip() for line in output.splitlines()] == [
        "ONE",
        "two words: target 1-2, source 0",
        "missing|b: missing",
        "c: target 3, source 2",
    ]


def test_a_term_of_a_model_without_attention_has_no_place_in_the_source(run, fake_service, monkeypatch):
    match = pb.TermMatch(term=0, phrase="a", target_start=0, target_end=1)
    hypothesis = pb.Hypothesis(text="A", term_matches=[match])
    completion = pb.Completion(text="A", hypotheses=[hypothesis])
    fake_service.streams["a"] = [pb.StreamTranslateResponse(completion=completion)]
    _, output, _ = run("translate", "a", "--address", fake_service.address, "--beam-size", 2, "--term", "a")
    assert output.splitlines()[-1].strip() == "a: target 0"


@pytest.mark.parametrize("view", [["--steps"], ["--attention"], []])
def test_every_view_ends_with_the_hypotheses(run, fake_service, view):
    flags = ["--beam-size", 2, "--num-hypotheses", 2, *view]
    _, output, _ = run("translate", "one", "--address", fake_service.address, *flags)
    assert [line.split()[-1] for line in output.splitlines()[-2:]] == ["ONE", "ONE!"]


def test_the_candidates_of_each_step_are_in_a_line_after_it(run, fake_service):
    _, output, _ = run("translate", "one", "--address", fake_service.address, "--steps", "--candidates", 2)
    lines = output.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["0", "▁ONE", "-0.2500", "ONE"],
        ["of", "▁ONE", "-0.2500", "▁ONE?", "-1.2500"],
        ["1", "</s>", "-0.2500", "ONE"],
        ["of", "</s>", "-0.2500", "</s>?", "-1.2500"],
    ]


def test_score_prints_each_token_with_its_log_probability_and_their_sum(run, fake_service):
    flags = ["--model", "shout", "--version", 3, "--address", fake_service.address]
    status, output, error = run("score", "two words", "zwei Worte", *flags)
    assert (status, error) == (0, "")
    assert [line.split() for line in output.splitlines()] == [
        ["0", "▁zwei", "-0.2500"],
        ["1", "▁Worte", "-0.5000"],
        ["2", "</s>", "-0.7500"],
        ["=>", "-1.5000"],
    ]
    (request,) = fake_service.requests
    assert (request.model, request.version) == ("shout", 3)
    assert [(pair.source, pair.target) for pair in request.pairs] == [("two words", "zwei Worte")]


def test_score_without_a_model_takes_the_only_one(run, fake_service, add_model):
    assert run("score", "a", "b", "--address", fake_service.address)[0] == 0
    assert fake_service.requests[-1].model == "shout"
    add_model("other", 1)
    status, output, error = run("score", "a", "b", "--address", fake_service.address)
    assert (status, output) == (1, "")
    assert "choose a model with --model" in error
