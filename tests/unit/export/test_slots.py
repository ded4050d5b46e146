"""Rows are copied, taken out, put back and taken back in time without a bit of their results changing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.engine.request import Decoding, Request, StepResult
from service.engine.runner import Runner
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

END = 3
SOURCES = [(5, 6, 7, 8, END), (9, 10, END), (*range(5, 30), END), (12, END)]
KINDS = ("transformer", "lstm", "gru", "hard", "local_m", "local_p", "none")


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, make_tiny, load_graphs) -> OnnxModel:
    tiny = make_tiny(request.param)
    return load_graphs(tiny, tiny.graphs)


def advance(slots: Slots, *token_ids: Sequence[int]) -> np.ndarray:
    """The logits of the last of some steps, after which the rows go on with these tokens."""
    for tokens in token_ids:
        logits = slots.step().logits.copy()
        slots.choose(tokens)
    return logits


def fresh(model: OnnxModel, source: Sequence[int], seed: int | None, tokens: Sequence[int]) -> np.ndarray:
    """The logits after a target that was made alone."""
    slots = Slots(model, 1)
    slots.join(slots.encode([source]), [seed])
    return advance(slots, *([token] for token in (*tokens, 0)))[0]


def test_a_copied_row_goes_on_as_its_source_would(model: OnnxModel) -> None:
    slots = Slots(model, 6)
    slots.join(slots.encode(SOURCES[:2]), [None, 7])
    advance(slots, [20, 21], [22, 23])
    slots.fork([1, 0])
    advance(slots, [24, 25, 26, 27])
    slots.copy([2], [1])
    logits = advance(slots, [28, 29, 30, 31], [0, 0, 0, 0])
    first, second = SOURCES[:2]
    expected = [
        (first, None, [20, 22, 24, 28]),
        (second, 7, [21, 23, 26, 29]),
        (second, 7, [21, 23, 26, 30]),
        (first, None, [20, 22, 27, 31]),
    ]
    for row, (source, seed, tokens) in enumerate(expected):
        np.testing.assert_array_equal(logits[row], fresh(model, source, seed, tokens))


def test_a_row_goes_on_from_any_earlier_place(model: OnnxModel) -> None:
    slots = Slots(model, 4)
    slots.join(slots.encode(SOURCES[:2]), [None, 7])
    carried = [slots.carried(1)]
    for tokens in ([20, 21], [22, 23], [24, 25]):
        advance(slots, tokens)
        carried.append(slots.carried(1))
    for length in (2, 1, 0, 0):
        slots.rewind(1, [21, 23][:length], carried[length])
        logits = advance(slots, [30, 31], [0, 0])
        np.testing.assert_array_equal(logits[1], fresh(model, SOURCES[1], 7, [*[21, 23][:length], 31]))
        slots.rewind(1, [21, 23][:length], carried[length])
        advance(slots, *([[32, token] for token in [21, 23, 25][length:]]))


def test_a_row_that_was_taken_out_goes_on_among_others(model: OnnxModel) -> None:
    slots = Slots(model, 4)
    slots.join(slots.encode(SOURCES[:2]), [7, None])
    before = slots.carried(0)
    advance(slots, [20, 21])
    carried = slots.carried(0)
    advance(slots, [22, 23], [24, 25])
    snapshot = slots.save(0)
    slots.leave(0)
    slots.join(slots.encode(SOURCES[2:]), [None, 3])
    advance(slots, [26, 27, 28])
    slots.restore(snapshot, [20], carried)
    logits = advance(slots, [0, 0, 0, 30], [0, 0, 0, 0])
    np.testing.assert_array_equal(logits[3], fresh(model, SOURCES[0], 7, [20, 30]))
    slots.leave(3)
    slots.restore(snapshot, [], before)
    np.testing.assert_array_equal(advance(slots, [0, 0, 0, 0])[3], fresh(model, SOURCES[0], 7, []))


def run(runner: Runner) -> dict[int, list[StepResult]]:
    results: dict[int, list[StepResult]] = {}
    while runner.num_rows:
        for request_id, result in runner.step():
            results.setdefault(request_id, []).append(result)
    return results


def tokens_of(results: Sequence[StepResult]) -> list[tuple[int, float]]:
    return [(token.token_id, token.log_probability) for result in results for token in result.settled]


@pytest.mark.parametrize("after", [2, None])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_an_edited_translation_is_what_its_prefix_gives_from_the_start(
    model: OnnxModel, kept: int, after: int | None
) -> None:
    runner = Runner(Slots(model, 4), end_id=END)
    editable = Request(1, SOURCES[0], Decoding(12), seed=4, editable=True)
    runner.join([editable, Request(2, SOURCES[1], Decoding(9))])
    steps = [result for _ in range(after or 12) for request_id, result in runner.step() if request_id == 1]
    prefix = (*(token_id for token_id, _ in tokens_of(steps)[:kept]), 20, 21)
    is_running = runner.edit(1, prefix)
    assert is_running == (after is not None)
    if not is_running:
        runner.join([editable])
    results = run(runner)[1]
    assert {result.edit for result in results} == {1}
    kept = min(kept, after or kept)
    assert results[0].first_index == kept
    expected_runner = Runner(Slots(model, 1), end_id=END)
    expected_runner.join([Request(1, SOURCES[0], Decoding(12, prefix=prefix), seed=4)])
    assert tokens_of(results) == tokens_of(run(expected_runner)[1])[kept:]
    runner.leave([1])
    assert not runner.is_known(1)
