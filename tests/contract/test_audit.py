"""The audit of the locked packages fails where a vulnerability is known, and only there."""

from __future__ import annotations

from typing import Any

import pytest

from requirements.audit import LOCKS, judge

CLEAN = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def report(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(packages), "fixes": []}


@pytest.mark.parametrize(
    ("reports", "status", "said"),
    [
        ([report(CLEAN)], 0, ["1 packages, 0 vulnerabilities"]),
        ([report(CLEAN, VULNERABLE)], 1, ["b 2: CVE-1, mended in 3", "2 packages, 1 vulnerabilities"]),
        ([report(UNKNOWN), report(VULNERABLE, UNKNOWN)], 1, ["b 2: CVE-1, mended in 3", "1 are not known"]),
        ([None, report(CLEAN)], 0, ["1 packages, 0 vulnerabilities"]),
        ([None, None], 0, ["left out, since no advisory service answers (pypi, osv)"]),
        ([report(UNKNOWN), None], 0, ["left out"]),
    ],
)
def test_the_first_service_that_knows_a_package_decides(
    reports: list[dict[str, Any] | None], status: int, said: list[str]
) -> None:
    decided, lines = judge(reports)
    assert decided == status
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert words in line


def test_every_lock_with_hashes_is_audited() -> None:
    from pathlib import Path

    folder = Path(__file__).parents[2] / "requirements"
    locks = {path.name for path in folder.glob("*.txt") if "--hash=" in path.read_text()}
    assert locks == set(LOCKS)
