"""Tables of characters and pieces: what goes in comes out, and what is for control never comes from a text."""

import json

import pytest

from service.model.errors import VocabularyError
from service.model.table_vocabulary import TableVocabulary
from service.model.vocabulary import TextStream

CHARACTERS = {
    "kind": "characters",
    "tokens": ["<s>", "<unk>", " ", "a", "b", "é"],
    "controls": [0, 1],
    "unknown_id": 1,
    "normalization": "NFC",
    "replace": {"A": "a", "-": " ", "'": ""},
}
PIECES = ["<s>", "<unk>"]


def table(tmp_path, **content):
    content = {"kind": "pieces", "controls": [0, 1], "unknown_id": 1, **content}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content))
    return TableVocabulary(path, len(content["tokens"]))


@pytest.mark.parametrize(
    ("marker", "mark", "pieces", "ids"),
    [
        ("word_start", "▁", ["▁un", "▁", "do", "un", "ne"], [2, 4, 6, 3, 4]),
        ("continuation", "##", ["un", "##do", "##ne", "do", "done"], [2, 3, 4, 5]),
        ("joiner", "@@", ["un@@", "do@@", "ne", "do", "un"], [2, 3, 4, 5]),
        ("none", "", ["undone", "un", "do", "done", "x"], [2, 4]),
    ],
)
def test_words_are_made_of_the_longest_pieces_that_fit(tmp_path, marker, mark, pieces, ids):
    vocabulary = table(tmp_path, tokens=[*PIECES, *pieces], marker=marker, mark=mark)
    assert vocabulary.encode(" undone  do ") == ids
    assert vocabulary.decode(ids) == "undone do"
    stream = TextStream(vocabulary)
    assert "".join([*(stream.add(token_id) for token_id in ids), stream.finish()]) == "undone do"
    assert vocabulary.encode("undid") == [1]


def test_characters_are_normalized_replaced_and_looked_up(tmp_path):
    vocabulary = table(tmp_path, **CHARACTERS)
    assert vocabulary.encode("A-b'  e\u0301?") == [3, 2, 4, 2, 5, 1]
    assert vocabulary.decode([0, 2, 3, 2, 5, 1, 2]) == "a é"
    assert vocabulary.normalized_bytes("Ae\u0301") == 3
    assert (vocabulary.id_of("a"), vocabulary.id_of("<s>"), vocabulary.id_of("z")) == (3, None, None)
    assert vocabulary.spell("az") == [3, 1]


def test_special_tokens_in_a_text_are_text(tmp_path):
    vocabulary = table(tmp_path, **(CHARACTERS | {"tokens": ["<s>", "<unk>", "<", "s", ">"], "replace": {}}))
    assert vocabulary.encode("<s>") == [2, 3, 4]


def test_masks_stand_for_their_texts(tmp_path):
    vocabulary = table(tmp_path, **CHARACTERS)
    assert vocabulary.decode([3, 2, 5, 4], {5: "{0}"}) == "a {0}b"


def test_a_damaged_table_is_refused(tmp_path):
    path = tmp_path / "table.json"
    for content, size, match in (
        ("{", 6, "no table of tokens"),
        (json.dumps(CHARACTERS | {"tokens": [""]}), 1, "no table of tokens"),
        (json.dumps(CHARACTERS), 7, "has 6 tokens, the manifest says 7"),
        (json.dumps(CHARACTERS | {"unknown_id": 6}), 6, "names a token that it has not"),
    ):
        path.write_text(content)
        with pytest.raises(VocabularyError, match=match):
            TableVocabulary(path, size)
    vocabulary = table(tmp_path, **CHARACTERS)
    with pytest.raises(VocabularyError, match="'b' as token 3"):
        vocabulary.require(3, "b")


def test_a_mark_of_characters_stands_for_a_space_and_case_is_lowered(tmp_path):
    tokens = ["<s>", "<unk>", "▁", "a", "b"]
    vocabulary = table(tmp_path, kind="characters", tokens=tokens, mark="▁", lowercase=True)
    assert vocabulary.encode("A  bC") == [3, 2, 4, 1]
    assert vocabulary.decode([3, 2, 4, 0]) == "a b"
    assert vocabulary.normalized_bytes("A b") == 3
