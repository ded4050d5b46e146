"""The search that a request asks for."""

from __future__ import annotations

from collections.abc import Sequence

from service.engine.decoding.beam import BeamSearch
from service.engine.decoding.continuation import Continuation, Target
from service.engine.decoding.full_beam import FullBeamSearch
from service.engine.decoding.lines import Alternatives, Best, Lines
from service.engine.decoding.narrowing import NarrowingBeamSearch
from service.engine.decoding.places import PlacesBeamSearch
from service.engine.decoding.sampling import Draw
from service.engine.decoding.search import Search
from service.engine.decoding.staying import StayingBeamSearch
from service.engine.decoding.terms import ConstrainedBeamSearch, HoldTerms
from service.engine.request import BeamEnd, Request
from service.model.manifest import Manifest
from service.model.rules import Rule

BEAM_SEARCHES: dict[BeamEnd, type[BeamSearch]] = {
    "patience": BeamSearch,
    "places": PlacesBeamSearch,
    "empty": NarrowingBeamSearch,
}
"""By when they end; all others are transformers'."""


def beam_search_of(manifest: Manifest) -> type[BeamSearch]:
    """The beam search of the library that a model comes from."""
    if manifest.foreign is not None and manifest.foreign.ended_hypotheses == "stay":
        return StayingBeamSearch
    return BEAM_SEARCHES.get(manifest.search.beam_end, FullBeamSearch)


def make_search(
    request: Request,
    model_rules: Sequence[Rule] = (),
    *,
    end_id: int,
    begun: Target = (),
    beam_search: type[BeamSearch] = BeamSearch,
) -> Search:
    """The search of a request; model_rules hold for every target of its source; begun are tokens that the target of an
    editable request has already; beam_search is the model's own way where no terms must appear."""
    decoding = request.decoding
    terms = (HoldTerms(decoding.terms, end_id),) if decoding.terms else ()
    continuation = Continuation(decoding, (*model_rules, *terms), end_id=end_id)
    if decoding.beam_size > 1:
        return ConstrainedBeamSearch(continuation) if decoding.terms else beam_search(continuation)
    if decoding.sampling is not None:
        return Lines(continuation, Draw(continuation, decoding.sampling, request.seed or 0), begun)
    return Lines(continuation, Alternatives(continuation) if decoding.alternatives else Best(continuation), begun)
