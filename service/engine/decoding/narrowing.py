"""Beam search as Marian has it: a hypothesis that ends leaves its place empty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.engine.decoding.beam import BeamSearch, Candidate, Live
from service.engine.decoding.continuation import Continuation
from service.engine.decoding.search import StepRow


class NarrowingBeamSearch(BeamSearch):
    """Of as many best candidates as the beam is wide those that end make it narrower, until none is left, or none that
    is live can still be among the best (Marian, BeamSearch::search). Any may end right after a prefix."""

    def __init__(self, continuation: Continuation) -> None:
        super().__init__(continuation)
        self._width = continuation.decoding.beam_size

    def best(self, parents: Iterable[int], live: Sequence[Live], rows: Sequence[StepRow]) -> list[Candidate]:
        return super().best(parents, live, rows)[: self._width]

    def _choose(self, candidates: Sequence[Candidate], rows: Sequence[StepRow]) -> list[Candidate]:
        going_on = super()._choose(candidates, rows)
        self._width = len(going_on)
        return going_on

    @property
    def _only_best_ends(self) -> bool:
        return False

    def _is_finished(self, candidates: Sequence[Candidate]) -> bool:  # noqa: ARG002
        return not self._live or self._is_decided()
