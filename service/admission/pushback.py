"""When a refused request may be tried again."""

from __future__ import annotations

import random

SHORTEST_MS = 50
LONGEST_MS = 5_000
JITTER = 0.5
"""At most so much of the time is added, so that those refused together do not come back together."""
RESTART_S = 1.0
"""Where the process ends: until whoever runs it has another one, or a balancer has found it."""


def pushback_ms(wait_s: float) -> int:
    """Milliseconds after which what takes wait_s seconds is over, from SHORTEST_MS to LONGEST_MS."""
    shortest_ms = min(max(1e3 * wait_s, SHORTEST_MS), LONGEST_MS / (1 + JITTER))
    return round(shortest_ms * random.uniform(1, 1 + JITTER))  # noqa: S311
