"""Word links from a decoder's attention, teacher-forced: what the row that each step returns would say.

A target piece is linked to the source piece with the largest weight in the row of the step that produces it; where that
is the end of the sentence, or the step produces that, there is no link. Words are linked where any of their pieces are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from export.alignment.fast_align import Links
from export.alignment.words import Sentence
from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID
from export.models.transformer import Transformer
from export.training.data import pad

BATCH_SIZE = 128


class AttentionRows:
    """The weights of every layer and head for some sentence pairs, kept so that any choice of them can be asked for."""

    def __init__(self, model: TranslationModel, sources: Sequence[Sentence], targets: Sequence[Sentence]) -> None:
        self._sources, self._targets = sources, targets
        order = sorted(range(len(sources)), key=lambda i: len(targets[i].piece_ids))
        self._batches = [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]
        self._weights = [self._measure(model, rows) for rows in self._batches]
        self.num_layers, _, self.num_heads, _, _ = self._weights[0].shape

    def links(self, layer: int, heads: Sequence[int]) -> list[Links]:
        """The links of each sentence pair by the mean of some heads of a layer."""
        links: list[Links] = [set() for _ in self._sources]
        for rows, weights in zip(self._batches, self._weights, strict=True):
            strongest = weights[layer][:, list(heads)].mean(1).argmax(-1).tolist()
            for row, places in zip(rows, strongest, strict=True):
                links[row] = set(_word_links(self._sources[row], self._targets[row], places))
        return links

    @torch.inference_mode()
    def _measure(self, model: TranslationModel, rows: Sequence[int]) -> Tensor:
        """(layers, batch, heads, target_length, source_length)."""
        source_ids = pad([[*self._sources[i].piece_ids, END_ID] for i in rows])
        source_lengths = torch.tensor([len(self._sources[i].piece_ids) + 1 for i in rows])
        target_ids = pad([[BEGIN_ID, *self._targets[i].piece_ids] for i in rows])
        if isinstance(model, Transformer):
            return model.cross_attention_weights(source_ids, source_lengths, target_ids)
        return _rows_of_steps(model, source_ids, source_lengths, target_ids)[None, :, None]


def _rows_of_steps(model: TranslationModel, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
    """(batch, target_length, source_length): the attention that each `step` returns."""
    states = model.initial_states(source_ids, source_lengths, target_ids.shape[1])
    rows = []
    for position, token_ids in enumerate(target_ids.unbind(1)):
        output = model.step(token_ids, torch.full_like(token_ids, position), source_lengths, states)
        assert output.attention is not None
        states = states | output.states
        rows.append(output.attention)
    return torch.stack(rows, 1)


def _word_links(source: Sentence, target: Sentence, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """places: for each target piece, and whatever follows, the source piece with the largest weight."""
    for word, place in zip(target.word_of_piece, places, strict=False):
        if place < len(source.word_of_piece):
            yield source.word_of_piece[place], word
