"""Pieces merged to words: where words begin, what they spell, and weights that still add up."""

import pytest

from service.client.errors import ServerError
from service.client.types import StepEvent
from service.client.words import merge_pieces, source_words, word_attention


def make_steps(source, rows, target):
    return [
        StepEvent(index, index + 10, piece, "", -0.5, tuple(source), tuple(row))
        for index, (piece, row) in enumerate(zip(target, rows, strict=True))
    ]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["▁Two", "▁dog", "s", ".", "</s>"], ["Two", "dogs.", "</s>"]),
        (["Zw", "ei", "▁Hunde"], ["Zwei", "Hunde"]),
        (["▁“", "%s", "”", "▁파일을", "▁저장", "하지", "</s>"], ["“%s”", "파일을", "저장하지", "</s>"]),
        (["▁", "%1$s", "▁", "%d", "</s>"], ["%1$s", "%d", "</s>"]),
        (["▁a", "▁", "▁b"], ["a", "▁", "b"]),
        (["▁x", "<unk>", "y", "▁", "<unk>"], ["x<unk>y", "<unk>"]),
        (["▁a", "</s>", "b"], ["a", "</s>", "b"]),
        (["▁", "<0xEB>", "<0x88>", "<0x88>", "이"], ["눈이"]),
        (["▁", "<0xEB>", "</s>"], ["\ufffd", "</s>"]),
        (["▁", "<0x0A>", "a"], ["\ufffda"]),
        (["▁", "今日", "は", "。", "</s>"], ["今日", "は。", "</s>"]),
        ([], []),
    ],
)
def test_pieces_become_words(pieces, words):
    assert [word.text for word in merge_pieces(pieces)] == words


def test_each_piece_is_part_of_exactly_one_word():
    pieces = ["x", "▁", "▁", "a", "</s>", "</s>", "日", "本", "<unk>"]
    places = [place for word in merge_pieces(pieces) for place in range(word.start, word.stop)]
    assert places == list(range(len(pieces)))


def test_weights_are_summed_over_source_pieces_and_averaged_over_target_pieces():
    source = ["▁dog", "s", "▁play", "</s>"]
    rows = [(0.5, 0.25, 0.25, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.25, 0.75)]
    attention = word_attention(make_steps(source, rows, ["▁Hun", "de", "</s>"]))
    assert attention.source == ("dogs", "play", "</s>")
    assert attention.target == ("Hunde", "</s>")
    assert attention.weights == ((0.875, 0.125, 0.0), (0.0, 0.25, 0.75))
    assert [sum(row) for row in attention.weights] == [1.0, 1.0]


@pytest.mark.parametrize("row", [(), (1.0,), (0.5, 0.25, 0.25)])
def test_a_server_that_sends_another_number_of_weights_is_an_error(row):
    steps = make_steps(["▁a", "</s>"], [row], ["▁b"])
    with pytest.raises(ServerError, match=f"{len(row)} attention weights for 2 source pieces"):
        source_words(steps[0])
    with pytest.raises(ServerError, match=f"{len(row)} attention weights"):
        word_attention(steps)


def test_a_translation_without_steps_is_an_error():
    with pytest.raises(ServerError, match="without a step"):
        word_attention([])
