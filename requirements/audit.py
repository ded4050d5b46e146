"""Asks the advisory services for known vulnerabilities of every locked package, by pip-audit. Exit status 1 where there
are any; where no service answers, as without a network, it says so in one line and fails nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LOCKS = ("build.txt", "cpu.txt", "cuda.txt", "export.txt", "dev.txt")
"""torch.txt holds no hashes: its packages come from an index of their own."""
SERVICES = ("pypi", "osv")
TIMEOUT_S = 300


def ask(service: str) -> dict[str, Any] | None:
    """What a service says of every locked package, as pip-audit's JSON; None where it does not answer."""
    files = [part for name in LOCKS for part in ("-r", str(Path(__file__).with_name(name)))]
    command = (sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--require-hashes", *files)
    try:
        done = subprocess.run(  # noqa: S603
            (*command, "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


def judge(reports: Iterable[dict[str, Any] | None]) -> tuple[int, list[str]]:
    """The exit status and what to say, by the first report that knows any package."""
    for report in reports:
        packages = {(one["name"], one.get("version")): one for one in (report or {}).get("dependencies", ())}.values()
        known = [one for one in packages if "skip_reason" not in one]
        if not known:
            continue
        found = [
            f"{one['name']} {one['version']}: {vulnerability['id']}, mended in "
            f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
            for one in known
            for vulnerability in one["vulns"]
        ]
        left_out = len(packages) - len(known)
        unknown = f"; {left_out} are not known to the service" if left_out else ""
        return int(bool(found)), [*found, f"{len(known)} packages, {len(found)} vulnerabilities{unknown}"]
    return 0, [f"left out, since no advisory service answers ({', '.join(SERVICES)})"]


def main() -> int:
    status, lines = judge(ask(service) for service in SERVICES)
    for line in lines:
        print(f"pip-audit: {line}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
