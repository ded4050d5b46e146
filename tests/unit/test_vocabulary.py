from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from service.model.bundle import read_manifest
from service.model.errors import BundleError
from service.model.vocabulary import NOTHING_MASKED, TextStream, Vocabulary

SENTENCES = ["two dogs play in the snow .", "a man reads a book .", "three women talk and laugh ."] * 20
SIZE = 320
MODEL_STORE = Path(__file__).parents[2] / "model_store"
PLACEHOLDERS = ["%1$s", "%1", "%s", "{0}", "</b>"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary that spells unknown characters in bytes."""
    path = tmp_path_factory.mktemp("vocabulary") / "bytes.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_prefix=str(path.with_suffix("")),
        vocab_size=SIZE,
        model_type="bpe",
        byte_fallback=True,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
    return path


@pytest.fixture(scope="module")
def vocabulary(path: Path) -> Vocabulary:
    return Vocabulary(path, SIZE)


@cache
def shipped(name: str) -> Vocabulary:
    folder = max(path for path in (MODEL_STORE / name).iterdir() if path.name.isdigit())
    return Vocabulary(folder / "vocabulary.model", read_manifest(folder).vocabulary.target_size)


def stream(vocabulary: Vocabulary, ids: list[int]) -> tuple[list[str], str]:
    """Each token's delta, and the whole text."""
    text = TextStream(vocabulary)
    deltas = [text.add(token_id) for token_id in ids]
    deltas.append(text.finish())
    return deltas, text.text


def test_deltas_appear_token_by_token(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("two dogs")
    deltas, text = stream(vocabulary, ids)
    assert text == "two dogs"
    assert sum(bool(delta) for delta in deltas) == len(ids)


def test_a_character_in_several_bytes_appears_once_it_is_whole(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("a 犬 man")
    deltas, text = stream(vocabulary, ids)
    assert text == "a 犬 man"
    assert "犬" in "".join(deltas)
    assert "\ufffd" not in "".join(deltas)
    assert deltas.count("") >= 2


def test_half_a_character_at_the_end_is_not_lost(vocabulary: Vocabulary) -> None:
    deltas, text = stream(vocabulary, vocabulary.encode("a 犬")[:-1])
    assert "".join(deltas) == text
    assert text.startswith("a")


@pytest.fixture(scope="module")
def with_placeholders(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """A vocabulary in which some pieces are never split."""
    path = tmp_path_factory.mktemp("vocabulary") / "placeholders.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*SENTENCES, "$%1{0s}</b>()"]),
        model_prefix=str(path.with_suffix("")),
        vocab_size=90,
        model_type="bpe",
        user_defined_symbols=PLACEHOLDERS,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
    return Vocabulary(path, 90)


words = st.sampled_from([*PLACEHOLDERS, "dogs", "a", "(", ")", "."])


@given(parts=st.lists(st.tuples(words, st.sampled_from(["", " "])), min_size=1, max_size=12))
def test_placeholders_stay_whole_and_keep_the_spaces_around_them(
    with_placeholders: Vocabulary, parts: list[tuple[str, str]]
) -> None:
    text = "".join(word + space for word, space in parts).strip()
    ids = with_placeholders.encode(text)
    assert with_placeholders.decode(ids) == text
    deltas, streamed = stream(with_placeholders, ids)
    assert "".join(deltas) == streamed == text
    pieces = [with_placeholders.piece(token_id) for token_id in ids]
    for placeholder in ("%1$s", "%s", "{0}"):
        assert pieces.count(placeholder) == text.count(placeholder)


@given(ids=st.lists(st.integers(0, SIZE - 1), max_size=30))
def test_joined_deltas_are_the_whole_text(vocabulary: Vocabulary, ids: list[int]) -> None:
    deltas, text = stream(vocabulary, ids)
    assert "".join(deltas) == text


def deltas_of_whole_texts(vocabulary: Vocabulary, ids: list[int], masked: Mapping[int, str]) -> list[str]:
    """As a stream that decodes the whole target with every token."""
    text, deltas = "", []
    for end in range(1, len(ids) + 2):
        whole = vocabulary.decode(ids[:end], masked)
        is_told = whole.startswith(text) and (end > len(ids) or not whole.endswith("\ufffd"))
        deltas.append(whole[len(text) :] if is_told else "")
        text = whole if is_told else text
    return deltas


@given(data=st.data())
@pytest.mark.parametrize("name", ["en-de-transformer", "en-ko-transformer", "bytes"])
def test_deltas_are_those_of_the_whole_text(vocabulary: Vocabulary, name: str, data: st.DataObject) -> None:
    masked: Mapping[int, str] = {}
    if name != "bytes":
        vocabulary = shipped(name)
        if (mask := vocabulary.id_of("%1")) is not None:
            masked = {mask: "%s"}
    size = len(vocabulary._spelled)
    starts, others = st.sampled_from(sorted(vocabulary.word_starts)), st.integers(0, size - 1)
    ids = data.draw(st.lists(st.one_of(starts, others, *map(st.just, masked), *map(st.just, range(8))), max_size=30))
    text = TextStream(vocabulary, masked)
    deltas = [*map(text.add, ids), text.finish()]
    assert deltas == deltas_of_whole_texts(vocabulary, ids, masked)


def test_a_token_costs_what_its_word_has_and_not_the_whole_text(vocabulary: Vocabulary) -> None:
    """Else a target of 500 tokens would be decoded 500 times."""
    ids = vocabulary.encode(" ".join(SENTENCES))
    decoded = []

    class Counting(Vocabulary):
        def decode(self, ids: Sequence[int], masked: Mapping[int, str] = NOTHING_MASKED) -> str:
            decoded.append(len(ids))
            return vocabulary.decode(ids, masked)

    counting = Counting.__new__(Counting)
    counting.__dict__ = vocabulary.__dict__
    text = TextStream(counting)
    assert "".join([*map(text.add, ids), text.finish()]) == " ".join(SENTENCES)
    assert len(ids) > 500
    assert max(decoded) < 12


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_no_text_becomes_a_control_token(vocabulary: Vocabulary, text: str) -> None:
    assert not {0, 2, 3} & set(vocabulary.encode(text + " </s> <s> <pad>"))


def test_a_vocabulary_of_another_size_or_a_damaged_one_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="320 pieces"):
        Vocabulary(path, 6000)
    broken = tmp_path / "broken.model"
    broken.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match="no SentencePiece model"):
        Vocabulary(broken, SIZE)
    with pytest.raises(BundleError):
        Vocabulary(tmp_path / "missing.model", SIZE)
