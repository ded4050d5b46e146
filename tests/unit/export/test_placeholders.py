"""Placeholders: pieces that the vocabulary keeps whole, and what counts as one."""

import pytest
import sentencepiece
from pydantic import ValidationError

from export.configuration import DataConfiguration
from export.metrics import count_kept
from export.training.data import train_vocabulary
from service.model.placeholders import count_placeholders

SENTENCES = ["%s saved to {0}", "cannot open %s", "a dog saves the %d files (of {0})"] * 20


def configure(*names):
    return DataConfiguration(source_language="en", target_language="ko", licence="", citation="", whole_pieces=names)


@pytest.mark.parametrize("names", [[], ["%s", "{0}"]])
def test_the_vocabulary_never_splits_them(names, tmp_path):
    path = tmp_path / "vocabulary.model"
    train_vocabulary(SENTENCES, 60, path, configure(*names).whole_pieces)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert pieces.get_piece_size() == 60
    assert (pieces.piece_to_id("%s") != pieces.unk_id()) == bool(names)
    text = "dog%s(%s) of {0}{0}"
    assert pieces.decode(pieces.encode(text)) == text
    assert pieces.encode(text, out_type=str).count("%s") == (2 if names else 0)


@pytest.mark.parametrize("names", [("%s", "%s"), ("</s>",), ("two words",), ("",), ("…",)])
def test_a_vocabulary_could_not_hold_these(names):
    with pytest.raises(ValidationError):
        configure(*names)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%s of %1$s, %-5.2f, %ld and %.*s", ["%s", "%1$s", "%-5.2f", "%ld", "%.*s"]),
        ("%1 of %12일", ["%1", "%12"]),
        ("{} {0} {name} ${HOME} %(file)s %{x}", ["{}", "{0}", "{name}", "${HOME}", "%(file)s", "%{x}"]),
        ("$1 in %PRODUCTNAME for $(ARG1).", ["$1", "%PRODUCTNAME", "$(ARG1)"]),
        ("100% sure, 5 % of it, $5.00 or $10, {1;2}, 50%입니다", []),
    ],
)
def test_what_is_a_placeholder(text, found):
    assert sorted(count_placeholders(text).elements()) == sorted(found)


def test_a_translation_keeps_them_in_any_order_but_each_as_often():
    sources = ["%s of %d", "%s", "%s", "%s", "none"]
    assert count_kept(sources, ["%d개의 %s", "%s %s", "", "%d", "%s"]) == (4, 1)
