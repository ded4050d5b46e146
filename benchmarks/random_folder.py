"""Makes a folder of transformers with random weights: `python -m benchmarks.random_folder SHAPE FOLDER`, where SHAPE is
opus-mt (Tiedemann and Thottingal 2020), nllb-600M or nllb-1.3B (NLLB team 2022), base (a Marian of the sizes of the
base that is measured elsewhere) or small, a thin Marian."""

from __future__ import annotations

import argparse
import json
import random
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import (
    GenerationConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

Sizes = dict[str, int]
MARIANS: dict[str, Sizes] = {
    "small": {"vocab_size": 1_101, "d_model": 64, "layers": 1, "heads": 8, "inner": 64},
    "base": {"vocab_size": 32_000, "d_model": 512, "layers": 6, "heads": 8, "inner": 2048},
    "opus-mt": {"vocab_size": 58_101, "d_model": 512, "layers": 6, "heads": 8, "inner": 2048},
}
NLLBS: dict[str, Sizes] = {
    "nllb-600M": {"vocab_size": 256_206, "d_model": 1024, "layers": 12, "heads": 16, "inner": 4096},
    "nllb-1.3B": {"vocab_size": 256_206, "d_model": 1024, "layers": 24, "heads": 16, "inner": 8192},
}
NUM_PIECES = 1_000
"""That a text is cut into; all others of the vocabulary are invented, and stand in no text."""


def make(shape: str, folder: Path) -> None:
    """In a process of its own, so that the memory that it takes is given back."""
    command = (sys.executable, "-m", "benchmarks.random_folder", shape, str(folder))
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=(*MARIANS, *NLLBS))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    torch.manual_seed(1)
    if options.shape in MARIANS:
        make_marian(options.folder, MARIANS[options.shape])
    else:
        make_nllb(options.folder, NLLBS[options.shape])


def make_marian(folder: Path, sizes: Sizes) -> None:
    """As `save_pretrained` writes it: weights, both configurations, two SentencePiece models and a table of pieces."""
    pad = sizes["vocab_size"] - 1
    tokenizer = _tokenizer(folder, sizes["vocab_size"])
    model = MarianMTModel(
        MarianConfig(
            **_layers(sizes),
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


def make_nllb(folder: Path, sizes: Sizes) -> None:
    """Its pieces are letters, and invented ones that stand in no text."""
    special = ("<s>", "<pad>", "</s>", "<unk>")
    letters = ("\u2581", *string.ascii_letters, *string.punctuation)
    wanted = sizes["vocab_size"] - len(FAIRSEQ_LANGUAGE_CODES) - 1
    invented = (f"\u2581{number}" for number in range(wanted))
    pieces = [*special, *letters, *invented][:wanted]
    tokenizer = NllbTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], src_lang="eng_Latn")
    model = M2M100ForConditionalGeneration(
        M2M100Config(**_layers(sizes), max_position_embeddings=1024, activation_function="relu", scale_embedding=True)
    )
    model.generation_config = GenerationConfig(
        bos_token_id=0, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1, max_length=200
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _layers(sizes: Sizes) -> Sizes:
    sides = {
        f"{side}_{field}": sizes[ours]
        for side in ("encoder", "decoder")
        for field, ours in (("layers", "layers"), ("attention_heads", "heads"), ("ffn_dim", "inner"))
    }
    return {"vocab_size": sizes["vocab_size"], "d_model": sizes["d_model"], **sides}


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
