"""Pages of commands for clients, as blocks that can be run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy" / "clients.md"
LOAD_TESTING = ROOT / "deploy" / "load-testing.md"
PUBLIC, ADMIN = "127.0.0.1:8001", "127.0.0.1:8003"
"""Where a page says that a server is."""
NUMBER = r"-?\d[\d.,]*"


@dataclass(frozen=True)
class Block:
    """Commands, and the lines that they print among others, in order; a number stands for any."""

    commands: str
    printed: tuple[str, ...]

    def missing_in(self, output: str) -> list[str]:
        """The lines that the output lacks."""
        lines, missing = iter(output.splitlines()), []
        for wanted in self.printed:
            pattern = re.compile(NUMBER.join(map(re.escape, re.split(NUMBER, wanted.rstrip()))))
            if not any(pattern.fullmatch(line.rstrip()) for line in lines):
                missing.append(wanted)
        return missing


def blocks_of(section: str, page: Path = PAGE) -> list[Block]:
    """Of the part of a page with a heading."""
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert text is not None
    found = re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", text[1], re.DOTALL | re.MULTILINE)
    return [Block(commands, tuple(printed.splitlines())) for commands, printed in found]
