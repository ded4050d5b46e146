"""The encoder's half of `export.foreign.resolve`: the axes of its outputs are those that follow what it is given."""

from __future__ import annotations

from collections.abc import Mapping as Outputs
from collections.abc import Sequence
from typing import Literal

import numpy as np

from export.errors import ForeignError
from export.foreign.declared import STATES, Axes, Declared
from export.foreign.mapping import Mapping
from export.foreign.vocabularies import PreparedVocabulary
from service.model.foreign.roles import ForeignEncoder, ForeignTensor
from service.model.session import Array, Session

LENGTHS = (5, 7)
"""Of the sources that shapes are found by, in tokens."""


class EncoderResolver:
    """Holds a mapping against an encoder; see `resolve`."""

    def __init__(self, mapping: Mapping, session: Session, source: PreparedVocabulary) -> None:
        self._mapping = mapping
        self._session = session
        self._source = source
        self._from = Declared(mapping.encoder.file, session)

    def resolve(self, state_names: Sequence[str]) -> ForeignEncoder:
        """state_names: of the mapping's states, in their order. Raises ForeignError."""
        roles, major = self._mapping.encoder, {"time_major": self._mapping.encoder.time_major}
        encoder = ForeignEncoder(
            source_ids=self._from.ids("encoder.source_ids", roles.source_ids, "source_length", **major),
            source_mask=self._from.mask("encoder.source_mask", roles.source_mask, "source_length", **major),
            source_lengths=self._from.numbers("encoder.source_lengths", roles.source_lengths),
            states={},
        )
        mask = encoder.source_mask
        inputs = [encoder.source_ids, encoder.source_lengths, mask.tensor if mask else None]
        self._from.require_all({tensor.name for tensor in inputs if tensor is not None})
        wanted = [role.from_encoder for role in self._mapping.states]
        for role in self._mapping.states:
            if role.from_encoder is not None:
                output = self._from.output("states.from_encoder", role.from_encoder)
                self._from.dtype("states.from_encoder", role.from_encoder, output, STATES)
        found = self._encoded_axes(encoder, [name for name in wanted if name is not None])
        states = {}
        for name, output_name in zip(state_names, wanted, strict=True):
            if output_name is not None:
                output = self._from.output("states.from_encoder", output_name)
                dtype = self._from.dtype("states.from_encoder", output_name, output, STATES)
                states[name] = ForeignTensor(name=output_name, dtype=dtype, axes=found[output_name])
        return encoder.model_copy(update={"states": states})

    def _encoded_axes(self, encoder: ForeignEncoder, names: Sequence[str]) -> dict[str, Axes]:
        """The axes of the encoder's outputs, by what their sizes follow."""
        short, long = (self._encode(encoder, length, 1) for length in LENGTHS)
        try:
            two: Outputs[str, Array] | None = self._encode(encoder, LENGTHS[0], 2)
        except ForeignError:
            two = None
        return {name: self._axes_of(name, short[name], long[name], two[name] if two else None) for name in names}

    def _axes_of(self, name: str, short: Array, long: Array, two: Array | None) -> Axes:
        axes: list[Literal["batch", "source_length"] | int] = []
        for place, (one, other) in enumerate(zip(short.shape, long.shape, strict=True)):
            if one != other and (one, other) == LENGTHS:
                axes.append("source_length")
            elif one == other and (two is None or two.shape[place] == one):
                axes.append(one)
            elif one == other == 1 and two is not None and two.shape[place] == 2:
                axes.append("batch")
            else:
                raise ForeignError(
                    f"{self._from.file}: axis {place} of {name} is neither the batch, nor the source's length, nor "
                    f"fixed: {one} and {other} for sources of {LENGTHS[0]} and {LENGTHS[1]} tokens"
                )
        if two is None and 1 in axes:
            axes[axes.index(1)] = "batch"
        if axes.count("batch") != 1 or axes.count("source_length") > 1:
            raise ForeignError(f"{self._from.file}: {name} has the axes {axes}: it needs the batch, and no other twice")
        return tuple(axes)

    def _encode(self, encoder: ForeignEncoder, length: int, batch: int) -> Outputs[str, Array]:
        """Run the encoder on sources of the vocabulary's last token."""
        last = len(self._source.tokens) - 1
        sizes = {"batch": batch, "source_length": length}
        mask = encoder.source_mask
        filled: list[tuple[ForeignTensor | None, int]] = [(encoder.source_ids, last), (encoder.source_lengths, length)]
        if mask is not None:
            filled.append((mask.tensor, int(mask.marks == "tokens")))
        inputs = {
            tensor.name: np.full(
                [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.axes], value, tensor.dtype
            )
            for tensor, value in filled
            if tensor is not None
        }
        try:
            return self._session.run(inputs)
        except Exception as error:
            raise ForeignError(
                f"{self._from.file} fails on a source of {length} tokens {self._source.tokens[last]!r} (token {last}): "
                f"{first_line(error)}"
            ) from error


def first_line(error: Exception) -> str:
    """What an error of onnxruntime says before its particulars."""
    return str(error).partition("\n")[0]
