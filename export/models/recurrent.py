"""A recurrent encoder-decoder with any attention, or with none: trained here, or imported.

A bidirectional LSTM or GRU reads the source. At each step the decoder's cells read the previous token and what was
attended to, and the last one's hidden state and the context predict the next token. Which source positions make the
context is the attention's affair; how the model is trained, exported or served is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.configuration import RecurrentConfiguration
from export.models import masks
from export.models.attention import Attention
from export.models.attention.spans import take
from export.models.contract import States, StateSpec, StepOutput, TranslationModel
from export.models.control_tokens import PAD_ID
from export.models.operators import BidirectionalRnn

Carried = tuple[Tensor, ...]


class LstmCell(nn.Module):
    """Hochreiter and Schmidhuber 1997 with a forget gate; the input's share of the gates is given."""

    num_gates = 4
    state_names = ("hidden", "cell")

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.Linear(hidden, self.num_gates * hidden, bias=False)

    def forward(self, input_gates: Tensor, state: Carried) -> Carried:
        """input_gates (batch, 4 x hidden): input, forget, cell, output; state: hidden and cell (batch, hidden)."""
        hidden, cell = state
        enter, forget, new, leave = (input_gates + self.recurrent(hidden)).chunk(4, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(cell), cell


class GruCell(nn.Module):
    """Cho et al. 2014, the reset gate applied after the recurrent product; the input's share is given."""

    num_gates = 3
    state_names = ("hidden",)

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.Linear(hidden, self.num_gates * hidden)

    def forward(self, input_gates: Tensor, state: Carried) -> Carried:
        """input_gates (batch, 3 x hidden): reset, update, new; state: hidden (batch, hidden)."""
        (hidden,) = state
        input_reset, input_update, input_new = input_gates.chunk(3, -1)
        hidden_reset, hidden_update, hidden_new = self.recurrent(hidden).chunk(3, -1)
        update = torch.sigmoid(input_update + hidden_update)
        new = torch.tanh(input_new + torch.sigmoid(input_reset + hidden_reset) * hidden_new)
        return (new + update * (hidden - new),)


class UpperLayer(nn.Module):
    """A cell that reads the hidden state of the one below."""

    def __init__(self, kind: type[LstmCell] | type[GruCell], hidden: int) -> None:
        super().__init__()
        self.gates = nn.Linear(hidden, kind.num_gates * hidden)
        self.cell = kind(hidden)

    def forward(self, below: Tensor, state: Carried) -> Carried:
        return self.cell(self.gates(below), state)


CELLS: dict[str, type[LstmCell] | type[GruCell]] = {"lstm": LstmCell, "gru": GruCell}


RNNS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(TranslationModel):
    """Source and target share one embedding with the output layer (Press and Wolf 2017), where the configuration does
    not say otherwise.

    With the decoder's state after the update as query (Luong et al. 2015) the cell reads [token; previous attentional
    state] ("input feeding", section 3.3), or the token alone, and attends afterwards. With the state before the update
    (Bahdanau et al. 2015) it attends first, and reads [token; context]. Without attention (Sutskever et al. 2014) the
    encoder's last states are all that the decoder learns of the source.
    """

    def __init__(
        self, config: RecurrentConfiguration, vocabulary_size: int, source_vocabulary_size: int | None = None
    ) -> None:
        """source_vocabulary_size: where the source has a vocabulary of its own."""
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        hidden, memory_size = config.hidden_size, 2 * config.encoder_hidden_size
        target_size = config.embedding_size or hidden
        source_size = config.encoder_embedding_size or target_size
        rnn = RNNS[config.encoder_cell or config.cell]
        source_tokens = vocabulary_size if config.shared_embedding else source_vocabulary_size or vocabulary_size
        self.embedding = nn.Embedding(source_tokens, source_size, padding_idx=PAD_ID)
        self.encoder = BidirectionalRnn(rnn, source_size, config.encoder_hidden_size)
        cell = CELLS[config.cell]
        self.cell = cell(hidden)
        attention = None if config.attention == "none" else Attention(config.attention, hidden, memory_size)
        self._attends_first = attention is not None and attention.reads_previous_state
        self._feeds_input = config.input_feeding and not self._attends_first
        context_size = 0 if attention is None else memory_size
        feed_size = memory_size if self._attends_first else hidden
        self.token_gates = nn.Linear(target_size, self.cell.num_gates * hidden)
        has_feed = self._attends_first or self._feeds_input
        self.feed_gates = nn.Linear(feed_size, self.cell.num_gates * hidden, bias=False) if has_feed else None
        self._initial_state = config.initial_state or ("last" if attention is None else "mean")
        num_states = config.num_decoder_layers * len(cell.state_names)
        has_initial = self._initial_state in ("mean", "last")
        self.initial = nn.Linear(memory_size, num_states * hidden) if has_initial else None
        self.attention = attention
        self.attentional = nn.Linear(context_size + hidden, hidden, bias=config.attentional_bias)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        self.upper_encoders = nn.ModuleList(
            BidirectionalRnn(rnn, memory_size, config.encoder_hidden_size) for _ in range(config.num_encoder_layers - 1)
        )
        self.upper_layers = nn.ModuleList(UpperLayer(cell, hidden) for _ in range(config.num_decoder_layers - 1))
        if not config.shared_embedding:
            self.target_embedding = nn.Embedding(vocabulary_size, target_size, padding_idx=PAD_ID)
        self.output = None if config.tied_output else nn.Linear(hidden, vocabulary_size, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for embedding in dict.fromkeys((self.embedding, self._target_embedding)):
            nn.init.normal_(embedding.weight, std=hidden**-0.5)

    @property
    def attention_description(self) -> str | None:
        return None if self.attention is None else self.attention.description

    @property
    def longest_source(self) -> int | None:
        return None if self.attention is None else self.attention.score.num_locations

    @property
    def source_vocabulary_size(self) -> int:
        return self.embedding.num_embeddings

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        attended = () if self.attention is None else self.attention.state_specs
        cells = (name for names in self._state_names for name in names)
        carried = (*cells, *(("input_feed",) if self._feeds_input else ()))
        return attended + tuple(StateSpec(name, "carried", ("batch", self.config.hidden_size)) for name in carried)

    @property
    def _state_names(self) -> tuple[tuple[str, ...], ...]:
        """Those of each of the decoder's layers."""
        first = self.cell.state_names
        upper = range(1, self.config.num_decoder_layers)
        return (first, *(tuple(f"{name}_{layer}" for name in first) for layer in upper))

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        memory = self.encoder(self.dropout(self.embedding(source_ids)), source_lengths)
        for upper in self.upper_encoders:
            memory = upper(self.dropout(memory), source_lengths)
        memory = self.dropout(memory)
        states = {} if self.attention is None else self.attention.encode(memory)
        names = [name for names in self._state_names for name in names]
        states |= dict(zip(names, self._first_states(memory, source_lengths, len(names)), strict=True))
        if self._feeds_input:
            states["input_feed"] = torch.zeros_like(states["hidden"])
        return states

    def step(self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States) -> StepOutput:
        gates = self.token_gates(self._target_embedding(token_ids))
        attentional, weights, new_states = self._advance(gates, positions, source_lengths, states)
        return StepOutput(self._logits(attentional), weights, new_states)

    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        states = self.encode(source_ids, source_lengths)
        all_gates = self.token_gates(self.dropout(self._target_embedding(target_ids)))
        all_attentional = []
        for position, gates in enumerate(all_gates.unbind(1)):
            positions = torch.full_like(source_lengths, position)
            attentional, _, new_states = self._advance(gates, positions, source_lengths, states)
            states = states | new_states
            all_attentional.append(attentional)
        return self._logits(torch.stack(all_attentional, 1))

    def _first_states(self, memory: Tensor, source_lengths: Tensor, number: int) -> Sequence[Tensor]:
        """What the decoder starts from: as many as it has states, each (batch, hidden). They are tensors of their own,
        since one that is two inputs of a graph becomes one input."""
        hidden, one_way = self.config.hidden_size, self.config.encoder_hidden_size
        if self.initial is not None:
            summary = self._mean if self._initial_state == "mean" else self._last
            return torch.tanh(self.initial(summary(memory, source_lengths))).chunk(number, -1)
        if self._initial_state == "zero":
            return [memory.new_zeros(memory.shape[0], hidden) for _ in range(number)]
        last = self._last(memory, source_lengths)[:, : hidden if hidden == one_way else None]
        return [last.clone() for _ in range(number)]

    def _last(self, memory: Tensor, source_lengths: Tensor) -> Tensor:
        """The encoder's last state in each direction, (batch, memory size)."""
        ahead = take(memory, source_lengths[:, None] - 1)[:, 0, : self.config.encoder_hidden_size]
        return torch.cat([ahead, memory[:, 0, self.config.encoder_hidden_size :]], -1)

    @staticmethod
    def _mean(memory: Tensor, source_lengths: Tensor) -> Tensor:
        """The mean of the encoder's states, (batch, memory size). It is a product, since onnxruntime sums a single row
        in another order."""
        visible = masks.source_mask(source_lengths, memory.shape[1])
        shares = visible.to(memory.dtype) / source_lengths[:, None]
        return torch.matmul(shares[:, None], memory)[:, 0]

    def _advance(
        self, token_gates: Tensor, positions: Tensor, source_lengths: Tensor, states: States
    ) -> tuple[Tensor, Tensor | None, States]:
        """One position: the attentional state tanh(W_c [c_t; h_t]) (Luong et al. 2015, equation 5), which predicts the
        token, the attention weights (batch, source_length), and every carried state, new."""
        before = [tuple(states[name] for name in names) for names in self._state_names]
        context, weights = None, None
        if self.attention is not None and self._attends_first:
            context, weights = self.attention(before[-1][0], positions, source_lengths, states)
        gates = token_gates
        if self.feed_gates is not None:
            gates = gates + self.feed_gates(states["input_feed"] if context is None else context)
        after = [self.cell(gates, before[0])]
        for layer, state in zip(self.upper_layers, before[1:], strict=True):
            after.append(layer(self.dropout(after[-1][0]), state))
        top = after[-1][0]
        if self.attention is not None and not self._attends_first:
            context, weights = self.attention(top, positions, source_lengths, states)
        seen = top if context is None else torch.cat([context, top], -1)
        attentional = self.dropout(torch.tanh(self.attentional(seen)))
        new_states = {
            name: new
            for names, layer_states in zip(self._state_names, after, strict=True)
            for name, new in zip(names, layer_states, strict=True)
        }
        if self._feeds_input:
            new_states["input_feed"] = attentional
        return attentional, weights, new_states

    @property
    def _target_embedding(self) -> nn.Embedding:
        return self.embedding if self.config.shared_embedding else self.target_embedding

    def _logits(self, attentional: Tensor) -> Tensor:
        weight = self._target_embedding.weight if self.output is None else self.output.weight
        return F.linear(attentional, weight, self.output_bias)
