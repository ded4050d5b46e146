"""What transformers itself makes of some texts: `python -m export.hf.original`, a process of its own, so that no second
copy of the weights is in memory.

Reads one JSON object from stdin: folder, max_length and beam_size, and texts, each with its source_language and
target_language, which may be empty. Writes one JSON object for each text: source_ids, and the token ids of both
targets, greedy and beam, without the token that the decoder starts from, and the greedy one as text.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.hf.tokenize import arguments_of, load_tokenizer


@dataclass(frozen=True)
class Ask:
    """A text and its languages, empty for those of the tokenizer."""

    text: str
    source_language: str = ""
    target_language: str = ""


@dataclass(frozen=True)
class Translation:
    """A source as transformers reads it, and its two targets."""

    source_ids: tuple[int, ...]
    greedy: tuple[int, ...]
    beam: tuple[int, ...]
    text: str


def translate(folder: Path, asks: Sequence[Ask], *, max_length: int, beam_size: int) -> list[Translation]:
    """One text after another, by `generate` with the generation configuration of the folder."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()  # nosec B615
    model.generation_config.max_length = None

    def one(ask: Ask) -> Translation:
        source_ids, arguments = arguments_of(tokenizer, ask.text, ask.source_language, ask.target_language)

        def generate(num_beams: int) -> list[int]:
            made: Any = model.generate(
                torch.tensor([source_ids]), num_beams=num_beams, do_sample=False, max_new_tokens=max_length, **arguments
            )
            ids: list[int] = made[0].tolist()[1:]
            return ids

        greedy = generate(1)
        text = tokenizer.decode(greedy, skip_special_tokens=True)
        return Translation(tuple(source_ids), tuple(greedy), tuple(generate(beam_size)), text)

    with torch.inference_mode():
        return [one(ask) for ask in asks]


def _main() -> int:
    asked: dict[str, Any] = json.load(sys.stdin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = translate(
            Path(asked["folder"]),
            [Ask(**one) for one in asked["texts"]],
            max_length=asked["max_length"],
            beam_size=asked["beam_size"],
        )
    json.dump([asdict(one) for one in made], sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
