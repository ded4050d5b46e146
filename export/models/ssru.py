"""A recurrent unit in place of a decoder's self-attention: one vector for each row, whatever its target's length. It
does not know the layer around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ssru(nn.Module):
    """The simpler simple recurrent unit (Kim et al. 2019, section 3.1):

        f_t = sigmoid(W_f x_t + b_f),   c_t = f_t * c_(t-1) + (1 - f_t) * W x_t,   output = relu(c_t)

    of x_t (batch, hidden), with c_0 = 0; projected at the end where that is asked for.
    """

    def __init__(self, hidden: int, *, projection: bool) -> None:
        super().__init__()
        self.new = nn.Linear(hidden, hidden, bias=False)
        self.forget = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden) if projection else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """All positions of x (batch, target_length, hidden), from a cell of zeros."""
        cell = torch.zeros_like(x[:, 0])
        outputs = []
        for one in x.unbind(1):
            output, cell = self.step(one, cell)
            outputs.append(output)
        return torch.stack(outputs, 1)

    def step(self, x: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One position: x and cell (batch, hidden) -> the output and the new cell."""
        forget = torch.sigmoid(self.forget(x))
        new = forget * cell + (1 - forget) * self.new(x)
        return self.output(torch.relu(new)), new
