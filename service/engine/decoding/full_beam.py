"""Beam search as transformers has it: it ends by a full beam of hypotheses that have ended, not by patience."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.engine.decoding.beam import BeamSearch, Candidate, Live
from service.engine.decoding.search import StepRow
from service.engine.request import Hypothesis


class FullBeamSearch(BeamSearch):
    """The beam_size best hypotheses that have ended are kept; the search goes on until none that is live may come among
    them, as `beam_end` of the request estimates that (transformers, GenerationMixin._beam_search).

    Right after a prefix any of the best candidates may end, and what is forced is as certain as can be: it adds nothing
    to a score.
    """

    def best(self, parents: Iterable[int], live: Sequence[Live], rows: Sequence[StepRow]) -> list[Candidate]:
        if not self._must_end(live):
            return super().best(parents, live, rows)
        end_id = self._continuation.end_id
        ending = [
            Candidate(parent, end_id, rows[parent].row.log_probability(end_id), live[parent].log_probability)
            for parent in parents
        ]
        return sorted(ending, key=lambda one: -one.total)[: 2 * self._decoding.beam_size]

    def _must_end(self, live: Sequence[Live]) -> bool:
        return self._decoding.forced_end and len(live[0].target) == self._decoding.max_length - 1

    @property
    def _only_best_ends(self) -> bool:
        return False

    def _is_finished(self, candidates: Sequence[Candidate]) -> bool:  # noqa: ARG002
        decoding, kept = self._decoding, self._kept
        if not self._live:
            return True
        if len(kept) < decoding.beam_size:
            return False
        if decoding.beam_end == "full":
            return True
        length = decoding.max_length if decoding.beam_end == "bound" else len(self._live[0].target)
        best = max(one.log_probability for one in self._live)
        return self._continuation.normalized(best, length) <= kept[-1].score

    @property
    def _kept(self) -> list[Hypothesis]:
        return sorted(self._ended, key=self.rank)[: self._decoding.beam_size]
