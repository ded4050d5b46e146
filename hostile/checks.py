"""What was promised, what was found, and whether the one holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hostile.server import Balance, ServerLostError, ServerProcess


@dataclass(frozen=True)
class Check:
    """One promise, for people to read."""

    promise: str
    found: str
    holds: bool


def at_most(value: float, most: float, what: str) -> Check:
    """A figure and its limit, in the unit that `what` names."""
    return Check(f"at most {most:g} {what}", f"{value:,.2f}", value <= most)


def none_of(number: int, what: str) -> Check:
    """Something that must not happen."""
    return Check(f"no {what}", f"{number:,}", number == 0)


def balance_check(server: ServerProcess) -> Check:
    """Every stream's state is released, as the server counts."""
    try:
        balance = server.settled_balance()
    except (OSError, ServerLostError) as error:
        return Check("the server tells what it counts", str(error), holds=False)
    return balanced(balance)


def balanced(balance: Balance) -> Check:
    """Every stream's state is released."""
    return Check(
        "every stream that was opened is closed, no slot is taken, nobody waits", str(balance), balance.is_exact
    )


def ends_well(server: ServerProcess) -> Check:
    """A server that is alive, ready, and ends with 0 when it is asked to; it has ended then."""
    if not server.is_alive:
        return Check("the server is never lost", "it has ended", holds=False)
    try:
        ready = server.get("/readyz").strip()
        status = server.stop()
    except (OSError, ServerLostError) as error:
        return Check("the server is never lost", str(error), holds=False)
    return Check(
        "the server is never lost, ready, and ends with 0",
        f"{ready}, ended with {status}",
        ready == "ready" and not status,
    )


def print_checks(checks: Sequence[Check]) -> int:
    """A line for each; the exit status: 1 where one does not hold."""
    for check in checks:
        print(f"{'held  ' if check.holds else 'BROKEN'}  {check.promise}: {check.found}")
    return 0 if all(check.holds for check in checks) else 1


def table(checks: Sequence[Check]) -> str:
    """As a Markdown table."""
    rows = [f"| {check.promise} | {check.found} | {'held' if check.holds else '**BROKEN**'} |" for check in checks]
    return "\n".join(["| promise | found | |", "|---|---|---|", *rows]) + "\n"
