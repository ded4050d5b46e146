"""From a mapping and two graphs to the roles that a manifest holds.

What a graph does not declare is found by running it on a source or two. Everything that does not fit is refused here,
by name.
"""

from __future__ import annotations

from collections.abc import Mapping as Outputs
from dataclasses import dataclass
from typing import Literal

import numpy as np

from export.errors import ForeignError
from export.foreign.declared import REALS, Axes, Declared
from export.foreign.mapping import Mapping
from export.foreign.reference import Reference
from export.foreign.resolve_encoder import LENGTHS, EncoderResolver, first_line
from export.foreign.vocabularies import PreparedVocabulary
from service.model.foreign.layout import state_axes
from service.model.foreign.roles import ForeignDecoder, ForeignEncoder, ForeignPair, ForeignState, ForeignTensor
from service.model.foreign.step import PREFIX
from service.model.manifest import State, StateKind
from service.model.session import Array, Session


@dataclass(frozen=True)
class Resolved:
    """A pair with roles that fit, its states as the manifest lists them, and the plain loop over it."""

    pair: ForeignPair
    states: tuple[State, ...]
    reference: Reference
    begin_id: int
    end_id: int


class Resolver:
    """Holds one mapping against its graphs; see `resolve`."""

    def __init__(
        self,
        mapping: Mapping,
        encoder: Session,
        decoder: Session,
        source: PreparedVocabulary,
        target: PreparedVocabulary,
    ) -> None:
        self._mapping = mapping
        self._source = source
        self._target = target
        self._encoder = encoder
        self._decoder = decoder
        self._to = Declared(mapping.decoder.file, decoder)

    def resolve(self) -> Resolved:
        """Raises ForeignError, which names what does not fit."""
        mapping, target = self._mapping, self._target
        begin_id, end_id = target.id("target.begin", mapping.target.begin), target.id("target.end", mapping.target.end)
        unmeasured = self._declared_pair(begin_id)
        reference = Reference(unmeasured, self._encoder, self._decoder, begin_id=begin_id, end_id=end_id)
        pair = self._with_outputs(unmeasured, reference, begin_id)
        reference = Reference(pair, self._encoder, self._decoder, begin_id=begin_id, end_id=end_id)
        return Resolved(pair, tuple(_states(pair)), reference, begin_id, end_id)

    def _declared_pair(self, begin_id: int) -> ForeignPair:
        mapping, roles = self._mapping, self._mapping.decoder
        encoder = EncoderResolver(mapping, self._encoder, self._source).resolve(self._state_names())
        scores = roles.log_probabilities or roles.logits
        assert scores is not None
        score = self._to.output("decoder scores", scores)
        self._to.dtype("decoder scores", scores, score, REALS)
        token = roles.last_token or roles.prefix
        assert token is not None
        major = {"time_major": roles.time_major}
        ids = self._to.ids(
            "decoder.last_token" if roles.last_token else "decoder.prefix", token, "target_length", **major
        )
        names = dict(zip((role.input for role in mapping.states), self._state_names(), strict=True))
        decoder = ForeignDecoder(
            last_token=ids if roles.last_token else None,
            prefix=ids if roles.prefix else None,
            prefix_mask=self._to.mask("decoder.prefix_mask", roles.prefix_mask, "target_length", **major),
            prefix_lengths=self._to.numbers("decoder.prefix_lengths", roles.prefix_lengths),
            positions=self._to.numbers("decoder.positions", roles.positions),
            source_mask=self._to.mask("decoder.source_mask", roles.source_mask, "source_length", **major),
            source_lengths=self._to.numbers("decoder.source_lengths", roles.source_lengths),
            scores=ForeignTensor(name=scores, dtype="float32", axes=("batch", "vocabulary")),
            are_logits=roles.logits is not None,
            states=self._declared_states(encoder, names, token),
        )
        self._require_all(decoder)
        return ForeignPair(
            encoder=encoder,
            decoder=decoder,
            source_tokenizer=mapping.source.tokenizer,
            target_tokenizer=mapping.target.tokenizer,
            source_prefix=self._source.ids("source.before", mapping.source.before),
            source_suffix=self._source.ids("source.after", mapping.source.after),
            pad_id=0 if mapping.source.pad is None else self._source.id("source.pad", mapping.source.pad),
            prefix_pad_id=begin_id if mapping.target.pad is None else self._target.id("target.pad", mapping.target.pad),
            never=self._target.ids("target.never", mapping.target.never),
            min_target_length=mapping.target.min_length,
            ended_hypotheses=mapping.ended_hypotheses,
        )

    def _declared_states(self, encoder: ForeignEncoder, names: dict[str, str], token: str) -> dict[str, ForeignState]:
        batch = self._to.input("decoder", token).axes
        states = {}
        for role in self._mapping.states:
            name = names[role.input]
            encoded = encoder.states.get(name)
            read = self._to.state(
                "states.input",
                role.input,
                encoded.axes if encoded else None,
                batch_is_fixed=bool(batch) and batch[-1 if self._mapping.decoder.time_major else 0] == 1,
            )
            written = None
            if role.becomes is not None:
                output = self._to.output("states.becomes", role.becomes)
                dtype = self._to.dtype("states.becomes", role.becomes, output, (read.dtype,))
                written = ForeignTensor(name=role.becomes, dtype=dtype, axes=read.axes)
                if len(output.axes) != len(read.axes):
                    raise ForeignError(
                        f"{self._to.file}: states.becomes: {role.becomes} has {len(output.axes)} axes, {role.input} "
                        f"has {len(read.axes)}"
                    )
                if "source_length" in read.axes:
                    raise ForeignError(
                        f"{self._to.file}: states.becomes: {role.becomes} follows the source's length; only states of "
                        "fixed size can change"
                    )
            elif "age" in read.axes:
                raise ForeignError(f"{self._to.file}: states: {role.input} grows, and needs becomes")
            states[name] = ForeignState(read=read, written=written)
        return states

    def _require_all(self, decoder: ForeignDecoder) -> None:
        tensors = [
            decoder.last_token,
            decoder.prefix,
            decoder.prefix_lengths,
            decoder.positions,
            decoder.source_lengths,
        ]
        masks = [mask.tensor for mask in (decoder.prefix_mask, decoder.source_mask) if mask is not None]
        states = [state.read for state in decoder.states.values()]
        self._to.require_all({tensor.name for tensor in (*tensors, *masks, *states) if tensor is not None})

    def _with_outputs(self, pair: ForeignPair, reference: Reference, begin_id: int) -> ForeignPair:
        """The pair with what a second step shows: the axes of scores and attention, that states keep their shapes."""
        sentence = reference.begin([len(self._source.tokens) - 1] * LENGTHS[0])
        for state in pair.decoder.states.values():
            made_as = sentence.states[state.read.name].dtype
            if made_as != np.dtype(state.read.dtype):
                raise ForeignError(f"{self._to.file}: states: {state.read.name} is {state.read.dtype}, not {made_as}")
        try:
            reference.step(sentence, begin_id)
            before = {name: array.shape for name, array in sentence.states.items()}
            made = reference.step(sentence, begin_id)
        except Exception as error:
            raise ForeignError(f"{self._to.file} fails on its first steps: {first_line(error)}") from error
        for state in pair.decoder.states.values():
            grown = tuple(
                size + (axis == "age") for axis, size in zip(state.read.axes, before[state.read.name], strict=True)
            )
            if state.written is not None and made[state.written.name].shape != grown:
                raise ForeignError(
                    f"{self._to.file}: states: {state.written.name} is {list(made[state.written.name].shape)} after "
                    f"{state.read.name} was {list(before[state.read.name])}, where {list(grown)} was expected"
                )
        decoder = pair.decoder.model_copy(
            update={
                "scores": self._scores(pair.decoder.scores.name, made),
                "attention": self._attention(made),
            }
        )
        return pair.model_copy(update={"decoder": decoder})

    def _scores(self, name: str, made: Outputs[str, Array]) -> ForeignTensor:
        shape, size = made[name].shape, len(self._target.tokens)
        if len(shape) not in (2, 3):
            raise ForeignError(f"{self._to.file}: {name} has {len(shape)} axes, not 2 or 3")
        if shape[-1] != size:
            raise ForeignError(
                f"{self._to.file}: {name} has {shape[-1]} tokens, the vocabulary {self._target.origin} has {size}"
            )
        axes: Axes = ("batch", "vocabulary")
        if len(shape) == 3:
            place = shape[:2].index(2) if 2 in shape[:2] else (0 if self._mapping.decoder.time_major else 1)
            length: Literal["target_length", 1] = "target_length" if 2 in shape[:2] else 1
            axes = (length, "batch", "vocabulary") if place == 0 else ("batch", length, "vocabulary")
        return ForeignTensor(name=name, dtype="float32", axes=axes)

    def _attention(self, made: Outputs[str, Array]) -> ForeignTensor | None:
        name = self._mapping.decoder.attention
        if name is None:
            return None
        self._to.dtype("decoder.attention", name, self._to.output("decoder.attention", name), REALS)
        shape = made[name].shape
        if sorted(shape) != [1] * (len(shape) - 1) + [LENGTHS[0]] or len(shape) < 2 or shape[-1] != LENGTHS[0]:
            raise ForeignError(
                f"{self._to.file}: decoder.attention: {name} is {list(shape)} for one row and a source of {LENGTHS[0]} "
                "tokens, not (batch, source length) with axes of size 1 between"
            )
        between: Axes = tuple(1 for _ in shape[1:-1])
        return ForeignTensor(name=name, dtype="float32", axes=("batch", *between, "source_length"))

    def _state_names(self) -> list[str]:
        return [f"state_{number}" for number in range(len(self._mapping.states))]


def _states(pair: ForeignPair) -> list[State]:
    states = []
    for name, state in pair.decoder.states.items():
        kind: StateKind = "constant" if state.written is None else "growing" if "age" in state.read.axes else "carried"
        states.append(State(name=name, kind=kind, dtype="float32", axes=state_axes(state.read)))
    if pair.decoder.prefix is not None:
        states.append(State(name=PREFIX, kind="growing", dtype="float32", axes=("batch", "capacity")))
    return states
