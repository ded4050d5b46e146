"""Translations that are edited, and what one keeps so that it can go on from any place of its target."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from service.engine.request import StepResult, Token
from service.model.onnx_model import Floats


class History:
    """The tokens of a target, and the carried states before each of them."""

    def __init__(self, carried: Mapping[str, Floats]) -> None:
        """carried: the states before the first token."""
        self.tokens: list[Token] = []
        self._carried = [carried]

    def follow(self, tokens: Sequence[Token], carried: Mapping[str, Floats]) -> None:
        """The target goes on with tokens of one step, after which the carried states are these."""
        self.tokens += tokens
        self._carried += [carried] * len(tokens)

    def keep(self, prefix: Sequence[int]) -> Mapping[str, Floats]:
        """Forget all tokens but the first ones that a new prefix shares; the carried states after those."""
        length = 0
        while length < min(len(prefix), len(self.tokens)) and self.tokens[length].token_id == prefix[length]:
            length += 1
        del self.tokens[length:]
        del self._carried[length + 1 :]
        return self._carried[length]


class EditableTranslation:
    """One translation whose beginning can be changed while it is made and after it has ended."""

    def __init__(self, results: AsyncGenerator[StepResult, None], edit: Callable[[tuple[int, ...]], None]) -> None:
        self.results = results
        """Each step as it is made, with the number of the edit that it belongs to. Closing it frees all."""
        self.edit = edit
        """Give the target another prefix; raises EngineFailedError and StoppingError."""
