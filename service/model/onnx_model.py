"""Runs one published version in onnxruntime; the only file that knows onnxruntime.

It checks that the graphs are what the manifest says. It does not know requests, slots or texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.model.errors import BundleError, ProviderError
from service.model.manifest import Manifest, read_manifest

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]
Provider = tuple[str, dict[str, str]]

CPU: tuple[Provider, ...] = (("CPUExecutionProvider", {}),)
SPIN_US = 20
"""How long a thread that is out of work stays awake: long enough for the next operator of the same step, not so long
that it takes a core from the event loop and from other models."""
SLOWER_WHEN_FUSED = ["SkipLayerNormFusion"]
"""Optimizers of onnxruntime that are left out: its SkipLayerNormalization takes several times as long on a CPU as the
addition and the LayerNormalization that it stands for."""
_ONNX_TYPES: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(int64)": np.dtype(np.int64)}


@dataclass(frozen=True)
class Tensor:
    """What a graph says of one input or output: its type and its axes, named or fixed."""

    dtype: np.dtype[Any]
    axes: tuple[str | int, ...]


class OnnxModel:
    """Both graphs of one version on one execution provider."""

    def __init__(self, folder: Path, *, providers: Sequence[Provider] = CPU, num_threads: int = 0) -> None:
        """Load FOLDER; num_threads 0 means one for each core.

        Raises BundleError for a damaged version, ProviderError where a provider is not to be had here.
        """
        self.manifest: Manifest = read_manifest(folder)
        self.folder = folder
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
        self._encoder = _session(folder / self.manifest.encoder, options, providers)
        self._step = _session(folder / self.manifest.decoder_step, options, providers)
        self.execution_provider: str = self._step.get_providers()[0]
        self._check_signature()

    def encode(self, source_ids: Ids, source_lengths: Ids) -> dict[str, Floats]:
        """source_ids (batch, source_length), source_lengths (batch,) -> constant and carried states by name."""
        outputs = self._encoder.run(None, {"source_ids": source_ids, "source_lengths": source_lengths})
        return {node.name: output for node, output in zip(self._encoder.get_outputs(), outputs, strict=True)}

    def bind_step(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> BoundStep:
        """Bind arrays, or the leading rows of arrays, as the step graph's inputs and outputs.

        Every array must stay alive and in place for as long as the bound step is used; an input and an output may
        be the same memory only where the graph updates a growing state in place.
        """
        binding = self._step.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return BoundStep(self._step, binding, (inputs, outputs))

    def _check_signature(self) -> None:
        """Compare both graphs with the manifest: names, types, axes."""
        manifest = self.manifest
        row = Tensor(np.dtype(np.int64), ("batch",))
        states = {s.name: Tensor(np.dtype(s.dtype), s.axes) for s in manifest.states}
        new = {f"new_{s.name}": states[s.name] for s in manifest.states_of("carried", "growing")}
        encoded = {s.name: states[s.name] for s in manifest.states_of("constant", "carried")}
        attention = {"attention": Tensor(np.dtype(np.float32), ("batch", "source_length"))}
        candidates = ("batch", manifest.num_candidates)
        expected = {
            f"{manifest.encoder} inputs": (
                self._encoder.get_inputs(),
                {"source_ids": Tensor(row.dtype, ("batch", "source_length")), "source_lengths": row},
            ),
            f"{manifest.encoder} outputs": (
                self._encoder.get_outputs(),
                encoded,
            ),
            f"{manifest.decoder_step} inputs": (
                self._step.get_inputs(),
                {"token_ids": row, "positions": row, "source_lengths": row, **states},
            ),
            f"{manifest.decoder_step} outputs": (
                self._step.get_outputs(),
                {
                    "candidate_ids": Tensor(row.dtype, candidates),
                    "candidate_log_probabilities": Tensor(np.dtype(np.float32), candidates),
                    "logits": Tensor(np.dtype(np.float32), ("batch", manifest.vocabulary.target_size)),
                    **(attention if manifest.attention is not None else {}),
                    **new,
                },
            ),
        }
        for where, (nodes, wanted) in expected.items():
            found = {node.name: _tensor(node) for node in nodes}
            for name in sorted(wanted.keys() | found.keys()):
                if wanted.get(name) != found.get(name):
                    raise BundleError(
                        f"{self.folder}: {where}: {name} is {found.get(name)}, the manifest says {wanted.get(name)}"
                    )


def _tensor(node: onnxruntime.NodeArg) -> Tensor:
    dtype: np.dtype[Any] = _ONNX_TYPES.get(node.type, np.dtype(object))
    return Tensor(dtype, tuple(node.shape))


class BoundStep:
    """A decoder step over fixed arrays. `run` reads the inputs and writes the outputs, nothing else."""

    def __init__(self, session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding, arrays: object) -> None:
        self._session = session
        self._binding = binding
        self._arrays = arrays

    def run(self) -> None:
        """One decoder step; releases the interpreter lock while it computes."""
        self._session.run_with_iobinding(self._binding)


def _session(
    path: Path, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    for name, _ in providers:
        if name not in available:
            raise ProviderError(f"{name} is not in this onnxruntime, which has {', '.join(available)}")
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=list(providers), disabled_optimizers=SLOWER_WHEN_FUSED
        )
    except Exception as error:
        raise BundleError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    missing = [name for name, _ in providers if name not in session.get_providers()]
    if missing:
        raise ProviderError(f"{', '.join(missing)} could not start here; onnxruntime would run without it")
    return session
