"""A recurrent encoder-decoder with attention and input feeding (Luong, Pham and Manning 2015).

A bidirectional LSTM or GRU reads the source. At each step the decoder cell reads the previous token and the
previous attentional state, its hidden state scores every encoder state, and the weighted sum of these and the
hidden state predict the next token. It does not know how it is trained, exported or served.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.configuration import RecurrentConfiguration
from export.models import masks
from export.models.attention import GeneralAttention
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
    """Source and target share one embedding with the output layer (Press and Wolf 2017)."""

    def __init__(self, config: RecurrentConfiguration, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        hidden, memory_size = config.hidden_size, 2 * config.encoder_hidden_size
        rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        self.embedding = nn.Embedding(vocabulary_size, hidden, padding_idx=PAD_ID)
        self.encoder = BidirectionalRnn(rnn, hidden, config.encoder_hidden_size)
        self.cell = CELLS[config.cell](hidden)
        self.token_gates = nn.Linear(hidden, self.cell.num_gates * hidden)
        self.feed_gates = nn.Linear(hidden, self.cell.num_gates * hidden, bias=False)
        self.initial = nn.Linear(memory_size, len(self.cell.state_names) * hidden)
        self.attention = GeneralAttention(hidden, memory_size)
        self.attentional = nn.Linear(memory_size + hidden, hidden, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.embedding.weight, std=hidden**-0.5)

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        hidden, memory_size = self.config.hidden_size, 2 * self.config.encoder_hidden_size
        constant = (
            StateSpec("memory", "constant", ("batch", "source_length", memory_size)),
            StateSpec("keys", "constant", ("batch", "source_length", hidden)),
        )
        carried = (*self.cell.state_names, "input_feed")
        return constant + tuple(StateSpec(name, "carried", ("batch", hidden)) for name in carried)

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        """As `TranslationModel.encode`. The decoder starts from the mean of the encoder's states (Bahdanau et al.
        2015 start from the first one); a product, since onnxruntime sums a single row in another order."""
        embedded = self.dropout(self.embedding(source_ids))
        memory = self.dropout(self.encoder(embedded, source_lengths))
        visible = masks.source_mask(source_lengths, source_ids.shape[1])
        shares = visible.to(memory.dtype) / source_lengths[:, None]
        mean = torch.matmul(shares[:, None], memory)[:, 0]
        carried = torch.tanh(self.initial(mean)).chunk(len(self.cell.state_names), -1)
        states = {"memory": memory, "keys": self.attention.keys(memory)}
        states |= dict(zip(self.cell.state_names, carried, strict=True))
        states["input_feed"] = torch.zeros_like(carried[0])
        return states

    def step(
        self,
        token_ids: Tensor,
        positions: Tensor,  # noqa: ARG002
        source_lengths: Tensor,
        states: States,
    ) -> StepOutput:
        visible = masks.source_mask(source_lengths, states["memory"].shape[1])
        gates = self.token_gates(self.embedding(token_ids))
        attention, new_states = self._advance(gates, visible, states)
        return StepOutput(self._logits(new_states["input_feed"]), attention, new_states)

    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        states = self.encode(source_ids, source_lengths)
        visible = masks.source_mask(source_lengths, source_ids.shape[1])
        all_gates = self.token_gates(self.dropout(self.embedding(target_ids)))
        attentional = []
        for gates in all_gates.unbind(1):
            _, new_states = self._advance(gates, visible, states)
            states = states | new_states
            attentional.append(states["input_feed"])
        return self._logits(torch.stack(attentional, 1))

    def _advance(self, token_gates: Tensor, visible: Tensor, states: States) -> tuple[Tensor, States]:
        """One position: attention weights (batch, source_length) and every carried state, new.

        h_t = cell([token; input feed]); c_t = attention(h_t); the attentional state tanh(W_c [c_t; h_t])
        (Luong et al. 2015, equation 5) predicts the token and is fed to the next step (section 3.3).
        """
        gates = token_gates + self.feed_gates(states["input_feed"])
        state = self.cell(gates, tuple(states[name] for name in self.cell.state_names))
        context, weights = self.attention(state[0], states["keys"], states["memory"], visible)
        attentional = torch.tanh(self.attentional(torch.cat([context, state[0]], -1)))
        new_states = dict(zip(self.cell.state_names, state, strict=True))
        new_states["input_feed"] = self.dropout(attentional)
        return weights, new_states

    def _logits(self, attentional: Tensor) -> Tensor:
        return F.linear(attentional, self.embedding.weight, self.output_bias)
