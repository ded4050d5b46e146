"""Runs one graph in onnxruntime, over memory of the host or of a device; the only file that knows onnxruntime.

It does not know what the graph computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.model.errors import DeviceFailedError, GraphError, InterruptedRunError, ProviderError
from service.model.graph_tables import NOWHERE
from service.model.interrupt import current_interrupt
from service.model.memory import HOST, Memory, Place, on_host

Provider = tuple[str, dict[str, str]]
Array = npt.NDArray[Any]
_Result = TypeVar("_Result")

CPU_PROVIDER = "CPUExecutionProvider"
CPU: tuple[Provider, ...] = ((CPU_PROVIDER, {}),)
FATAL = 4
"""The severity from which on onnxruntime writes to stderr: what fails is raised, and its lines, which are no JSON, hold
a graph's own names."""
SPIN_US = 20
"""How long a thread that is out of work stays awake: long enough for the next operator of the same step, not so long
that it takes a core from the event loop and from other models."""
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
SLOWER_WHEN_FUSED = ["SkipLayerNormFusion"]
"""Optimizers of onnxruntime that are left out: its SkipLayerNormalization takes several times as long on a CPU as the
addition and the LayerNormalization that it stands for."""
_ONNX_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(bool)": np.dtype(np.bool_),
}
DEFAULTS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""Options of providers where nobody says otherwise: float32 products are float32 products, as the certificates say."""
_DEVICE_ERRORS = {"EPFail", "DeviceReset"}
_DEVICE_MESSAGE = re.compile(r"\b(?:CUDA|CUDNN|CUBLAS|CUFFT|CURAND|NCCL) (?:failure|error)|cudaError", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile("Failed to allocate memory|Available memory of")
"""How onnxruntime says that a call of CUDA has failed, and that its arena has no memory left, whatever the exception's
type. After most failures of CUDA every later call in the process fails too (onnxruntime issue 10343)."""
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
        file: BinaryIO | None = None,
        tables: Mapping[str, Array] | None = None,
        weights: Path | None = None,
        keeps_memory: bool = True,
    ) -> None:
        """Load PATH, or the open file that has its content; num_threads 0 means one for each core; profile: how the
        name of a profile of all runs begins; tables: the initializers that the graph says lie NOWHERE, used where they
        are, without a copy; weights: the folder of the files that the graph says other initializers lie in, of which
        nothing is needed once it is loaded; keeps_memory: what one run took on the host is kept for the next.

        Raises BundleError for a damaged graph, ProviderError where a provider is not to be had here.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = FATAL
        options.enable_cpu_mem_arena = keeps_memory
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(table) for name, table in (tables or {}).items()}
        if values or weights is not None:
            options.add_session_config_entry(_EXTERNAL_FOLDER, str(weights or NOWHERE.parent))
        for name, value in values.items():
            options.add_initializer(name, value)
        self._session = _load(path, file, options, providers)
        # What is bound to onnxruntime's session outlives this one, and reads the tables, which no session keeps.
        self._session.tables = values, tables
        self.execution_provider: str = self._session.get_providers()[0]
        self.uses_device = self.execution_provider != CPU_PROVIDER
        self.inputs = {node.name: _tensor(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: _tensor(node) for node in self._session.get_outputs()}
        self.input_places = dict(zip(self.inputs, map(_place, self._session.get_input_memory_infos()), strict=True))
        self.output_places = dict(zip(self.outputs, map(_place, self._session.get_output_memory_infos()), strict=True))

    def end_profile(self) -> Path:
        """The profile, complete."""
        return Path(self._session.end_profiling())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name, in memory of the host."""
        values = _run(partial(self._session.run, None, inputs), uses_device=self.uses_device)
        return dict(zip(self.outputs, values, strict=True))

    def run_into(self, inputs: Mapping[str, Array], places: Mapping[str, Place]) -> dict[str, Array | Memory]:
        """Every output by name: those with a place in memory there, the others as `run` gives them."""
        bound = self.bind({name: on_host(array) for name, array in inputs.items()}, {})
        return bound.run_into({name: places.get(name) for name in self.outputs})

    def bind(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> Bound:
        """The graph over fixed memory, wherever it is."""
        bound = Bound(self._session, self.input_places, uses_device=self.uses_device)
        bound.bind(inputs, outputs)
        return bound


class BoundGraph(Protocol):
    """What is run over fixed memory: see `Bound`."""

    def bind(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> None: ...

    def run(self) -> None: ...


class Bound:
    """A graph over fixed memory. `run` reads the inputs and writes the outputs, nothing else."""

    def __init__(
        self, session: onnxruntime.InferenceSession, input_places: Mapping[str, Place], *, uses_device: bool
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._input_places = input_places
        self._inputs: dict[str, Memory] = {}
        self._outputs: dict[str, Memory] = {}
        self._elsewhere: dict[str, Memory] = {}
        self._uses_device = uses_device
        self._is_on_device = any(place != HOST for place in input_places.values())

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
        """Compute once; releases the interpreter lock meanwhile. Raises RunError, and what onnxruntime raises where it
        fails for a reason that lies in the inputs; the outputs then hold anything."""
        _run(self._run, uses_device=self._uses_device)

    def run_into(self, places: Mapping[str, Place | None]) -> dict[str, Array | Memory]:
        """Compute once, with the outputs in memory that onnxruntime takes at these places; None gives an array."""
        for name, place in places.items():
            device = place or HOST
            self._binding.bind_output(name, device.device, device.number)
        self.run()
        values = zip(places.items(), self._binding.get_outputs(), strict=True)
        return {name: value.numpy() if place is None else _memory(place, value) for (name, place), value in values}

    def _run(self, options: onnxruntime.RunOptions) -> None:
        if not self._is_on_device:
            self._session.run_with_iobinding(self._binding, options)
            return
        # onnxruntime copies an input to the memory that it is read from when it is bound, and only then.
        for name, memory in self._elsewhere.items():
            self._bind_input(name, memory)
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding, options)
        self._binding.synchronize_outputs()

    def _bind_input(self, name: str, memory: Memory) -> None:
        place = memory.place
        self._binding.bind_input(name, place.device, place.number, memory.dtype, memory.shape, memory.address)


def _run(run: Callable[[onnxruntime.RunOptions], _Result], *, uses_device: bool) -> _Result:
    """Run with options that the thread's interrupt can end it by; they are new for each run, since what is ended stays
    ended. Raises RunError for a failure whose reason lies in no row."""
    options = onnxruntime.RunOptions()
    if (interrupt := current_interrupt.get()) is not None:
        interrupt.begin(partial(setattr, options, "terminate", True))
    try:
        return run(options)
    except Exception as error:
        if options.terminate:
            raise InterruptedRunError("the run was ended") from error
        if uses_device and _is_of_device(error):
            raise DeviceFailedError(str(error).partition("\n")[0]) from error
        raise


def _is_of_device(error: Exception) -> bool:
    message = str(error)
    says_so = _DEVICE_MESSAGE.search(message) or _OUT_OF_MEMORY.search(message)
    return type(error).__name__ in _DEVICE_ERRORS or says_so is not None


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


def _load(
    path: Path, file: BinaryIO | None, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    for name, _ in providers:
        if name not in available:
            raise ProviderError(f"{name} is not in this onnxruntime, which has {', '.join(available)}")
    try:
        session = onnxruntime.InferenceSession(
            path if file is None else Path(f"/proc/self/fd/{file.fileno()}"),
            options,
            providers=[(name, DEFAULTS.get(name, {}) | own) for name, own in providers],
            disabled_optimizers=SLOWER_WHEN_FUSED,
        )
    except Exception as error:
        raise GraphError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    session.disable_fallback()
    missing = [name for name, _ in providers if name not in session.get_providers()]
    if missing:
        raise ProviderError(f"{', '.join(missing)} could not start here; onnxruntime would run without it")
    return session
