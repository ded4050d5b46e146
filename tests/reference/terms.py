"""Where a target stands with the terms that it must have. No model and no search is here.

Everything is computed anew from the target: no state is carried. Post and Vilar 2018 ("Fast lexically constrained
decoding with dynamic beam allocation for neural machine translation"), section 3; a term with several alternatives, one
of which is enough, after Li et al. 2020.
"""

from __future__ import annotations

from tests.reference.options import Ids, TermMatch

Term = tuple[Ids, ...]


def find_term(y: Ids, term: Term) -> TermMatch | None:
    """Where one of the alternatives is complete first; the one listed first where several are."""
    for end in range(len(y) + 1):
        for number, alternative in enumerate(term):
            if y[:end][-len(alternative) :] == alternative:
                return TermMatch(number, end - len(alternative), end)
    return None


def unmet(y: Ids, terms: tuple[Term, ...]) -> list[Term]:
    return [term for term in terms if find_term(y, term) is None]


def num_matched(y: Ids, alternative: Ids) -> int:
    """Length of the longest suffix of y that begins the alternative without completing it."""
    return max(length for length in range(len(alternative)) if y[len(y) - length :] == alternative[:length])


def progress(y: Ids, terms: tuple[Term, ...]) -> int:
    """The bank of y: of each term the length of its shortest alternative if met, else the longest partial match."""
    waiting = unmet(y, terms)
    met = sum(min(map(len, term)) for term in terms if term not in waiting)
    return met + sum(max(num_matched(y, alternative) for alternative in term) for term in waiting)


def next_tokens(y: Ids, terms: tuple[Term, ...]) -> set[int]:
    """The tokens that bring an unmet term on: of each alternative the one after its partial match."""
    return {alternative[num_matched(y, alternative)] for term in unmet(y, terms) for alternative in term}


def allot(sizes: dict[int, int], num_places: int) -> dict[int, int]:
    """Divides the places of a beam: progress -> how many candidates have it, to progress -> how many of them go on.

    Post and Vilar 2018, section 3: the beam is divided evenly among the banks, here among those that are not empty.
    What is left over in the division goes one by one to the banks of highest progress. What a bank cannot fill goes,
    place by place, to the bank with the most candidates left, of those to the one of highest progress.
    """
    banks = sorted(sizes, reverse=True)
    share, remainder = divmod(num_places, max(len(banks), 1))
    places = {bank: min(share + (rank < remainder), sizes[bank]) for rank, bank in enumerate(banks)}
    while sum(places.values()) < min(num_places, sum(sizes.values())):
        fullest = max(banks, key=lambda bank: (sizes[bank] - places[bank], bank))
        places[fullest] += 1
    return places
