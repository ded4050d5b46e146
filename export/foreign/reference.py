"""The plain loop that everything is held against: one sentence, one row, the pair's own tensors, nothing padded.

It shares no code with the adapter that serves: states go from output to input as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from service.model.foreign.roles import ForeignMask, ForeignPair, ForeignTensor
from service.model.greedy import Target
from service.model.session import Array, Session


@dataclass
class Sentence:
    """A translation under way: the length of its source, the tokens that the decoder was told, and its states by the
    name of the decoder's input."""

    source_length: int
    states: dict[str, Array]
    told: list[int] = field(default_factory=list)


class Reference:
    """The original pair, as its graphs came."""

    def __init__(self, pair: ForeignPair, encoder: Session, decoder: Session, *, begin_id: int, end_id: int) -> None:
        self._pair = pair
        self._encoder = encoder
        self._decoder = decoder
        self._begin_id = begin_id
        self._end_id = end_id

    def encode(self, source: Sequence[int]) -> dict[str, Array]:
        """The encoder's outputs by their own names."""
        roles, sizes = self._pair.encoder, {"batch": 1, "source_length": len(source)}
        inputs = _input(roles.source_ids, list(source), sizes)
        inputs |= _mask(roles.source_mask, sizes, len(source)) | _input(roles.source_lengths, [len(source)], sizes)
        return self._encoder.run(inputs)

    def begin(self, source: Sequence[int]) -> Sentence:
        """A sentence whose decoder was told nothing yet."""
        encoded = self.encode(source)
        states = {}
        for name, state in self._pair.decoder.states.items():
            if (output := self._pair.encoder.states.get(name)) is not None:
                states[state.read.name] = encoded[output.name]
            else:
                sizes = {"batch": 1, "source_length": len(source), "age": 0}
                states[state.read.name] = np.zeros(_shape(state.read, sizes), state.read.dtype)
        return Sentence(len(source), states)

    def step(self, sentence: Sentence, token_id: int) -> dict[str, Array]:
        """Tell the decoder one more token; its outputs by their own names."""
        roles, told = self._pair.decoder, [*sentence.told, token_id]
        sizes = {"batch": 1, "source_length": sentence.source_length, "target_length": len(told)}
        inputs = dict(sentence.states)
        inputs |= _input(roles.last_token, [token_id], sizes | {"target_length": 1})
        inputs |= _input(roles.prefix, told, sizes) | _mask(roles.prefix_mask, sizes, len(told))
        inputs |= _input(roles.prefix_lengths, [len(told)], sizes) | _input(roles.positions, [len(told) - 1], sizes)
        inputs |= _mask(roles.source_mask, sizes, sentence.source_length)
        inputs |= _input(roles.source_lengths, [sentence.source_length], sizes)
        outputs = self._decoder.run(inputs)
        sentence.told = told
        for state in roles.states.values():
            if state.written is not None:
                sentence.states[state.read.name] = outputs[state.written.name]
        return outputs

    def scores(self, sentence: Sentence, token_id: int) -> Array:
        """(vocabulary,) log-probabilities of what follows one more token, minus infinity for what may not follow."""
        roles, age = self._pair.decoder, len(sentence.told)
        made = self.step(sentence, token_id)[roles.scores.name].astype(np.float64)
        last: Array = made.reshape(-1, made.shape[-1])[-1]
        if roles.are_logits:
            last = last - last.max()
            last = last - np.log(np.exp(last).sum())
        last[list(self._pair.never)] = -np.inf
        if age < self._pair.min_target_length:
            last[self._end_id] = -np.inf
        return last

    def follow(self, source: Sequence[int], target_ids: Sequence[int]) -> list[Array]:
        """The scores at each step where the target is given."""
        sentence = self.begin(source)
        return [self.scores(sentence, told) for told in (self._begin_id, *target_ids[:-1])]

    def translate(self, source: Sequence[int], max_length: int) -> Target:
        """Greedy search: the most probable token, until the sentence ends or has max_length tokens."""
        sentence, target = self.begin(source), Target([], [])
        while len(target.token_ids) < max_length and target.token_ids[-1:] != [self._end_id]:
            scores = self.scores(sentence, target.token_ids[-1] if target.token_ids else self._begin_id)
            best = int(scores.argmax())
            target.token_ids.append(best)
            target.log_probabilities.append(float(scores[best]))
        return target


def _shape(tensor: ForeignTensor, sizes: dict[str, int]) -> list[int]:
    return [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.axes]


def _input(tensor: ForeignTensor | None, values: Sequence[int], sizes: dict[str, int]) -> dict[str, Array]:
    if tensor is None:
        return {}
    return {tensor.name: np.array(values, tensor.dtype).reshape(_shape(tensor, sizes))}


def _mask(mask: ForeignMask | None, sizes: dict[str, int], length: int) -> dict[str, Array]:
    return {} if mask is None else _input(mask.tensor, [int(mask.marks == "tokens")] * length, sizes)
