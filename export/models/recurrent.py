"""A recurrent encoder-decoder with any attention, or with none.

A bidirectional LSTM or GRU reads the source. At each step the decoder's cell reads the previous token and what was
attended to, and its hidden state and the context predict the next token. Which source positions make the context is the
attention's affair; how the model is trained, exported or served is not known here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.configuration import RecurrentConfiguration
from export.models import masks
from export.models.attention import Attention
from export.models.attention.spans import take
from export.models.contract import PAD_ID, States, StateSpec, StepOutput, TranslationModel
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


CELLS: dict[str, type[LstmCell] | type[GruCell]] = {"lstm": LstmCell, "gru": GruCell}


class Recurrent(TranslationModel):
    """Source and target share one embedding with the output layer (Press and Wolf 2017).

    With the decoder's state after the update as query (Luong et al. 2015) the cell reads [token; previous attentional
    state] ("input feeding", section 3.3), and attends afterwards. With the state before the update (Bahdanau et al.
    2015) it attends first, and reads [token; context]. Without attention (Sutskever et al. 2014) the encoder's last
    states are all that the decoder learns of the source.
    """

    def __init__(self, config: RecurrentConfiguration, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        hidden, memory_size = config.hidden_size, 2 * config.encoder_hidden_size
        rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        self.embedding = nn.Embedding(vocabulary_size, hidden, padding_idx=PAD_ID)
        self.encoder = BidirectionalRnn(rnn, hidden, config.encoder_hidden_size)
        self.cell = CELLS[config.cell](hidden)
        attention = None if config.attention == "none" else Attention(config.attention, hidden, memory_size)
        self._attends_first = attention is not None and attention.reads_previous_state
        context_size = 0 if attention is None else memory_size
        feed_size = memory_size if self._attends_first else hidden
        self.token_gates = nn.Linear(hidden, self.cell.num_gates * hidden)
        self.feed_gates = nn.Linear(feed_size, self.cell.num_gates * hidden, bias=False)
        self.initial = nn.Linear(memory_size, len(self.cell.state_names) * hidden)
        self.attention = attention
        self.attentional = nn.Linear(context_size + hidden, hidden, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.embedding.weight, std=hidden**-0.5)

    @property
    def attention_description(self) -> str | None:
        return None if self.attention is None else self.attention.description

    @property
    def longest_source(self) -> int | None:
        return None if self.attention is None else self.attention.score.num_locations

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        attended = () if self.attention is None else self.attention.state_specs
        carried = (*self.cell.state_names, *(() if self._attends_first else ("input_feed",)))
        return attended + tuple(StateSpec(name, "carried", ("batch", self.config.hidden_size)) for name in carried)

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        embedded = self.dropout(self.embedding(source_ids))
        memory = self.dropout(self.encoder(embedded, source_lengths))
        carried = torch.tanh(self.initial(self._summary(memory, source_lengths)))
        states = {} if self.attention is None else self.attention.encode(memory)
        states |= dict(zip(self.cell.state_names, carried.chunk(len(self.cell.state_names), -1), strict=True))
        if not self._attends_first:
            states["input_feed"] = torch.zeros_like(states["hidden"])
        return states

    def step(self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States) -> StepOutput:
        gates = self.token_gates(self.embedding(token_ids))
        attentional, weights, new_states = self._advance(gates, positions, source_lengths, states)
        return StepOutput(self._logits(attentional), weights, new_states)

    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        states = self.encode(source_ids, source_lengths)
        all_gates = self.token_gates(self.dropout(self.embedding(target_ids)))
        all_attentional = []
        for position, gates in enumerate(all_gates.unbind(1)):
            positions = torch.full_like(source_lengths, position)
            attentional, _, new_states = self._advance(gates, positions, source_lengths, states)
            states = states | new_states
            all_attentional.append(attentional)
        return self._logits(torch.stack(all_attentional, 1))

    def _summary(self, memory: Tensor, source_lengths: Tensor) -> Tensor:
        """What the decoder starts from, (batch, memory size): the mean of the encoder's states, or the last state of
        each direction where there will be no attention.

        The mean is a product, since onnxruntime sums a single row in another order.
        """
        if self.attention is None:
            ahead = take(memory, source_lengths[:, None] - 1)[:, 0, : self.config.encoder_hidden_size]
            return torch.cat([ahead, memory[:, 0, self.config.encoder_hidden_size :]], -1)
        visible = masks.source_mask(source_lengths, memory.shape[1])
        shares = visible.to(memory.dtype) / source_lengths[:, None]
        return torch.matmul(shares[:, None], memory)[:, 0]

    def _advance(
        self, token_gates: Tensor, positions: Tensor, source_lengths: Tensor, states: States
    ) -> tuple[Tensor, Tensor | None, States]:
        """One position: the attentional state tanh(W_c [c_t; h_t]) (Luong et al. 2015, equation 5), which predicts the
        token, the attention weights (batch, source_length), and every carried state, new."""
        before = tuple(states[name] for name in self.cell.state_names)
        context, weights = None, None
        if self.attention is not None and self._attends_first:
            context, weights = self.attention(before[0], positions, source_lengths, states)
        fed = states["input_feed"] if context is None else context
        after = self.cell(token_gates + self.feed_gates(fed), before)
        if self.attention is not None and not self._attends_first:
            context, weights = self.attention(after[0], positions, source_lengths, states)
        seen = after[0] if context is None else torch.cat([context, after[0]], -1)
        attentional = self.dropout(torch.tanh(self.attentional(seen)))
        new_states = dict(zip(self.cell.state_names, after, strict=True))
        if not self._attends_first:
            new_states["input_feed"] = attentional
        return attentional, weights, new_states

    def _logits(self, attentional: Tensor) -> Tensor:
        return F.linear(attentional, self.embedding.weight, self.output_bias)
