"""The report of a load test as one JSON object. Durations are in milliseconds where a key says _ms, else in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from service.client.load.fleet import Played
from service.client.load.jobs import Verification
from service.client.load.moment import Moment
from service.client.load.plan import find_knee
from service.client.load.scenario import Ramp, Scenario

Report = dict[str, Any]
LATE_MS = 10.0
"""A generator whose 99th percentile is later than this tells of itself, beside the server."""


@dataclass
class Results:
    """All that a load test has found. jobs: what each is called, in the order of the mix."""

    scenario: Scenario
    jobs: Sequence[str]
    verifications: Sequence[Verification] = ()
    played: list[Played] = field(default_factory=list)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def knee(self) -> Played | None:
        """Of a ramp, the stage that the server held last."""
        load = self.scenario.load
        return find_knee(self.played, load) if isinstance(load, Ramp) else None

    @property
    def num_ok(self) -> int:
        return sum(played.tally.num_ok for played in self.played)

    @property
    def num_different(self) -> int:
        """While the load warmed up too."""
        return sum(played.tally.num_different for played in self.played)


def report_of(results: Results) -> Report:
    """Everything, for JSON and for the page."""
    knee = results.knee
    return {
        "began": results.began.isoformat(timespec="seconds"),
        "scenario": results.scenario.model_dump(mode="json"),
        "jobs": list(results.jobs),
        "verification": [asdict(one) for one in results.verifications],
        "num_different": results.num_different,
        "knee_per_s": None if knee is None else knee.stage.rate,
        "warnings": warnings_of(results),
        "stages": [stage_of(played, results.jobs) for played in results.played],
    }


def stage_of(played: Played, jobs: Sequence[str]) -> Report:
    """One stage: what was sent in the seconds that count, and every second."""
    stage, tally = played.stage, played.tally
    per_s = 1 / stage.counted_s if stage.counted_s > 0 else 0.0
    return {
        "name": stage.name,
        "rate_per_s": stage.rate,
        "duration_s": stage.duration_s,
        "warm_up_s": stage.warm_up_s,
        "sent": tally.num_sent,
        "ok": tally.num_ok,
        "good": tally.num_good,
        "refused": tally.num_refused,
        "failed": tally.num_failed,
        "statuses": dict(tally.statuses.most_common()),
        "by_job": {name: tally.by_job[number] for number, name in enumerate(jobs)},
        "requests_per_s": round(tally.num_ok * per_s, 3),
        "goodput_per_s": round(tally.num_good * per_s, 3),
        "tokens_per_s": round(tokens_per_s(played), 3),
        "first_token_ms": tally.first_token.summary(),
        "gap_ms": tally.gaps.summary(),
        "total_ms": tally.total.summary(),
        "lateness_ms": tally.lateness.summary(),
        "loop_lag_ms": tally.loop_lag.summary(),
        "pushback_ms": tally.pushback.summary(),
        "verified": tally.num_verified,
        "different": tally.num_different,
        "differences": tally.differences,
        "distributions": {
            "first token": tally.first_token.distribution(),
            "between tokens": tally.gaps.distribution(),
            "whole": tally.total.distribution(),
            "lateness": tally.lateness.distribution(),
        },
        "seconds": [asdict(moment) for moment in played.moments],
    }


def tokens_per_s(played: Played) -> float:
    """Tokens that arrived in the whole seconds that count; of a stage without any, of the requests that count."""
    stage = played.stage
    first, end = math.ceil(stage.warm_up_s), math.floor(stage.duration_s)
    if end <= first:
        return played.tally.num_tokens / max(stage.counted_s, 1e-9)
    whole: Sequence[Moment] = [moment for moment in played.moments if first <= moment.second < end]
    return sum(moment.tokens for moment in whole) / (end - first)


def _late_ms(played: Played) -> float:
    """Of sending, or of whatever else the generator's event loop had to do."""
    return max(played.tally.lateness.percentile_ms(99), played.tally.loop_lag.percentile_ms(99))


def warnings_of(results: Results) -> list[str]:
    """What keeps the figures from being the server's alone."""
    warnings = []
    lates = [(_late_ms(played), played.stage.name) for played in results.played]
    if (worst := max(lates, default=(0.0, "")))[0] > LATE_MS:
        number = sum(late > LATE_MS for late, _ in lates)
        warnings.append(
            f"the generator itself was late: in {number} of {len(lates)} stages by more than {LATE_MS:g} ms at the "
            f"99th percentile, most by {worst[0]:.1f} ms ({worst[1]}); it needs more processes (--processes), or "
            "cores of its own"
        )
    for played in results.played:
        tally, name = played.tally, played.stage.name
        if not tally.num_sent:
            warnings.append(f"{name}: no request was counted")
        if tally.num_failed:
            failed = {status: n for status, n in tally.statuses.items() if status not in ("OK", "RESOURCE_EXHAUSTED")}
            warnings.append(f"{name}: {tally.num_failed} requests failed: {failed}")
    load = results.scenario.load
    if isinstance(load, Ramp) and results.played:
        if results.knee is None:
            warnings.append("no rate held, not even the first: begin at a lower one")
        elif results.knee.stage.rate == max(played.stage.rate or 0.0 for played in results.played):
            warnings.append("every rate held: the knee is above the last one")
    if results.verifications and not sum(played.tally.num_verified for played in results.played):
        warnings.append("no translation was verified")
    return warnings
