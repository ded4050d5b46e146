"""How a library searches with a model, in our terms."""

from __future__ import annotations

from dataclasses import dataclass

from service.model.manifest import Search


@dataclass(frozen=True)
class Decoding:
    """begin_id is what a target's first step continues from, forced_id the token that every target begins with, if any;
    impossible_ids have no probability at all; longest is of a target in tokens, None without a limit."""

    search: Search
    begin_id: int
    end_id: int
    forced_id: int | None
    impossible_ids: tuple[int, ...]
    longest: int | None
