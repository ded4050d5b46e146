"""Makes a folder of transformers of opus-mt's shape (Tiedemann and Thottingal 2020) with random weights:
`python -m benchmarks.opus_folder FOLDER`. With `--small` the same with one thin layer a side and few pieces."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

OPUS: dict[str, Any] = {"vocab_size": 58_101, "d_model": 512, "layers": 6, "heads": 8, "inner": 2048}
SMALL: dict[str, Any] = {"vocab_size": 1_101, "d_model": 64, "layers": 1, "heads": 8, "inner": 64}
NUM_PIECES = 1_000
"""That a text is cut into; all others of the vocabulary are invented, and stand in no text."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    make_folder(options.folder, SMALL if options.small else OPUS)


def make_folder(folder: Path, sizes: dict[str, Any]) -> None:
    """As `save_pretrained` writes it: weights, both configurations, two SentencePiece models and a table of pieces."""
    folder.mkdir(parents=True)
    vocabulary_size = sizes["vocab_size"]
    pad = vocabulary_size - 1
    tokenizer = _tokenizer(folder, vocabulary_size)
    torch.manual_seed(1)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=vocabulary_size,
            d_model=sizes["d_model"],
            encoder_layers=sizes["layers"],
            decoder_layers=sizes["layers"],
            encoder_attention_heads=sizes["heads"],
            decoder_attention_heads=sizes["heads"],
            encoder_ffn_dim=sizes["inner"],
            decoder_ffn_dim=sizes["inner"],
            max_position_embeddings=512,
            activation_function="swish",
            scale_embedding=True,
            pad_token_id=pad,
            eos_token_id=0,
            decoder_start_token_id=pad,
            forced_eos_token_id=0,
        )
    )
    model.generation_config = GenerationConfig(
        bad_words_ids=[[pad]],
        decoder_start_token_id=pad,
        eos_token_id=0,
        pad_token_id=pad,
        forced_eos_token_id=0,
        max_length=512,
        num_beams=4,
        renormalize_logits=True,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(folder: Path, vocabulary_size: int) -> Any:
    letters = random.Random(1)
    words = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(4_000)]
    path = folder / "source.spm"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(words[i : i + 20]) for i in range(0, len(words), 20)),
        model_prefix=str(path.with_suffix("")),
        model_type="bpe",
        vocab_size=NUM_PIECES,
        minloglevel=2,
    )
    path.with_suffix(".model").rename(path)
    path.with_suffix(".vocab").unlink()
    (folder / "target.spm").write_bytes(path.read_bytes())
    cut = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [cut.id_to_piece(i) for i in range(3, NUM_PIECES)]
    invented = (f"\u2581{number}" for number in range(vocabulary_size))
    named = ["</s>", "<unk>", *pieces, *invented][: vocabulary_size - 1]
    ids = {piece: i for i, piece in enumerate([*named, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    return MarianTokenizer(
        str(path), str(folder / "target.spm"), str(folder / "vocab.json"), source_lang="en", target_lang="de"
    )


if __name__ == "__main__":
    main()
