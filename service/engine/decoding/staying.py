"""Beam search in which a hypothesis that has ended stays among the best, as many small decoders have it."""

from __future__ import annotations

from collections.abc import Sequence

from service.engine.decoding.beam import BeamSearch, Candidate
from service.engine.decoding.continuation import Continuation
from service.engine.decoding.search import StepRow
from service.engine.request import Hypothesis


class StayingBeamSearch(BeamSearch):
    """Keeps the beam_size most probable hypotheses, ended or not, until all of them have ended. One that has ended goes
    on at no cost, and is lost once so many others are more probable than it; the length penalty ranks what is left."""

    def __init__(self, continuation: Continuation) -> None:
        super().__init__(continuation)
        self._staying: list[tuple[float, Hypothesis]] = []

    def _choose(self, candidates: Sequence[Candidate], rows: Sequence[StepRow]) -> list[Candidate]:
        is_last = len(self._live[0].target) + 1 == self._decoding.max_length
        staying = [(-total, 0, place) for place, (total, _) in enumerate(self._staying)]
        new = [(-one.total, 1, place) for place, one in enumerate(candidates)]
        ranked = sorted(staying + new)[: self._decoding.beam_size]
        self._staying = [self._staying[place] for _, is_new, place in ranked if not is_new]
        going_on = []
        for one in [candidates[place] for _, is_new, place in ranked if is_new]:
            if one.token_id != self._continuation.end_id and not is_last:
                going_on.append(one)
                continue
            self._end(one, rows)
            self._staying.append((one.total, self._ended[-1]))
        self._ended = [hypothesis for _, hypothesis in self._staying]
        return going_on

    def _is_finished(self, candidates: Sequence[Candidate]) -> bool:  # noqa: ARG002
        return not self._live

    def _winners(self) -> Sequence[Hypothesis]:
        return self._ended
