"""Sets keys of one table of a TOML file and leaves every other byte as it is. It does not know what the keys mean."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from export.errors import ConfigurationError


def with_keys(content: str, table: str, values: Mapping[str, int | list[int]]) -> str:
    """TOML content with KEY = VALUE in [TABLE]: where the key's line is, or after the table's last line.

    Raises ConfigurationError where the table is written so that exchanging single lines does not do it.
    """
    lines = content.splitlines(keepends=True)
    headers = [i for i, line in enumerate(lines) if re.match(r"\s*\[", line)]
    start = next((i for i in headers if re.match(rf"\s*\[\s*{table}\s*\]", lines[i])), len(lines))
    end = next((i for i in headers if i > start), len(lines))
    while end > start and not lines[end - 1].strip():
        end -= 1
    for key, value in values.items():
        place = next((i for i in range(start, end) if re.match(rf"\s*{key}\s*=", lines[i])), None)
        if place is not None:
            lines[place] = re.sub(r"=[^#\r\n]*[^#\s]", f"= {value}", lines[place], count=1)
            continue
        ending = "\r\n" if "\r\n" in content else "\n"
        if not lines[end - 1].endswith("\n"):
            lines[end - 1] += ending
        lines.insert(end, f"{key} = {value}{ending}")
        end += 1
    made = "".join(lines)
    if not _differs_only_in(values, table, content, made):
        raise ConfigurationError(f"[{table}] is not written line by line: set {', '.join(values)} there by hand")
    return made


def _differs_only_in(values: Mapping[str, int | list[int]], table: str, before: str, after: str) -> bool:
    expected = tomllib.loads(before)
    expected[table] = expected.get(table, {}) | values
    try:
        return tomllib.loads(after) == expected
    except tomllib.TOMLDecodeError:
        return False
