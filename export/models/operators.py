"""Computations whose form in the graph matters: two as plain torch and as one named ONNX node, one in fewer operations.

Which of two forms runs is decided by whether a graph is being exported; both compute the same function, and
`export.verify` measures by how much they differ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from export.models import masks


def cached_self_attention(
    packed: Tensor, key_cache: Tensor, value_cache: Tensor, positions: Tensor, position_bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Causal self-attention of one new token per row over its growing keys and values.

    packed (batch, 3 x hidden): the token's queries, scaled, keys and values of all heads; caches (batch, heads,
    capacity, head_size); positions (batch,): where each row's key and value are written; position_bias (batch, heads,
    capacity) is added to the scores. Returns the attended values (batch, hidden) and both new caches. Source: Vaswani
    et al. 2017, equation 1.
    ONNX form: com.microsoft GroupQueryAttention, which writes into caches that are bound in place. The bias has as many
    columns as its total length says, which is therefore the capacity where there is one.
    """
    batch, hidden = packed.shape[0], packed.shape[1] // 3
    heads, capacity = key_cache.shape[1:3]
    if torch.onnx.is_in_onnx_export():
        caches = [packed[:, None], None, None, key_cache, value_cache, positions.to(torch.int32)]
        if position_bias is None:
            inputs = [*caches, (positions.max() + 1).to(torch.int32)]
        else:
            total_length = torch.full((), capacity, dtype=torch.int32)
            inputs = [*caches, total_length, None, None, None, position_bias[:, :, None]]
        attended, new_keys, new_values = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            inputs,
            attrs={"num_heads": heads, "kv_num_heads": heads, "scale": 1.0},
            dtypes=[packed.dtype] * 3,
            shapes=[(batch, 1, hidden), tuple(key_cache.shape), tuple(value_cache.shape)],
            version=1,
        )
        return attended.reshape(batch, hidden), new_keys, new_values
    query, key, value = packed.reshape(batch, 3, heads, -1).unbind(1)
    here = (torch.arange(capacity, device=positions.device)[None, :] == positions[:, None])[:, None, :, None]
    new_keys = torch.where(here, key[:, :, None], key_cache)
    new_values = torch.where(here, value[:, :, None], value_cache)
    scores = torch.einsum("bhd,bhtd->bht", query, new_keys)
    if position_bias is not None:
        scores = scores + position_bias
    weights = masks.hide(scores, masks.written_mask(positions, capacity)[:, None]).softmax(-1)
    return torch.einsum("bht,bhtd->bhd", weights, new_values).reshape(batch, hidden), new_keys, new_values


def best_tokens(logits: Tensor, count: int) -> Tensor:
    """The ids of the `count` greatest of logits (batch, vocabulary), greatest first, of equal ones the lower id first:
    (batch, count).

    Looks at the maximum of each block of the vocabulary, then only into the `count` blocks of the greatest maxima,
    which hold the `count` greatest of all: a search of the whole vocabulary for more than one is what a step pays most
    for after its products.
    """
    batch, size = logits.shape
    block = _block_size(size, count)
    if block is None:
        return logits.topk(count, dim=-1).indices
    num_blocks = size // block
    blocks = logits.reshape(batch, num_blocks, block)
    chosen = blocks.amax(-1).topk(count, dim=-1).indices.sort(dim=-1).values
    within = blocks.gather(1, chosen[:, :, None].expand(-1, -1, block)).reshape(batch, count * block)
    ids = chosen[:, :, None] * block + torch.arange(block, device=logits.device)
    return ids.reshape(batch, count * block).gather(1, within.topk(count, dim=-1).indices)


def _block_size(size: int, count: int) -> int | None:
    """The divisor of a vocabulary's size for which the blocks' maxima and the chosen blocks are fewest; None where no
    divisor leaves much less to search than the whole."""
    costs = {block: size // block + count * block for block in range(2, size) if size % block == 0}
    best = min(costs, key=costs.__getitem__, default=None)
    fits = best is not None and size // best >= count and costs[best] * 2 < size
    return best if fits else None


class BidirectionalRnn(nn.Module):
    """One LSTM or GRU layer in each direction over ragged rows (Schuster and Paliwal 1997).

    ONNX form: one LSTM or GRU node with `sequence_lens`; without it the backward direction reads padding.
    """

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards = kind(input_size, hidden_size, batch_first=True)
        self.backwards = kind(input_size, hidden_size, batch_first=True)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """inputs (batch, source_length, input_size), lengths (batch,) -> (batch, source_length, 2 x hidden).

        The backward direction starts at each row's last token; outputs beyond a row's length are zero.
        """
        if torch.onnx.is_in_onnx_export():
            return self._onnx_node(inputs, lengths)
        index = torch.arange(inputs.shape[1], device=inputs.device)[None, :]
        inside = index < lengths[:, None]
        reverse = torch.where(inside, lengths[:, None] - 1 - index, index)[:, :, None]
        ahead, _ = self.forwards(inputs)
        behind, _ = self.backwards(inputs.gather(1, reverse.expand_as(inputs)))
        outputs = torch.cat([ahead, behind.gather(1, reverse.expand_as(behind))], -1)
        return outputs * inside[:, :, None]

    def _onnx_node(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        batch, source_length, _ = inputs.shape
        hidden = self.forwards.hidden_size
        kind = "LSTM" if isinstance(self.forwards, nn.LSTM) else "GRU"
        weights = [self._onnx_gates(kind, name) for name in ("weight_ih_l0", "weight_hh_l0")]
        bias = torch.cat([self._onnx_gates(kind, name) for name in ("bias_ih_l0", "bias_hh_l0")], dim=1)
        attributes: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional"}
        if kind == "GRU":
            attributes["linear_before_reset"] = 1
        num_states = 2 if kind == "LSTM" else 1
        outputs, *_ = torch.onnx.ops.symbolic_multi_out(
            kind,
            [inputs.transpose(0, 1), *weights, bias, lengths.to(torch.int32)],
            attrs=attributes,
            dtypes=[inputs.dtype] * (1 + num_states),
            shapes=[(source_length, 2, batch, hidden)] + [(2, batch, hidden)] * num_states,
            version=14,
        )
        return outputs.permute(2, 0, 1, 3).reshape(batch, source_length, 2 * hidden)

    def _onnx_gates(self, kind: str, name: str) -> Tensor:
        order = _ONNX_GATE_ORDER[kind]
        directions = []
        for rnn in (self.forwards, self.backwards):
            gates = getattr(rnn, name).unflatten(0, (len(order), -1))
            directions.append(gates.index_select(0, torch.tensor(order)).flatten(0, 1))
        return torch.stack(directions)


_ONNX_GATE_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Torch keeps LSTM gates as input, forget, cell, output and GRU gates as reset, update, new; ONNX wants
input, output, forget, cell and update, reset, hidden."""
