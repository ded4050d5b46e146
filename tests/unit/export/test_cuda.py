"""What states on a CUDA device give is what states on the host give, within the rounding of another processor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from service.engine.request import Decoding, Request, StepResult
from service.engine.runner import Runner
from service.model.device import Device
from service.model.device_states import DeviceStates
from service.model.memory import Memory, Place, on_host
from service.model.onnx_model import OnnxModel
from service.model.session import CPU
from service.model.slots import Slots
from tests.reference.pairs import END, Pair, long_play

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="this onnxruntime has no CUDAExecutionProvider",
    ),
]
CUDA = (("CUDAExecutionProvider", {}), *CPU)
GPU = Place("cuda", 0)
TOLERANCE = 1e-3
SOURCES = [(5, 6, 7, 8, END), (9, 10, END), (*range(5, 30), END)]


@pytest.fixture(scope="session")
def load_pair(make_tiny, load_graphs) -> Callable[[str], tuple[OnnxModel, OnnxModel]]:
    """One version on the CPU and on CUDA."""

    def load(kind: str) -> tuple[OnnxModel, OnnxModel]:
        tiny = make_tiny(kind)
        model = load_graphs(tiny, tiny.graphs)
        return model, OnnxModel(model.folder, providers=CUDA, num_threads=1)

    return load


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["transformer", "lstm", "gru", "hard", "none"])
def test_a_long_life_gives_what_the_cpu_gives(load_pair, kind: str, seed: int) -> None:
    Pair(*load_pair(kind), tolerance=TOLERANCE).play(long_play(seed))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("transformer", ["cross_keys_0", "cross_values_0", "cross_keys_1", "cross_values_1", "logits", "attention"]),
        ("lstm", ["memory", "hidden", "cell", "input_feed", "logits", "attention"]),
    ],
)
def test_states_are_where_the_graph_wants_them(load_pair, kind: str, names: list[str]) -> None:
    _, model = load_pair(kind)
    assert {name: model.on_device.get(name) for name in names} == dict.fromkeys(names, GPU)
    encoded = Slots(model, 4).encode(SOURCES)
    for state in model.manifest.states_of("constant", "carried"):
        made = encoded.states[state.name]
        assert isinstance(made, Memory) == (state.name in model.on_device)
        assert not isinstance(made, Memory) or (made.place == GPU and made.owner.device_name() != "cpu")
    slots = Slots(model, 4)
    (states,) = (group for group in slots._groups if isinstance(group, DeviceStates))
    assert "cpu" not in {memory.owner.device_name() for memory in states._memory.values()}
    assert states._memory.keys() | {"logits", "attention"} == model.on_device.keys()


def test_rows_are_moved_on_the_device() -> None:
    device = Device(GPU, CUDA)
    for session, moved in ((device._gather_rows, "gathered"), (device._pad_rows, "padded")):
        assert (session.input_places["data"], session.output_places[moved]) == (GPU, GPU)
    numbers = np.random.default_rng(0).normal(size=(5, 2, 6)).astype(np.float32)
    source, gathered, cut = device.zeros((5, 2, 8)), device.empty((3, 2, 8)), device.empty((3, 2, 4))
    device.fit(on_host(numbers), 2, source)
    device.gather(source, np.array([4, 0, 4]), gathered)
    device.fit(gathered, 2, cut)
    np.testing.assert_array_equal(device.read(source), np.pad(numbers, ((0, 0), (0, 0), (0, 2))))
    np.testing.assert_array_equal(device.read(gathered)[..., :6], numbers[[4, 0, 4]])
    np.testing.assert_array_equal(device.read(cut), numbers[[4, 0, 4], :, :4])


def settled(model: OnnxModel, decoding: Decoding) -> dict[int, list[tuple[int, float]]]:
    """Tokens and log-probabilities of each source."""
    runner, results = Runner(Slots(model, 16), end_id=END), dict[int, list[StepResult]]()
    runner.join([Request(number, source, decoding, seed=number) for number, source in enumerate(SOURCES)])
    while runner.num_rows:
        for request_id, result in runner.step():
            results.setdefault(request_id, []).append(result)
    return {
        number: [(token.token_id, token.log_probability) for result in of_one for token in result.settled]
        for number, of_one in results.items()
    }


@pytest.mark.parametrize("decoding", [Decoding(20), Decoding(20, beam_size=4), Decoding(20, repetition_penalty=1.3)])
@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_search_finds_the_same_tokens(load_pair, kind: str, decoding: Decoding) -> None:
    expected, found = (settled(model, decoding) for model in load_pair(kind))
    for number, tokens in expected.items():
        assert [token_id for token_id, _ in found[number]] == [token_id for token_id, _ in tokens]
        np.testing.assert_allclose(
            [value for _, value in found[number]], [value for _, value in tokens], rtol=0.0, atol=TOLERANCE
        )
