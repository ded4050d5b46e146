"""Runs one graph in onnxruntime, over memory of the host or of a device; the only file that knows onnxruntime.

It does not know what the graph computes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.model.errors import GraphError, ProviderError
from service.model.memory import HOST, Memory, Place, on_host

Provider = tuple[str, dict[str, str]]
Array = npt.NDArray[Any]

CPU: tuple[Provider, ...] = (("CPUExecutionProvider", {}),)
SPIN_US = 20
"""How long a thread that is out of work stays awake: long enough for the next operator of the same step, not so long
that it takes a core from the event loop and from other models."""
SLOWER_WHEN_FUSED = ["SkipLayerNormFusion"]
"""Optimizers of onnxruntime that are left out: its SkipLayerNormalization takes several times as long on a CPU as the
addition and the LayerNormalization that it stands for."""
_ONNX_TYPES: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(int64)": np.dtype(np.int64)}
DEFAULTS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""Options of providers where nobody says otherwise: float32 products are float32 products, as the certificates say."""
_DEVICES = {"Cuda": "cuda"}
"""Devices by the names of their memories; every other memory is the host's."""


@dataclass(frozen=True)
class Tensor:
    """What a graph says of one input or output: its type and its axes, named or fixed."""

    dtype: np.dtype[Any]
    axes: tuple[str | int, ...]


class Session:
    """One graph on one execution provider.

    inputs and outputs: what the graph says of each. input_places and output_places: the memory that the first node to
    read an input reads it from, and that an output is written to.
    """

    def __init__(
        self,
        path: Path,
        providers: Sequence[Provider] = CPU,
        num_threads: int = 0,
        *,
        profile: Path | None = None,
        content: bytes | None = None,
    ) -> None:
        """Load PATH, or its content where that was read before; num_threads 0 means one for each core; profile: how the
        name of a profile of all runs begins.

        Raises BundleError for a damaged graph, ProviderError where a provider is not to be had here.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        self._session = _load(path, content, options, providers)
        self.execution_provider: str = self._session.get_providers()[0]
        self.inputs = {node.name: _tensor(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: _tensor(node) for node in self._session.get_outputs()}
        self.input_places = dict(zip(self.inputs, map(_place, self._session.get_input_memory_infos()), strict=True))
        self.output_places = dict(zip(self.outputs, map(_place, self._session.get_output_memory_infos()), strict=True))

    def end_profile(self) -> Path:
        """The profile, complete."""
        return Path(self._session.end_profiling())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name, in memory of the host."""
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))

    def run_into(self, inputs: Mapping[str, Array], places: Mapping[str, Place]) -> dict[str, Array | Memory]:
        """Every output by name: those with a place in memory there, the others as `run` gives them."""
        bound = self.bind({name: on_host(array) for name, array in inputs.items()}, {})
        return bound.run_into({name: places.get(name) for name in self.outputs})

    def bind(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> Bound:
        """The graph over fixed memory, wherever it is."""
        bound = Bound(self._session, self.input_places)
        bound.bind(inputs, outputs)
        return bound


class Bound:
    """A graph over fixed memory. `run` reads the inputs and writes the outputs, nothing else."""

    def __init__(self, session: onnxruntime.InferenceSession, input_places: Mapping[str, Place]) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._input_places = input_places
        self._inputs: dict[str, Memory] = {}
        self._outputs: dict[str, Memory] = {}
        self._elsewhere: dict[str, Memory] = {}
        self._uses_device = any(place != HOST for place in input_places.values())

    def bind(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> None:
        """Take other memory for some inputs and outputs."""
        for name, memory in inputs.items():
            self._bind_input(name, memory)
            if memory.place != self._input_places[name]:
                self._elsewhere[name] = memory
        for name, memory in outputs.items():
            place = memory.place
            self._binding.bind_output(name, place.device, place.number, memory.dtype, memory.shape, memory.address)
        self._inputs.update(inputs)
        self._outputs.update(outputs)

    def run(self) -> None:
        """Compute once; releases the interpreter lock meanwhile."""
        if not self._uses_device:
            self._session.run_with_iobinding(self._binding)
            return
        # onnxruntime copies an input to the memory that it is read from when it is bound, and only then.
        for name, memory in self._elsewhere.items():
            self._bind_input(name, memory)
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def run_into(self, places: Mapping[str, Place | None]) -> dict[str, Array | Memory]:
        """Compute once, with the outputs in memory that onnxruntime takes at these places; None gives an array."""
        for name, place in places.items():
            device = place or HOST
            self._binding.bind_output(name, device.device, device.number)
        self.run()
        values = zip(places.items(), self._binding.get_outputs(), strict=True)
        return {name: value.numpy() if place is None else _memory(place, value) for (name, place), value in values}

    def _bind_input(self, name: str, memory: Memory) -> None:
        place = memory.place
        self._binding.bind_input(name, place.device, place.number, memory.dtype, memory.shape, memory.address)


def empty(place: Place, shape: tuple[int, ...]) -> Memory:
    """float32, anything in it."""
    return _memory(
        place, onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, place.device, place.number)
    )


def zeros(place: Place, shape: tuple[int, ...]) -> Memory:
    """float32, zeros."""
    filled = np.zeros(shape, np.float32)
    return _memory(place, onnxruntime.OrtValue.ortvalue_from_numpy(filled, place.device, place.number))


def _memory(place: Place, value: onnxruntime.OrtValue) -> Memory:
    return Memory(place, value.data_ptr(), tuple(value.shape()), np.dtype(np.float32), value)


def _tensor(node: onnxruntime.NodeArg) -> Tensor:
    return Tensor(_ONNX_TYPES.get(node.type, np.dtype(object)), tuple(node.shape))


def _place(memory_info: onnxruntime.OrtMemoryInfo) -> Place:
    device = _DEVICES.get(memory_info.name)
    return HOST if device is None else Place(device, memory_info.device_id)


@contextmanager
def _as_file(path: Path, content: bytes | None) -> Iterator[Path]:
    """Where to read a graph from: PATH, or a file without a name that holds its content.

    Of bytes, onnxruntime would keep a copy, and no thread of Python would run while it reads them.
    """
    if content is None:
        yield path
        return
    with os.fdopen(os.memfd_create(path.name), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _load(
    path: Path, content: bytes | None, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    for name, _ in providers:
        if name not in available:
            raise ProviderError(f"{name} is not in this onnxruntime, which has {', '.join(available)}")
    try:
        with _as_file(path, content) as readable:
            session = onnxruntime.InferenceSession(
                readable,
                options,
                providers=[(name, DEFAULTS.get(name, {}) | own) for name, own in providers],
                disabled_optimizers=SLOWER_WHEN_FUSED,
            )
    except Exception as error:
        raise GraphError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    missing = [name for name, _ in providers if name not in session.get_providers()]
    if missing:
        raise ProviderError(f"{', '.join(missing)} could not start here; onnxruntime would run without it")
    return session
