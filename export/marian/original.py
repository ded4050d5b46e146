"""What Marian itself makes of some texts: `python -m export.marian.original`, see `export.imports.original`.

The folder is the MODEL.npz. It is told besides: vocabs, two SentencePiece models, and normalize, Marian's exponent of
the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from export.imports.original import Ask, Translation, answer


def translate(
    model: Path,
    asks: Sequence[Ask],
    *,
    vocabs: Sequence[Path | str],
    normalize: float,
    max_length: int | None,
    beam_size: int,
) -> list[Translation]:
    """One text after another, each alone in its batch; without a max_length as long as Marian lets them become."""
    from pymarian import Translator

    source, target = (sentencepiece.SentencePieceProcessor(model_file=str(path)) for path in vocabs)

    def translator(size: int) -> Any:
        return Translator(
            models=str(model),
            vocabs=[str(path) for path in vocabs],
            beam_size=size,
            normalize=normalize,
            no_spm_decode=True,
            cpu_threads=1,
            mini_batch=1,
            maxi_batch=1,
            workspace=256,
            quiet=True,
            quiet_translation=True,
        )

    greedy, beam = translator(1), translator(beam_size)

    def ids(one: Any, text: str, source_length: int) -> tuple[int, ...]:
        limit = {} if max_length is None else {"max-length-factor": (max_length - 0.5) / source_length}
        found = [target.piece_to_id(piece) for piece in one.translate(text, **limit).strip("\n").split(" ") if piece]
        most = max_length or DEFAULT_LENGTH_FACTOR * source_length
        return (*found, target.eos_id()) if len(found) < most else tuple(found)

    def translated(ask: Ask) -> Translation:
        source_ids = (*source.encode(ask.text), source.eos_id())
        made = ids(greedy, ask.text, len(source_ids))
        text = target.decode([token_id for token_id in made if token_id != target.eos_id()])
        return Translation(source_ids, made, ids(beam, ask.text, len(source_ids)), text)

    return [translated(ask) for ask in asks]


DEFAULT_LENGTH_FACTOR = 3
"""Most target tokens for each one of the source, as Marian's decoder has it where nobody says otherwise."""


if __name__ == "__main__":
    raise SystemExit(answer(translate))
