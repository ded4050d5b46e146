"""What is asked of every library, and what it answers: its module, such as `export.hf.original`, is run by `python -m`
in a process of its own, so that no second copy of the weights is in memory."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ask:
    """A text and its languages, empty for those of the tokenizer."""

    text: str
    source_language: str = ""
    target_language: str = ""


@dataclass(frozen=True)
class Translation:
    """A source as the library reads it, and its two targets."""

    source_ids: tuple[int, ...]
    greedy: tuple[int, ...]
    beam: tuple[int, ...]
    text: str


def answer(translate: Callable[..., list[Translation]]) -> int:
    """Reads one JSON object from stdin: folder, max_length and beam_size, texts, each with its source_language and
    target_language, which may be empty, and whatever else `translate` takes. Writes one JSON object for each text:
    source_ids, and the token ids of both targets, greedy and beam, without the token that the decoder starts from, and
    the greedy one as text."""
    asked: dict[str, Any] = json.load(sys.stdin)
    folder, asks = Path(asked.pop("folder")), [Ask(**one) for one in asked.pop("texts")]
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        made = translate(folder, asks, **asked)
    json.dump([asdict(one) for one in made], sys.stdout)
    return 0
