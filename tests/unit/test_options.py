"""Options out of range, or that exclude each other, are refused with what is wrong; the others reach the engine."""

from dataclasses import replace

import pytest
import sentencepiece

from service.engine.request import Sampling
from service.errors import InvalidRequestError
from service.model.manifest import Search
from service.model.text import Source, Texts
from service.model.vocabulary import Vocabulary
from service.options import Options, decoding_of

END = 3


class Manifest:
    """What the options are checked against."""

    name = "model"
    source_frame = ((), (END,))
    max_target_length = 100
    attention = "general, global, soft"
    source_language = "en"
    target_language = "de"
    search = Search()

    @staticmethod
    def longest_target(source_length: int) -> int:  # noqa: ARG004
        return 100

    class vocabulary:  # noqa: N801
        target_size = 60
        end_id = END
        target_prefix = ()
        languages = ()
        languages_in_text = False
        masks = ()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    path = tmp_path_factory.mktemp("vocabulary") / "v.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a dog runs in the snow", "two cats sleep on the bed", "the dog sleeps"] * 9),
        model_prefix=str(path.with_suffix("")),
        vocab_size=60,
        model_type="bpe",
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=END,
        minloglevel=2,
    )
    vocabulary = Vocabulary(path, 60)
    return Texts(Manifest, vocabulary, vocabulary)


def decide(texts: Texts, options: Options, manifest=Manifest, *, max_slots: int = 64):
    return decoding_of(options, manifest, texts, Source((5, END)), max_slots=max_slots)


def test_nothing_set_is_greedy_search_up_to_the_models_longest_target(texts):
    decoding = decide(texts, Options())
    assert (decoding.max_length, decoding.beam_size, decoding.num_rows) == (100, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 101}, "max_length is 101; it must be from 1 to 100, or 0 for 100"),
        ({"max_length": -1}, "max_length is -1"),
        ({"beam_size": 33}, "beam_size is 33; it must be from 1 to 32"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"beam_size": 4, "num_hypotheses": 5}, "num_hypotheses is 5; this search gives at most 4"),
        ({"num_hypotheses": 2}, "num_hypotheses is 2; this search gives at most 1"),
        ({"length_penalty": -0.1}, "length_penalty is -0.1; it must be from 0 to 10"),
        ({"coverage_penalty": float("nan")}, "coverage_penalty is nan"),
        ({"patience": 0.5}, "patience is 0.5; it must be from 1 to 4"),
        ({"max_length": 5, "min_length": 5}, "min_length is 5; it must be from 0 to 4"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0; it must be from 0.125 to 10"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1"),
        ({"suppress_tokens": ("unheard",)}, "suppress_tokens: the vocabulary has no such piece"),
        ({"sampling": Sampling(temperature=0.0)}, "temperature is 0; it must be above 0"),
        ({"sampling": Sampling(top_k=61)}, "top_k is 61; it must be from 0 to 60"),
        ({"sampling": Sampling(top_p=1.5)}, "top_p is 1.5; it must be above 0 and at most 1"),
        ({"sampling": Sampling(min_p=-0.5)}, "min_p is -0.5"),
        ({"sampling": Sampling(), "beam_size": 2}, "sampling and beam_size exclude each other"),
        ({"return_alternatives": True, "beam_size": 2}, "return_alternatives excludes beam_size and sampling"),
        ({"num_candidates": 2, "beam_size": 2}, "num_candidates and beam_size exclude each other"),
        ({"terms": (("dog",),)}, "terms need a beam_size above 1"),
        ({"untranslated": ("dog",)}, "terms need a beam_size above 1"),
        ({"terms": ((),), "beam_size": 2}, "a term needs at least one phrase"),
        ({"terms": ((" ",),), "beam_size": 2}, "no phrase may be empty"),
        ({"terms": (("dog",),) * 17, "beam_size": 2}, "there are 17 terms; at most 16"),
        (
            {"target_prefix": "a dog", "target_prefix_ids": (5,)},
            "target_prefix and target_prefix_ids exclude each other",
        ),
        ({"target_prefix_ids": (60,)}, "target_prefix_ids has 60, which no target can begin with"),
        ({"target_prefix_ids": (5, END)}, "target_prefix_ids has 3"),
        (
            {"target_prefix": "a dog runs in the snow", "max_length": 3},
            "prefix has 6 tokens; it must have fewer than 3",
        ),
    ],
)
def test_what_cannot_be_done_is_said(texts, options, message):
    with pytest.raises(InvalidRequestError) as refused:
        decide(texts, Options(**options))
    assert message in str(refused.value)


def test_a_coverage_penalty_needs_attention(texts):
    class WithoutAttention(Manifest):
        attention = None

    with pytest.raises(InvalidRequestError, match="this model has no attention, which coverage_penalty needs"):
        decide(texts, Options(beam_size=2, coverage_penalty=0.2), WithoutAttention)


def test_no_search_takes_more_rows_than_a_step_has(texts):
    assert decide(texts, Options(beam_size=8), max_slots=8).num_rows == 8
    with pytest.raises(InvalidRequestError, match="beam_size is 9; it must be from 1 to 8"):
        decide(texts, Options(beam_size=9), max_slots=8)
    assert decide(texts, Options(sampling=Sampling(), num_hypotheses=5)).num_rows == 5
    assert decide(texts, Options(return_alternatives=True, num_hypotheses=6)).num_rows == 6


def test_texts_become_tokens(texts):
    options = Options(beam_size=2, target_prefix="a dog", terms=(("cats", "the bed"),), untranslated=("snow", "dog"))
    decoding = decide(texts, options)
    assert decoding.prefix == texts.read_target("a dog", Source((END,)))
    assert [len(term.phrases) for term in decoding.terms] == [2]
    assert options.phrases == (("cats", "the bed"), ("snow",), ("dog",))
    by_id = decide(texts, Options(target_prefix_ids=decoding.prefix))
    assert by_id.prefix == decoding.prefix
    suppressed = decide(texts, Options(suppress_tokens=("▁dog",), disable_unknown=True)).suppressed
    assert texts.unknown_id in suppressed
    assert len(suppressed) == 2


@pytest.mark.parametrize(("max_length", "number"), [(0, 100), (1, 1), (40, 40)])
def test_a_sentence_whose_end_is_ignored_has_as_many_tokens_at_least_as_at_most(texts, max_length, number):
    decoding = decide(texts, Options(max_length=max_length, ignore_end_of_sequence=True))
    assert (decoding.min_length, decoding.max_length) == (number, number)


def test_words_that_the_source_has_stay_untranslated_in_their_place(texts):
    source = texts.read("the dog sleeps in the snow")
    decoding = decoding_of(
        Options(beam_size=2, untranslated=("cats", "snow", "dog")), Manifest, texts, source, max_slots=64
    )
    assert [term.number for term in decoding.terms] == [1, 2]
    for term, word in zip(decoding.terms, ("▁snow", "▁dog"), strict=True):
        start, end = term.source
        assert "".join(texts.source_pieces(source)[start:end]) == word


def test_sampling_without_a_seed_draws_one_each_time():
    sampling = Options(sampling=Sampling())
    assert len({sampling.seed_of_request for _ in range(8)}) == 8
    assert replace(sampling, seed=5).seed_of_request == 5
    assert Options().seed_of_request is None
