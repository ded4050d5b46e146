"""Placeholders are hidden from the model by masks, each comes out once, and the text gets the placeholders back."""

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from service.model.errors import BundleError
from service.model.placeholders import PLACEHOLDER, count_placeholders, hide, hide_pair
from service.model.row import Row
from service.model.rules import KeepMasks, allowed
from service.model.text import Texts
from service.model.vocabulary import Vocabulary
from service.model.vocabulary_files import Mask

MASKS = ("%1", "%2", "%3")
FIRST, SECOND, THIRD, END, WORD, OTHER = 4, 5, 6, 3, 20, 21
words = st.sampled_from(["%s", "%1$d", "{0}", "%FILENAME", "%3", "$(ARG1)", "open", "the", "file", "(", "“", "50%"])


def test_masks_are_numbered_in_the_order_of_the_source():
    assert hide("%d of “%FILENAME”, {0}", MASKS) == ("%1 of “%2”, %3", ("%d", "%FILENAME", "{0}"))
    assert hide("Nothing at 100 %", MASKS) == ("Nothing at 100 %", ())
    assert hide("%3 before %1", MASKS) == ("%1 before %2", ("%3", "%1"))


def test_more_placeholders_than_masks_are_refused():
    with pytest.raises(ValueError, match="the text has 4 placeholders; at most 3 are kept"):
        hide("%s %d {} %p", MASKS)
    assert hide_pair("%s %d {} %p", "%s %d {} %p", MASKS) is None


def test_a_target_gets_the_masks_of_its_source_and_equal_ones_in_their_order():
    assert hide_pair("%d files of %s", "%s의 파일 %d개", MASKS) == ("%1 files of %2", "%2의 파일 %1개")
    assert hide_pair("%s: %s", "%s — %s", MASKS) == ("%1: %2", "%1 — %2")
    assert hide_pair("%s", "%d", MASKS) is None
    assert hide_pair("file", "%s", MASKS) is None


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path = tmp_path_factory.mktemp("vocabulary") / "masks.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["open the file", "save the files (50%)", "“close” $ { } 0123456789 ABCDEFGILMNRs"] * 9),
        model_prefix=str(path.with_suffix("")),
        vocab_size=80,
        model_type="bpe",
        user_defined_symbols=list(MASKS),
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=END,
        minloglevel=2,
    )
    return Vocabulary(path, 80)


@pytest.fixture(scope="module")
def texts(vocabulary: Vocabulary) -> Texts:
    class Manifest:
        source_language, target_language = "en", "ko"
        source_frame = ((), (END,))

        class vocabulary:  # noqa: N801
            languages, languages_in_text, target_prefix = (), False, ()
            end_id = END
            masks = tuple(Mask(piece=piece, source_id=4 + i, target_id=4 + i) for i, piece in enumerate(MASKS))

    return Texts(Manifest, vocabulary, vocabulary)


def test_the_model_reads_masks_and_people_read_placeholders(texts: Texts):
    source = texts.read("open %s (%FILENAME)")
    assert [token for token in source.ids if token in (FIRST, SECOND, THIRD)] == [FIRST, SECOND]
    pieces = texts.source_pieces(source)
    assert "%s" in pieces
    assert "%FILENAME" in pieces
    assert pieces[-1] == "</s>"
    assert texts.target_piece(SECOND, source) == "%FILENAME"


@given(parts=st.lists(st.tuples(words, st.sampled_from(["", " "])), min_size=1, max_size=12))
def test_what_was_hidden_comes_back_where_its_mask_stands(texts: Texts, parts: list[tuple[str, str]]):
    text = "".join(word + space for word, space in parts).strip()
    if len(PLACEHOLDER.findall(text)) > len(MASKS):
        return
    source = texts.read(text)
    assert texts.write(source.ids, source) == text
    stream = texts.stream(source)
    assert "".join(stream.add(token) for token in source.ids) + stream.finish() == stream.text == text
    assert count_placeholders(texts.write(source.ids, source)) == count_placeholders(text)


def test_pieces_that_only_spell_a_mask_are_no_mask(texts: Texts, vocabulary: Vocabulary):
    source = texts.read("open %s")
    percent, one = vocabulary.encode("50%")[-1], vocabulary.encode("(1")[-1]
    assert vocabulary.decode([percent, one]) == "%1"
    assert texts.write([FIRST, percent, one], source) == "%s%1"


def test_a_vocabulary_without_the_masks_of_the_manifest_is_refused(vocabulary: Vocabulary):
    vocabulary.require(SECOND, "%2")
    for token, piece in ((SECOND, "%3"), (80, "%2")):
        with pytest.raises(BundleError, match="as the manifest says"):
            vocabulary.require(token, piece)


def take(target: list[int], *ranking: int, present: frozenset[int] = frozenset({FIRST, SECOND})) -> int:
    """The token that follows a target, of a ranking of the whole vocabulary that is known two tokens at a time."""
    logits = np.full(30, -99.0, np.float32)
    logits[list(ranking)] = -np.arange(len(ranking), dtype=np.float32)
    row = Row(list(ranking[:2]), [-0.5, -1.5], logits)
    rule = KeepMasks(frozenset({FIRST, SECOND, THIRD}), present, END)
    [(token_id, _)] = allowed(row, (rule,), target, 1)
    return token_id


def test_a_mask_comes_once_and_only_those_of_the_source():
    assert take([], THIRD, WORD, FIRST) == WORD
    assert take([], FIRST, WORD) == FIRST
    assert take([FIRST], FIRST, OTHER, SECOND) == OTHER
    assert take([FIRST, OTHER], SECOND, WORD) == SECOND
    assert take([FIRST, OTHER, SECOND], END, WORD) == END
    assert take([], FIRST, SECOND, THIRD, WORD, present=frozenset()) == WORD


def test_no_end_while_a_mask_is_missing():
    assert take([], END, WORD, SECOND, FIRST) == SECOND
    assert take([SECOND], END, SECOND, WORD, OTHER, FIRST) == FIRST
    assert take([SECOND], SECOND, END, OTHER, FIRST) == FIRST
    assert take([SECOND, FIRST], END, FIRST) == END


def test_the_log_probability_is_the_models_own():
    row = Row([THIRD, WORD], [-0.5, -1.5], np.arange(30, dtype=np.float32))
    rule = KeepMasks(frozenset({THIRD}), frozenset(), END)
    assert allowed(row, (rule,), [], 1) == [(WORD, -1.5)]


def test_a_model_without_masks_reads_placeholders_as_text(vocabulary: Vocabulary):
    class Manifest:
        source_language, target_language = "en", "ko"
        source_frame = ((), (END,))

        class vocabulary:  # noqa: N801
            languages, languages_in_text, target_prefix = (), False, ()
            end_id = END
            masks = ()

    texts = Texts(Manifest, vocabulary, vocabulary)
    source = texts.read("open {0} {0} {0} {0}")
    assert source.placeholders == ()
    assert texts.write(source.ids, source) == "open {0} {0} {0} {0}"
