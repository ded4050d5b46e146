"""What an error tells: fields of the protocol, numbers, a model's own languages, and nothing else."""

import pytest

from service.errors import MOST_LANGUAGE_BYTES, InvalidRequestError

UNKNOWN = "{field} is none of the model's languages, which are {languages}"


def test_an_error_names_the_languages_of_a_model():
    told = InvalidRequestError(UNKNOWN, field="target_language", languages=("de", "eng_Latn", "sr@latin", "zh-Hans"))
    assert str(told) == "target_language is none of the model's languages, which are de, eng_Latn, sr@latin, zh-Hans"
    assert str(told.again(pushback_ms=5)) == str(told)


@pytest.mark.parametrize("length", [8, 32])
def test_languages_leave_room_in_a_status(length):
    languages = tuple(f"{i:0{length}}" for i in range(1000))
    told = str(InvalidRequestError("{languages}", languages=languages)).split(", ")
    assert told[-1] == "..."
    assert tuple(told[:-1]) == languages[: len(told) - 1]
    assert MOST_LANGUAGE_BYTES - length - 2 < sum(len(code) + 2 for code in told[:-1]) <= MOST_LANGUAGE_BYTES


@pytest.mark.parametrize("text", ["two words", "de\n", "{field}", "a" * 33, "", "größe", "/etc/passwd", "<b>"])
def test_a_text_is_neither_a_language_nor_a_field_nor_a_number(text):
    with pytest.raises(TypeError):
        InvalidRequestError("{languages}", languages=(text,))
    with pytest.raises(TypeError):
        InvalidRequestError("{field}", field=text + "!")
    with pytest.raises(TypeError):
        InvalidRequestError("{number}", number=text)
