"""One published version: its two graphs, checked against the manifest, and where their states live.

It does not know requests, rows or texts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from service.model.bundle import Bundle
from service.model.device import Device
from service.model.errors import GraphError, NoRoomError
from service.model.foreign.graphs import ForeignGraphs
from service.model.graph_check import WeightsFile, check_graph
from service.model.manifest import Manifest
from service.model.memory import HOST, Memory, Place, on_host
from service.model.private_file import mapped, private_file, private_folder
from service.model.session import CPU, CPU_PROVIDER, BoundGraph, Provider, Session, Tensor
from service.model.tables import VersionTables

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]


class OnnxModel:
    """Both graphs of one version on one execution provider."""

    def __init__(
        self,
        folder: Path,
        *,
        providers: Sequence[Provider] = CPU,
        num_threads: int = 0,
        profile: Path | None = None,
        bundle: Bundle | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Load FOLDER; num_threads 0 means one for each core; profile: how the name of a profile of the steps begins;
        bundle: the folder, where it was opened before; it is closed; scratch: a folder on the disk that takes large
        tables of embeddings, which then come into memory row by row; what a run takes is then given back at its end.

        Raises BundleError for a damaged version, ProviderError where a provider is not to be had here.
        """
        self.folder = folder
        self._providers = providers
        with bundle or Bundle(folder) as opened, VersionTables(scratch) as tables, _weights(opened, scratch) as weights:
            self.manifest: Manifest = opened.manifest
            large = (self.manifest.encoder, self.manifest.decoder_step, self.manifest.weights)
            self.files = {name: opened.read(name) for name in self.manifest.files if name not in large}
            """The content of every file but the graphs and their weights."""
            has_tables = (
                weights is None and self.manifest.foreign is None and all(name == CPU_PROVIDER for name, _ in providers)
            )

            def load(name: str, profile: Path | None = None) -> Session:
                where, path = f"{folder}: {name}", folder / name
                start = partial(
                    Session,
                    path,
                    providers,
                    num_threads,
                    profile=profile,
                    weights=weights,
                    keeps_memory=scratch is None,
                )
                with _proved(opened, name, where, scratch) as graph:
                    if not has_tables:
                        return start(file=graph)
                    with tables.taken_from(graph, where) as (rest, taken):
                        return start(file=rest, tables=taken)

            # The one that takes more memory while it is loaded comes first.
            self._step = load(self.manifest.decoder_step, profile)
            self._encoder = load(self.manifest.encoder)
        self.execution_provider = self._step.execution_provider
        self._foreign: ForeignGraphs | None = None
        if self.manifest.foreign is None:
            self._check_signature()
        else:
            self._foreign = ForeignGraphs(self.manifest, self._encoder, self._step, str(folder))
        self.on_device = self._places() if self._foreign is None else {}
        """Where each state, the logits and the attention live that do not live on the host."""

    @cached_property
    def device(self) -> Device:
        """Where what is on_device lives."""
        (place,) = set(self.on_device.values())
        return Device(place, self._providers)

    def end_profile(self) -> Path:
        """The profile of all steps, complete; of a model that was loaded with one."""
        return self._step.end_profile()

    def encode(self, source_ids: Ids, source_lengths: Ids) -> dict[str, Floats]:
        """source_ids (batch, source_length), source_lengths (batch,) -> constant and carried states by name."""
        if self._foreign is not None:
            return self._foreign.encode(source_ids, source_lengths)
        return self._encoder.run({"source_ids": source_ids, "source_lengths": source_lengths})

    def encode_in_place(self, source_ids: Ids, source_lengths: Ids) -> Mapping[str, Floats | Memory]:
        """As `encode`, with the states that live on a device in its memory."""
        if not self.on_device:
            return self.encode(source_ids, source_lengths)
        return self._encoder.run_into({"source_ids": source_ids, "source_lengths": source_lengths}, self.on_device)

    def bind_step(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> BoundGraph:
        """Bind arrays, or the leading rows of arrays, as the step graph's inputs and outputs.

        Every array must stay in place for as long as the bound step is used; an input and an output may be the same
        memory only where the graph updates a growing state in place.
        """
        return self.bind_step_memory(
            {name: on_host(array) for name, array in inputs.items()},
            {name: on_host(array) for name, array in outputs.items()},
        )

    def bind_step_memory(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> BoundGraph:
        """As `bind_step`, in the memory of any place."""
        return (self._foreign or self._step).bind(inputs, outputs)

    def _places(self) -> dict[str, Place]:
        """Of each state, and of the logits and the attention, where the step graph wants it, if that is a device.
        Noise is made on the host."""
        inputs, outputs = self._step.input_places, self._step.output_places
        wanted = {state.name: inputs[state.name] for state in self.manifest.states if state.kind != "noise"}
        wanted |= {name: outputs[name] for name in ("logits", "attention") if name in outputs}
        return {name: place for name, place in wanted.items() if place != HOST}

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
                self._encoder.inputs,
                {"source_ids": Tensor(row.dtype, ("batch", "source_length")), "source_lengths": row},
            ),
            f"{manifest.encoder} outputs": (
                self._encoder.outputs,
                encoded,
            ),
            f"{manifest.decoder_step} inputs": (
                self._step.inputs,
                {"token_ids": row, "positions": row, "source_lengths": row, **states},
            ),
            f"{manifest.decoder_step} outputs": (
                self._step.outputs,
                {
                    "candidate_ids": Tensor(row.dtype, candidates),
                    "candidate_log_probabilities": Tensor(np.dtype(np.float32), candidates),
                    "logits": Tensor(np.dtype(np.float32), ("batch", manifest.vocabulary.target_size)),
                    **(attention if manifest.attention is not None else {}),
                    **new,
                },
            ),
        }
        for where, (found, wanted) in expected.items():
            for name in sorted(wanted.keys() | found.keys()):
                if wanted.get(name) != found.get(name):
                    raise GraphError(
                        f"{self.folder}: {where}: {name} is {found.get(name)}, the manifest says {wanted.get(name)}"
                    )


@contextmanager
def _proved(bundle: Bundle, name: str, where: str, scratch: Path | None) -> Iterator[BinaryIO]:
    """A private file of a graph that reaches nowhere but into the version's file of weights."""
    weights = bundle.manifest.weights
    beside = None if weights is None else WeightsFile(weights, bundle.manifest.files[weights].size)
    with private_file(name, scratch) as file:
        bundle.copy(name, file)
        with mapped(file) as content:
            check_graph(content, where, beside)
        yield file


@contextmanager
def _weights(bundle: Bundle, scratch: Path | None) -> Iterator[Path | None]:
    """A private folder with the weights that lie beside the graphs, proved; None where the graphs hold their own."""
    name = bundle.manifest.weights
    if name is None:
        yield None
        return
    with private_folder(scratch) as folder:
        size = bundle.manifest.files[name].size
        if (free := shutil.disk_usage(folder).free) < size:
            raise NoRoomError(f"{folder.parent} has {free} bytes free, {name} takes {size} while it is loaded")
        try:
            with (folder / name).open("xb", buffering=0) as file:
                bundle.copy(name, file)
        except OSError as error:
            raise NoRoomError(f"{name} cannot be copied to {folder.parent}: {error.strerror}") from error
        yield folder
