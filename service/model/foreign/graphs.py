"""A foreign pair's two graphs, held against their roles, behind what `service.model.onnx_model` offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from service.model.errors import GraphError
from service.model.foreign.groups import groups
from service.model.foreign.layout import along, state_axes, state_from_tensor, to_tensor
from service.model.foreign.ranking import Floats, Ids
from service.model.foreign.roles import ForeignMask, ForeignPair, ForeignTensor
from service.model.foreign.step import ForeignStep, masked
from service.model.manifest import Manifest
from service.model.memory import Memory
from service.model.session import Array, Session, Tensor


class ForeignGraphs:
    """Runs them over as many rows at once as each may share. All memory is the host's."""

    def __init__(self, manifest: Manifest, encoder: Session, decoder: Session, where: str) -> None:
        """Raises GraphError where a graph is not what the manifest says of it."""
        assert manifest.foreign is not None
        self._manifest = manifest
        self._pair = manifest.foreign
        self._encoder = encoder
        self._decoder = decoder
        read, written = encoder_tensors(self._pair)
        _check(encoder.inputs, read, f"{where}: {manifest.encoder} inputs", all_of_them=True)
        _check(encoder.outputs, written, f"{where}: {manifest.encoder} outputs", all_of_them=False)
        read, written = decoder_tensors(self._pair)
        _check(decoder.inputs, read, f"{where}: {manifest.decoder_step} inputs", all_of_them=True)
        _check(decoder.outputs, written, f"{where}: {manifest.decoder_step} outputs", all_of_them=False)

    def encode(self, source_ids: Ids, source_lengths: Ids) -> dict[str, Floats]:
        """As `OnnxModel.encode`; what lies beyond a row's length is zero, and carried states without an output of the
        encoder begin with zeros."""
        batch, width = source_ids.shape
        made = {
            state.name: np.zeros(state.shape(batch=batch, source_length=width, capacity=0), np.float32)
            for state in self._manifest.states_of("constant", "carried")
        }
        for rows in groups(self._pair.encoder.sharing, source_lengths, np.zeros_like(source_lengths)):
            lengths = source_lengths[rows]
            is_token = np.arange(lengths.max())[None, :] < lengths[:, None]
            outputs = self._encoder.run(self._inputs(source_ids[rows, : is_token.shape[1]], lengths, is_token))
            for name, tensor in self._pair.encoder.states.items():
                window = along(state_axes(tensor), source_length=slice(is_token.shape[1]))
                made[name][window][rows] = state_from_tensor(outputs[tensor.name], tensor)
        return made

    def bind(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> ForeignStep:
        """A step over fixed memory."""
        return ForeignStep(self._manifest, self._decoder, inputs, outputs)

    def _inputs(self, source_ids: Ids, lengths: Ids, is_token: Array) -> dict[str, Array]:
        roles = self._pair.encoder
        ids = np.where(is_token, source_ids, self._pair.pad_id)
        inputs = {roles.source_ids.name: to_tensor(ids, ("batch", "source_length"), roles.source_ids)}
        if roles.source_mask is not None:
            inputs |= masked(roles.source_mask, is_token, "source_length")
        if roles.source_lengths is not None:
            inputs[roles.source_lengths.name] = to_tensor(lengths, ("batch",), roles.source_lengths)
        return inputs


def encoder_tensors(pair: ForeignPair) -> tuple[list[ForeignTensor], list[ForeignTensor]]:
    """Every input and output of the encoder that has a role."""
    roles = pair.encoder
    return list(_given(roles.source_ids, roles.source_mask, roles.source_lengths)), list(roles.states.values())


def decoder_tensors(pair: ForeignPair) -> tuple[list[ForeignTensor], list[ForeignTensor]]:
    """Every input and output of the decoder that has a role."""
    roles, states = pair.decoder, pair.decoder.states.values()
    read = _given(
        roles.last_token,
        roles.prefix,
        roles.prefix_mask,
        roles.prefix_lengths,
        roles.positions,
        roles.source_mask,
        roles.source_lengths,
    )
    written = _given(roles.scores, roles.attention, *(state.written for state in states))
    return [*read, *(state.read for state in states)], list(written)


def _given(*roles: ForeignTensor | ForeignMask | None) -> Iterator[ForeignTensor]:
    for role in roles:
        if role is not None:
            yield role.tensor if isinstance(role, ForeignMask) else role


def _check(found: Mapping[str, Tensor], wanted: list[ForeignTensor], where: str, *, all_of_them: bool) -> None:
    """all_of_them: the graph may have no others."""
    for tensor in wanted:
        one = found.get(tensor.name)
        if one is None or one.dtype != np.dtype(tensor.dtype) or len(one.axes) != len(tensor.axes):
            raise GraphError(f"{where}: {tensor.name} is {one}, the manifest says {tensor.dtype} {list(tensor.axes)}")
    if all_of_them and (others := sorted(found.keys() - {tensor.name for tensor in wanted})):
        raise GraphError(f"{where}: the manifest says nothing of {others[0]}")
