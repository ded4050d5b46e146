"""States in memory of a device give bit for bit what states on the host give. The device is the host's own memory here,
behind the calls that a device takes."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Collection

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from service.engine.request import Decoding, Request, Sampling
from service.engine.runner import Runner
from service.model.device import Device
from service.model.device_states import DeviceStates
from service.model.memory import HOST, Memory, Place, on_host
from service.model.onnx_model import OnnxModel
from service.model.session import Bound
from service.model.slots import Slots
from tests.reference.pairs import ACTION_LISTS, END, Pair, long_play

KINDS = ("transformer", "lstm", "hard", "none")
SOURCES = [(5, 6, 7, 8, END), (9, 10, END), (*range(5, 30), END)]
ELSEWHERE = Place("cuda", 0)


@pytest.fixture(scope="session")
def load_pair(make_tiny, load_graphs) -> Callable[[str], tuple[OnnxModel, OnnxModel]]:
    """One version, loaded twice."""
    loaded: dict[str, OnnxModel] = {}

    def load(kind: str) -> tuple[OnnxModel, OnnxModel]:
        if kind not in loaded:
            tiny = make_tiny(kind)
            loaded[kind] = load_graphs(tiny, tiny.graphs)
        model = loaded[kind]
        return model, OnnxModel(model.folder, num_threads=1)

    return load


def device_names(model: OnnxModel) -> list[str]:
    names = [state.name for state in model.manifest.states if state.kind != "noise"]
    return [*names, "logits"] + ["attention"] * (model.manifest.attention is not None)


def put_on_device(model: OnnxModel, names: Collection[str] | None = None) -> OnnxModel:
    model.on_device = dict.fromkeys(device_names(model) if names is None else names, HOST)
    return model


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, load_pair) -> tuple[OnnxModel, OnnxModel]:
    return load_pair(request.param)


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(actions=ACTION_LISTS)
def test_everything_on_the_device_changes_no_bit(pair, actions) -> None:
    one, other = pair
    Pair(one, put_on_device(other)).play(actions)


@pytest.mark.parametrize("seed", range(3))
def test_a_long_life_on_the_device_changes_no_bit(pair, seed: int) -> None:
    one, other = pair
    Pair(one, put_on_device(other)).play(long_play(seed))


def test_rows_that_follow_each_other_do_not_overwrite_each_other(pair) -> None:
    one, other = pair
    both = [Slots(model, 4) for model in (one, put_on_device(other))]
    for slots in both:
        slots.join(slots.encode([SOURCES[0]] * 4))
        for _ in range(3):
            slots.step()
            slots.choose([10, 20, 30, 35])
        slots.copy([1], [2])
        slots.copy([0], [1])
        slots.leave(0)
    np.testing.assert_array_equal(*(slots.step().logits for slots in both))


@settings(many, max_examples=25)
@given(actions=ACTION_LISTS)
@pytest.mark.parametrize("part", [0, 1])
def test_a_part_on_the_device_changes_no_bit(pair, part: int, actions) -> None:
    one, other = pair
    Pair(one, put_on_device(other, device_names(other)[part::2])).play(actions)


def copied(memory: Memory) -> Memory:
    size = math.prod(memory.shape) * memory.dtype.itemsize
    data = (ctypes.c_char * size).from_address(memory.address)
    return on_host(np.frombuffer(bytes(data), memory.dtype).reshape(memory.shape))


@settings(many, max_examples=25)
@given(actions=ACTION_LISTS)
def test_inputs_that_a_device_reads_are_bound_for_every_run(pair, actions) -> None:
    """As onnxruntime does with a device, what is bound where another memory is read is copied at that moment."""
    one, other = pair
    put_on_device(other)
    session = other._step
    vectors = [name for name in session.inputs if name not in other.on_device]
    session.input_places = {name: ELSEWHERE if name in vectors else HOST for name in session.inputs}
    bind, copies = Bound._bind_input, []

    def bind_a_copy(bound: Bound, name: str, memory: Memory) -> None:
        if memory.place != bound._input_places[name]:
            memory = copied(memory)
            copies.append(memory)
        bind(bound, name, memory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bound, "_bind_input", bind_a_copy)
        played = Pair(one, other)
        played.play(actions)
    assert len(copies) >= played.num_steps * len(vectors)


class Reads:
    """Counts what is copied from the device to the host."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, ...]] = []
        read = Device.read

        def counted(device: Device, source: Memory) -> np.ndarray:
            self.shapes.append(source.shape)
            return read(device, source)

        patch.setattr(Device, "read", counted)


def run(model: OnnxModel, *requests: Request) -> int:
    """The number of steps."""
    runner, num_steps = Runner(Slots(model, 8), end_id=END), 0
    runner.join(requests)
    while runner.num_rows:
        runner.step()
        num_steps += 1
    return num_steps


@pytest.mark.parametrize("decoding", [Decoding(12), Decoding(12, beam_size=4)])
def test_greedy_and_beam_requests_read_nothing_from_the_device(
    pair, monkeypatch: pytest.MonkeyPatch, decoding: Decoding
) -> None:
    reads = Reads(monkeypatch)
    assert run(put_on_device(pair[1]), Request(1, SOURCES[0], decoding), Request(2, SOURCES[1], decoding))
    assert reads.shapes == []


def test_logits_are_read_at_most_once_in_a_step_and_attention_where_it_is_asked_for(
    load_pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = load_pair("transformer")
    put_on_device(model)
    reads = Reads(monkeypatch)
    sampled = Decoding(6, sampling=Sampling(), num_hypotheses=2)
    num_steps = run(model, Request(1, SOURCES[0], sampled, seed=1), Request(2, SOURCES[1], sampled, seed=2))
    assert 0 < len(reads.shapes) <= num_steps
    assert {shape[1] for shape in reads.shapes} == {model.manifest.vocabulary.target_size}
    reads.shapes.clear()
    num_steps = run(
        model,
        Request(1, SOURCES[0], Decoding(6), include_attention=True),
        Request(2, SOURCES[1], Decoding(6), include_attention=True),
    )
    assert len(reads.shapes) == num_steps
    assert {shape[1] for shape in reads.shapes} == {16}


def test_carried_states_change_places_and_are_not_copied(load_pair) -> None:
    _, model = load_pair("lstm")
    slots = Slots(put_on_device(model), 4)
    slots.join(slots.encode(SOURCES))
    (states,) = (group for group in slots._groups if isinstance(group, DeviceStates))
    before = {name: (states._memory[name].address, states._new[name].address) for name in states._new}
    assert before
    slots.step()
    assert {name: (states._new[name].address, states._memory[name].address) for name in states._new} == before
    slots.choose([4, 5, 6])
    bound = slots._bound
    slots.step()
    assert slots._bound is bound
    assert {name: (states._memory[name].address, states._new[name].address) for name in states._new} == before


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("culprit", range(3))
def test_rows_that_are_run_apart_from_a_culprit_go_on_bit_for_bit(pair, culprit: int, on_device: bool) -> None:
    undisturbed, disturbed = Slots(pair[0], 4), Slots(put_on_device(pair[1], None if on_device else ()), 4)
    others = [row for row in range(3) if row != culprit]
    for slots in (undisturbed, disturbed):
        slots.join(slots.encode(SOURCES), [1, 2, 3])
    for age in range(6):
        for slots in (undisturbed, disturbed):
            slots.choose([10 + age, 20 + age, 30 + age])
        if age in (2, 3):
            disturbed._token_ids[culprit] = 10**6
        expected, made = undisturbed.step(), disturbed.step()
        assert set(made.culprits) == ({culprit} if age in (2, 3) else set())
        np.testing.assert_array_equal(made.logits[others], expected.logits[others])
        np.testing.assert_array_equal(made.ids[others], expected.ids[others])


@pytest.mark.parametrize("on_device", [False, True])
def test_nothing_of_a_wiped_row_is_left_for_the_next_one(load_pair, on_device: bool) -> None:
    _, model = load_pair("transformer")
    slots = Slots(put_on_device(model, None if on_device else ()), 2)
    slots.join(slots.encode(SOURCES[:2]))
    for _ in range(3):
        slots.step()
    kept = slots.save(0).states
    slots.wipe(1)
    growing = [state.name for state in model.manifest.states_of("growing")]
    assert growing
    for name in growing:
        assert not slots.save(1).states[name].any()
        np.testing.assert_array_equal(slots.save(0).states[name], kept[name])
        assert kept[name].any()
