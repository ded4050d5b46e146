"""Divides rows among the runs of a graph that cannot take all of them at once. It does not know the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from service.model.foreign.ranking import Ids
from service.model.foreign.roles import Sharing


def groups(sharing: Sharing, lengths: Ids, ages: Ids) -> Iterable[Ids]:
    """The rows of each run, in order; lengths and ages (rows,)."""
    keys: Mapping[int, tuple[int, ...]] = {
        row: (
            -1 if sharing.rows else row,
            -1 if sharing.lengths else int(lengths[row]),
            -1 if sharing.ages else int(ages[row]),
        )
        for row in range(len(lengths))
    }
    by_key: dict[tuple[int, ...], list[int]] = {}
    for row, key in keys.items():
        by_key.setdefault(key, []).append(row)
    return [np.array(rows) for rows in by_key.values()]
