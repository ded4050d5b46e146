"""Every test that plays a fault is in the table, with its number and with what happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = "import pytest\n\n\n@pytest.mark.fault({numbers})\ndef test_one():\n    {body}\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


def run_alone(tmp_path: Path, option: str, *, numbers: str, body: str) -> subprocess.CompletedProcess[str]:
    test = tmp_path / "test_alone.py"
    test.write_text(HEAD.format(numbers=numbers, body=body))
    return run("-p", "tests.fault_table", "-c", str(ROOT / "pyproject.toml"), option, str(test))


def test_every_test_that_plays_a_fault_says_what_happens() -> None:
    result = run("--fault-table", "tests")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "without a test:" in result.stdout


@pytest.mark.parametrize(("numbers", "body"), [("1", "pass"), ("68", '"""It fails."""'), ("0", '"""It fails."""')])
def test_a_fault_without_a_word_or_with_a_number_that_none_has_is_refused(
    tmp_path: Path, numbers: str, body: str
) -> None:
    assert run_alone(tmp_path, "--fault-table", numbers=numbers, body=body).returncode == pytest.ExitCode.USAGE_ERROR


def test_the_table_has_a_line_for_each_number_and_names_those_that_no_test_has(tmp_path: Path) -> None:
    result = run_alone(tmp_path, "--fault-table", numbers="3, 1", body='"""The stream ends."""')
    lines = [line.strip() for line in result.stdout.splitlines()]
    first, second = (lines.index(f"{number}  The stream ends.") for number in (1, 3))
    assert first < second
    assert lines[first + 1].endswith("test_one")
    assert "without a test: 2, 4, 5," in result.stdout


@pytest.mark.parametrize(("body", "outcome"), [("pass", "passed"), ("assert False", "failed")])
def test_the_table_says_how_each_test_that_was_run_has_ended(tmp_path: Path, body: str, outcome: str) -> None:
    result = run_alone(tmp_path, "--run-faults", numbers="7", body=f'"""It ends."""\n    {body}')
    assert f"7  {outcome:8} It ends." in result.stdout
