"""Greedy search, sampling and alternatives: targets that go on side by side, each from its own row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from service.engine.decoding.continuation import Continuation, Target
from service.engine.decoding.search import Advance, StepRow
from service.engine.request import Hypothesis
from service.model.row import Ranked, Row


class Chooser(Protocol):
    """How a line goes on."""

    def begin(self, target: Target, row: Row) -> Ranked:
        """The first free token of every line."""

    def choose(self, line: int, target: Target, row: Row) -> tuple[int, float]:
        """A later token of one line, with its log-probability."""


class Best:
    """Always the most probable token."""

    def __init__(self, continuation: Continuation) -> None:
        self._continuation = continuation

    def begin(self, target: Target, row: Row) -> Ranked:
        return [self.choose(0, target, row)]

    def choose(self, line: int, target: Target, row: Row) -> tuple[int, float]:  # noqa: ARG002
        return self._continuation.best(target, row, 1)[0]


class Alternatives(Best):
    """The most probable first tokens, each then followed greedily (`return_alternatives` of CTranslate2)."""

    def begin(self, target: Target, row: Row) -> Ranked:
        decoding, end_id = self._continuation.decoding, self._continuation.end_id
        ranked = self._continuation.best(target, row, decoding.num_hypotheses + 1)
        ranked = [one for one in ranked if one[0] != end_id] or ranked
        first, *others = ranked[: decoding.num_hypotheses]
        return [first, *(one for one in others if math.exp(one[1]) >= decoding.min_alternative_probability)]


class Lines:
    """The search over some lines. The prefix is one line; at the first free token it becomes as many as the chooser
    begins. The first line is the one that is shown."""

    def __init__(self, continuation: Continuation, chooser: Chooser, begun: Target = ()) -> None:
        """begun: tokens of the prefix that the target has already."""
        self._continuation = continuation
        self._chooser = chooser
        self._targets: list[Target] = [begun]
        self._live = [0]
        self._ended: dict[int, Hypothesis] = {}
        self._has_begun = False

    @property
    def needs_attention(self) -> bool:
        return self._continuation.decoding.coverage_penalty != 0.0

    def advance(self, rows: Sequence[StepRow]) -> Advance:
        first = self._targets[0]
        if self._has_begun:
            parents = list(range(len(rows)))
            for line, step in zip(self._live, rows, strict=True):
                target = self._targets[line]
                chosen = self._chooser.choose(line, target, step.row)
                self._targets[line] = self._continuation.follow(target, step, *chosen)
        else:
            self._targets = self._begin(first, rows[0])
            parents = [0] * len(self._targets)
            self._live = list(range(len(self._targets)))
        return self._advance(len(first), parents)

    def _begin(self, target: Target, step: StepRow) -> list[Target]:
        forced = self._continuation.forced(target)
        if forced is not None:
            return [self._continuation.follow_prefix(target, step, forced)]
        self._has_begun = True
        return [self._continuation.follow(target, step, *one) for one in self._chooser.begin(target, step.row)]

    def _advance(self, num_shown: int, parents: list[int]) -> Advance:
        going_on: list[int] = []
        live: list[int] = []
        token_ids: list[int] = []
        for parent, line in zip(parents, self._live, strict=True):
            target = self._targets[line]
            reason = self._continuation.finish_reason(target)
            if reason is None:
                going_on.append(parent)
                live.append(line)
                token_ids.append(target[-1].token_id)
            else:
                self._ended[line] = self._continuation.hypothesis(target, reason)
        self._live = live
        hypotheses = () if live else tuple(self._ended[line] for line in sorted(self._ended))
        return Advance(tuple(going_on), tuple(token_ids), self._targets[0][num_shown:], hypotheses=hypotheses)
