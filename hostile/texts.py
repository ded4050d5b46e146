"""What hostile clients say: sentences of the tiny models' language, and texts that break careless code."""

from __future__ import annotations

import random

MODEL = "tiny"
WORDS = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki")
MARKER = "zqxv"
"""In texts of clients, so that a server that tells them to others or in a status can be caught."""
PLACEHOLDERS = ("%s", "{name}", "%1$d", "{0}", "$(ARG1)")
EDGE_TEXTS = (
    "",
    " ",
    "\ufeff",
    "\x00",
    "\n\r\t",
    "<s> </s> <pad> <unk>",
    "\u0301" * 64,
    "\u202e" + "abc" * 8,
    "\ufdfa" * 18,
    "👩‍👩‍👧‍👦" * 8,
    "\U000e0fff\U0010ffff",
    "{0} {1} %s %d {name} ${x} $(ARG1) $1",
    "\u2581" * 16,
    "ba " * 120,
    "ba " * 4000,
    "x" * 10_001,
)
HOSTILE_NAMES = (
    "../etc",
    "a/../b",
    "/etc/passwd",
    "..",
    "tiny/",
    " ..",
    "%2e%2e",
    "ti\x00ny",
    "\uff0e\uff0e/etc",
    "tiny\n",
    "TINY",
    "x" * 10_240,
    "",
)
VERSIONS = ("1", "", "0", "2", "9999999999", "-1", "1.0", "stable", "\u0661", "x" * 300, MARKER)
"""Where a version is a text: numbers, labels, and what is neither."""


def sentences(order: random.Random, number: int) -> list[str]:
    """Sentences of the words that the tiny models know."""
    return [" ".join(order.choices(WORDS, k=order.randint(1, 8))) for _ in range(number)]


def text(order: random.Random) -> str:
    """A sentence, one with a placeholder, one with the marker, or one that breaks careless code."""
    sentence = sentences(order, 1)[0]
    match order.randrange(6):
        case 0:
            return f"{sentence} {order.choice(PLACEHOLDERS)}"
        case 1:
            return f"{sentence} {MARKER}"
        case 2:
            return order.choice(EDGE_TEXTS)
        case 3:
            return "".join(chr(_code_point(order)) for _ in range(order.randint(1, 40)))
        case _:
            return sentence


def _code_point(order: random.Random) -> int:
    """Any that UTF-8 can write."""
    return order.choice((order.randrange(0x80), order.randrange(0xD800), order.randrange(0xE000, 0x110000)))
