"""The table of faults: which test lets each happen, and what comes of it, from the tests' own markers and docstrings.

`--fault-table` prints it and runs nothing; `--run-faults` runs these tests alone and says beside each how it ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

NUMBERS = range(1, 68)
"""Of all faults that are known."""


@dataclass(frozen=True)
class Fault:
    """One test, all of its parameters together."""

    numbers: tuple[int, ...]
    place: str
    what_happens: str


def fault_of(item: pytest.Item) -> Fault | None:
    """None of a test that lets none happen. Raises UsageError where the marker or the docstring says too little."""
    numbers = tuple(sorted({number for marker in item.iter_markers("fault") for number in marker.args}))
    if not numbers:
        return None
    place = item.nodeid.partition("[")[0]
    if wrong := [number for number in numbers if number not in NUMBERS]:
        raise pytest.UsageError(f"{place}: no fault has the number {wrong}; they go to {NUMBERS[-1]}")
    docstring = inspect.getdoc(getattr(item, "function", None)) or ""
    if not docstring:
        raise pytest.UsageError(f"{place}: the docstring must say what happens")
    return Fault(numbers, place, docstring.partition("\n\n")[0].replace("\n", " "))


class FaultTable:
    """Keeps what was collected, and how each test ended."""

    def __init__(self, *, run: bool) -> None:
        self._run = run
        self._faults: dict[str, Fault] = {}
        self._outcomes: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = []
        for item in items:
            if (fault := fault_of(item)) is not None:
                self._faults[fault.place] = fault
                chosen.append(item)
        config.hook.pytest_deselected(items=[item for item in items if not self._run or item not in chosen])
        items[:] = chosen if self._run else []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        place = report.nodeid.partition("[")[0]
        if report.failed or ((report.when == "call" or report.skipped) and self._outcomes.get(place) != "failed"):
            self._outcomes[place] = report.outcome

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("faults")
        for line in self.lines():
            terminalreporter.write_line(line)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not self._run and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    def lines(self) -> Iterator[str]:
        """One for each number and test, by number; then the numbers that no test has."""
        rows = sorted((number, fault.place, fault) for fault in self._faults.values() for number in fault.numbers)
        for number, place, fault in rows:
            outcome = f"{self._outcomes.get(place, 'not run'):8} " if self._run else ""
            yield f"{number:3}  {outcome}{fault.what_happens}\n     {place}"
        missing = [number for number in NUMBERS if number not in {row[0] for row in rows}]
        yield f"without a test: {', '.join(map(str, missing)) or 'none'}"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-table", action="store_true", help="print which test plays each fault, and run nothing")
    group.addoption("--run-faults", action="store_true", help="run the tests that play faults, and print the table")


def pytest_configure(config: pytest.Config) -> None:
    run = bool(config.getoption("--run-faults"))
    if run or config.getoption("--fault-table"):
        config.pluginmanager.register(FaultTable(run=run))
