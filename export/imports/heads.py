"""Heads of attention of a size that the decoder's steps can have, whatever the checkpoint's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from export.configuration import TransformerConfiguration
from export.imports.origin import Origin
from export.imports.weights import Weights

HEAD_MULTIPLE = 8
"""Units of a head of the decoder's self-attention: onnxruntime's GroupQueryAttention takes multiples alone."""
PROJECTION, OUTPUT = "_attention.projection.", "_attention.output.weight"


@dataclass(frozen=True)
class WiderHeads(Origin):
    """Each `size` rows (axis 0) or columns (axis 1) are followed by zeros, `wider` in all."""

    size: int = 1
    wider: int = 1
    axis: int = 0

    def shape(self, weights: Weights) -> tuple[int, ...]:
        shape = list(super().shape(weights))
        shape[self.axis] = shape[self.axis] // self.size * self.wider + shape[self.axis] % self.size
        return tuple(shape)

    def read(self, weights: Weights) -> Tensor:
        whole = super().read(weights)
        parts = torch.unflatten(whole, self.axis, (-1, self.size))
        shape = list(parts.shape)
        shape[self.axis + 1] = self.wider - self.size
        return torch.cat([parts, parts.new_zeros(shape)], self.axis + 1).flatten(self.axis, self.axis + 1)


def widen(
    config: TransformerConfiguration, origins: Mapping[str, Origin]
) -> tuple[TransformerConfiguration, dict[str, Origin]]:
    """The same Transformer with as many units of weight zero in each head as make their number a multiple of
    HEAD_MULTIPLE; as it is where the decoder's need none."""
    decoder = config.head_size or config.hidden_size // config.num_heads
    encoder = config.head_size or config.hidden_size // (config.encoder_num_heads or config.num_heads)
    if config.decoder_history != "attention" or decoder % HEAD_MULTIPLE == 0:
        return config, dict(origins)
    wider = -(-max(decoder, encoder) // HEAD_MULTIPLE) * HEAD_MULTIPLE
    sizes = {"encoder": encoder, "decoder": decoder}
    return config.model_copy(update={"head_size": wider}), dict(_widened(config, origins, sizes, wider))


def _widened(
    config: TransformerConfiguration, origins: Mapping[str, Origin], sizes: Mapping[str, int], wider: int
) -> Iterator[tuple[str, Origin]]:
    for name, origin in origins.items():
        size = sizes[name[: len("encoder")]] if "_attention." in name else wider
        if PROJECTION in name:
            scale = origin.scale * (math.sqrt(wider / size) if config.scaled_attention else 1.0)
            yield name, WiderHeads(**vars(replace(origin, scale=scale)), size=size, wider=wider)
        elif name.endswith(OUTPUT):
            yield name, WiderHeads(**vars(origin), size=size, wider=wider, axis=1)
        else:
            yield name, origin
