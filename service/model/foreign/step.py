"""One step of a foreign decoder over bound memory: our contract outside, the decoder's own tensors inside.

It reads and writes the memory that `service.model.slots` binds, exactly as a step graph of ours does: it may be run
again, and writes growing states in place, at each row's position alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.model.foreign.groups import groups
from service.model.foreign.layout import along, from_tensor, state_axes, state_from_tensor, state_to_tensor, to_tensor
from service.model.foreign.ranking import Ids, best, forbid, log_probabilities
from service.model.foreign.roles import ForeignMask, ForeignTensor
from service.model.manifest import Manifest
from service.model.memory import Memory, as_array
from service.model.session import Array, Session

PREFIX = "prefix"
"""The growing state that holds the tokens so far, of a decoder that reads them all at every step."""


class ForeignStep:
    """A decoder over fixed memory. Constant states may not change while they are bound."""

    def __init__(
        self, manifest: Manifest, session: Session, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]
    ) -> None:
        assert manifest.foreign is not None
        self._pair = manifest.foreign
        self._decoder = manifest.foreign.decoder
        self._manifest = manifest
        self._session = session
        self._arrays: dict[str, Array] = {}
        self._states = {state.name: state for state in manifest.states}
        self._constants: dict[bytes, dict[str, Array]] = {}
        self.bind(inputs, outputs)

    def bind(self, inputs: Mapping[str, Memory], outputs: Mapping[str, Memory]) -> None:
        """Take other memory for some inputs and outputs."""
        self._arrays |= {name: as_array(memory) for name, memory in (*inputs.items(), *outputs.items())}
        self._constants.clear()

    def run(self) -> None:
        """Compute once, in as many runs of the decoder as its rows need. Raises what onnxruntime raises."""
        positions, lengths = self._arrays["positions"], self._arrays["source_lengths"]
        if self._decoder.prefix is not None:
            self._arrays[PREFIX][np.arange(len(positions)), positions] = self._arrays["token_ids"]
        if (attention := self._arrays.get("attention")) is not None:
            attention[...] = 0.0
        for rows in groups(self._decoder.sharing, lengths, positions):
            self._run(rows, positions[rows], lengths[rows])

    def _run(self, rows: Ids, positions: Ids, lengths: Ids) -> None:
        made = self._session.run(self._inputs(rows, positions, lengths))
        self._write_scores(rows, positions, made[self._decoder.scores.name])
        if (attention := self._decoder.attention) is not None:
            weights = from_tensor(made[attention.name], ("batch", "source_length"), attention)
            self._arrays["attention"][rows, : weights.shape[1]] = weights
        for name, state in self._decoder.states.items():
            if state.written is None:
                continue
            new = state_from_tensor(made[state.written.name], state.written)
            if self._states[name].kind == "growing":
                self._write_entries(self._arrays[f"new_{name}"], state_axes(state.read), rows, positions, new)
            else:
                self._arrays[f"new_{name}"][rows] = new

    def _inputs(self, rows: Ids, positions: Ids, lengths: Ids) -> dict[str, Array]:
        decoder, inputs = self._decoder, dict(self._constant_inputs(rows, lengths))
        if decoder.last_token is not None:
            tokens = self._arrays["token_ids"][rows]
            inputs |= _of_rows(decoder.last_token, tokens[:, None], ("batch", "target_length"))
        if decoder.prefix is not None:
            inside = np.arange(positions.max() + 1)[None, :] <= positions[:, None]
            tokens = np.where(inside, self._arrays[PREFIX][rows, : inside.shape[1]], self._pair.prefix_pad_id)
            inputs |= _of_rows(decoder.prefix, tokens, ("batch", "target_length"))
            if decoder.prefix_mask is not None:
                inputs |= masked(decoder.prefix_mask, inside, "target_length")
        if decoder.prefix_lengths is not None:
            inputs |= _of_rows(decoder.prefix_lengths, positions + 1, ("batch",))
        if decoder.positions is not None:
            inputs |= _positions(decoder.positions, positions)
        for name, state in decoder.states.items():
            if self._states[name].kind == "carried":
                inputs[state.read.name] = state_to_tensor(self._arrays[name][rows], state.read)
            elif self._states[name].kind == "growing":
                window = along(state_axes(state.read), capacity=slice(positions.max()))[1:]
                inputs[state.read.name] = state_to_tensor(self._arrays[name][rows][(slice(None), *window)], state.read)
        return inputs

    def _constant_inputs(self, rows: Ids, lengths: Ids) -> Mapping[str, Array]:
        """What stays the same for these rows in every step, up to the longest one's source."""
        key = rows.tobytes()
        if key not in self._constants:
            decoder, width = self._decoder, int(lengths.max())
            inputs: dict[str, Array] = {}
            for name, state in decoder.states.items():
                if self._states[name].kind == "constant":
                    window = along(self._states[name].axes, source_length=slice(width))[1:]
                    inputs[state.read.name] = state_to_tensor(
                        self._arrays[name][rows][(slice(None), *window)], state.read
                    )
            if decoder.source_mask is not None:
                inputs |= masked(decoder.source_mask, np.arange(width)[None, :] < lengths[:, None], "source_length")
            if decoder.source_lengths is not None:
                inputs |= _of_rows(decoder.source_lengths, lengths, ("batch",))
            self._constants[key] = inputs
        return self._constants[key]

    def _write_scores(self, rows: Ids, positions: Ids, made: Array) -> None:
        decoder, end_id = self._decoder, self._manifest.vocabulary.end_id
        if "target_length" in decoder.scores.axes:
            every = from_tensor(made, ("batch", "target_length", "vocabulary"), decoder.scores)
            scores = every[np.arange(len(rows)), positions if decoder.prefix is not None else -1]
        else:
            scores = from_tensor(made, ("batch", "vocabulary"), decoder.scores)
        scores = log_probabilities(scores, are_logits=decoder.are_logits)
        forbid(scores, positions, never=self._pair.never, end_id=end_id, min_length=self._pair.min_target_length)
        ids, of_ids = best(scores, self._manifest.num_candidates)
        self._arrays["logits"][rows] = scores
        self._arrays["candidate_ids"][rows] = ids
        self._arrays["candidate_log_probabilities"][rows] = of_ids

    @staticmethod
    def _write_entries(target: Array, axes: tuple[str | int, ...], rows: Ids, positions: Ids, new: Array) -> None:
        """The last entry of each row's new state, at the row's position."""
        capacity = axes.index("capacity")
        np.moveaxis(target, capacity, 1)[rows, positions] = np.moveaxis(new, capacity, 1)[:, -1]


def masked(mask: ForeignMask, is_token: Array, axis: str) -> dict[str, Array]:
    """The mask's input; is_token (rows, axis)."""
    marked = is_token if mask.marks == "tokens" else ~is_token
    return _of_rows(mask.tensor, marked, ("batch", axis))


def _of_rows(tensor: ForeignTensor, array: Array, axes: tuple[str, ...]) -> dict[str, Array]:
    """An input; an axis of the array that the tensor has not is of size 1."""
    missing = tuple(place for place, axis in enumerate(axes) if axis not in tensor.axes)
    kept = tuple(axis for axis in axes if axis in tensor.axes)
    return {tensor.name: to_tensor(array.squeeze(missing), kept, tensor)}


def _positions(tensor: ForeignTensor, positions: Ids) -> dict[str, Array]:
    """Of each row, or of all of them where the input has no rows."""
    if "batch" in tensor.axes:
        return _of_rows(tensor, positions, ("batch",))
    return {tensor.name: np.full([1] * len(tensor.axes), positions[0], tensor.dtype)}
