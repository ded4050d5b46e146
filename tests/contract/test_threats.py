"""Every answer to a threat is proved by a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_test_that_a_threat_names_exists() -> None:
    rows = [line for line in (ROOT / "THREATS.md").read_text(encoding="utf-8").splitlines() if "`test_" in line]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    there = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(named) > 30
    assert named - there == set()


def test_every_threat_has_an_answer_and_a_test() -> None:
    text = (ROOT / "THREATS.md").read_text(encoding="utf-8")
    tables = text.split("| threat | answer | test |\n|---|---|---|\n")[1:]
    assert len(tables) == text.count("| threat |") == 7
    for table in tables:
        for row in table.split("\n\n")[0].strip().splitlines():
            _, threat, answer, tests, _ = row.split("|")
            assert threat.strip()
            assert answer.strip()
            assert "`test_" in tests
