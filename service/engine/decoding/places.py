"""Beam search as JoeyNMT has it: a hypothesis that ends keeps its place, and goes on beyond its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.engine.decoding.beam import BeamSearch, Candidate, Live
from service.engine.decoding.continuation import Continuation, Target
from service.engine.decoding.search import StepRow


class PlacesBeamSearch(BeamSearch):
    """The beam_size best candidates of a step go on, those that end as well (JoeyNMT, joeynmt.search.beam_search). What
    follows an end is nobody's target, but competes with the others. Places are those of the ranking: the search is over
    once a hypothesis has ended at each of them, be it at different steps, or where no live one could still end.
    """

    def __init__(self, continuation: Continuation) -> None:
        super().__init__(continuation)
        self._has_ended = [False] * continuation.decoding.beam_size

    def best(self, parents: Iterable[int], live: Sequence[Live], rows: Sequence[StepRow]) -> list[Candidate]:
        return super().best(parents, live, rows)[: self._decoding.beam_size]

    def _choose(self, candidates: Sequence[Candidate], rows: Sequence[StepRow]) -> list[Candidate]:
        end_id = self._continuation.end_id
        is_last = len(self._live[0].target) + 1 == self._decoding.max_length
        for place in range(len(self._has_ended)):
            if place >= len(candidates) or candidates[place].token_id == end_id:
                self._has_ended[place] = True
        for one in candidates:
            if (is_last or one.token_id == end_id) and not self._is_over(self._live[one.parent].target):
                self._end(one, rows)
        return [] if is_last else list(candidates)

    def _is_finished(self, candidates: Sequence[Candidate]) -> bool:  # noqa: ARG002
        return all(self._has_ended) or not self._contenders()

    def _contenders(self) -> Sequence[Live]:
        return [one for one in self._live if not self._is_over(one.target)]

    def _is_over(self, target: Target) -> bool:
        """Whether a target has its end behind it; one that the prefix sets is none."""
        begun = len(self._decoding.prefix)
        return any(token.token_id == self._continuation.end_id for token in target[begun:])
