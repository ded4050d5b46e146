"""What transformers itself makes of some texts: `python -m export.hf.original`, see `export.imports.original`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.hf.tokenize import arguments_of, load_tokenizer
from export.imports.original import Ask, Translation, answer


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


if __name__ == "__main__":
    raise SystemExit(answer(translate))
