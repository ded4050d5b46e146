"""A tokenizer in JSON: special tokens stand for no text, and nothing but its own library is needed to read it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from service.model.errors import VocabularyError
from service.model.json_vocabulary import JsonVocabulary

PIECES = {"<pad>": 0, "</s>": 1, "<unk>": 2, "de": 3, "\u2581two": 4, "\u2581dogs": 5}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": i, "content": piece, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
        for piece, i in PIECES.items()
        if i < 4
    ],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    "model": {"type": "WordLevel", "vocab": PIECES, "unk_token": "<unk>"},
}
CONTENT = json.dumps(TOKENIZER).encode()
WITHOUT_THE_HUB = """
import sys
sys.modules["huggingface_hub"] = None
from service.model.json_vocabulary import JsonVocabulary
vocabulary = JsonVocabulary(sys.stdin.buffer.read(), 6, unknown_id=2)
print(vocabulary.encode("Two dogs"), vocabulary.decode([4, 5, 1]))
"""


@pytest.fixture
def vocabulary() -> JsonVocabulary:
    return JsonVocabulary(CONTENT, 6, unknown_id=2)


def test_a_text_becomes_ids_without_those_around_it_and_back(vocabulary: JsonVocabulary) -> None:
    assert vocabulary.encode("Two dogs") == [4, 5]
    assert vocabulary.decode([3, 4, 5, 1]) == "two dogs"
    assert vocabulary.normalized_bytes("TWO") == 3


def test_a_text_that_spells_a_special_token_is_text(vocabulary: JsonVocabulary) -> None:
    assert not {0, 1, 3} & set(vocabulary.encode("two </s> <pad> de"))


def test_special_tokens_and_the_unknown_one_are_no_tokens_of_text(vocabulary: JsonVocabulary) -> None:
    assert [vocabulary.id_of(piece) for piece in ("\u2581two", "</s>", "de", "<unk>", "cat")] == [
        4,
        None,
        None,
        None,
        None,
    ]
    assert [vocabulary.is_control(token_id) for token_id in (1, 3, 4)] == [True, True, False]
    assert vocabulary.piece(4) == "\u2581two"
    assert vocabulary.piece(99) == "<unk>"


def test_damaged_or_too_large_contents_are_refused() -> None:
    with pytest.raises(VocabularyError, match="is no tokenizer in JSON"):
        JsonVocabulary(CONTENT[:-9], 6, unknown_id=2)
    with pytest.raises(VocabularyError, match="has token 5, the manifest says 5 tokens"):
        JsonVocabulary(CONTENT, 5, unknown_id=2)


def test_the_hubs_client_is_not_needed() -> None:
    command = (sys.executable, "-c", WITHOUT_THE_HUB)
    done = subprocess.run(command, input=CONTENT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[4, 5] two dogs"
