"""Small random models of transformers, as `save_pretrained` writes them, each with a tokenizer of its real class that
was trained on a few sentences. Their weights are so large that targets differ, and end at different lengths."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartTokenizer,
    GenerationConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

SENTENCES = (
    "A man rides a bicycle.",
    "Two dogs play in the snow.",
    "A child is eating an apple at the table.",
    "Three women stand in front of an old house and talk.",
    "People are waiting for the train at a station.",
    "An old man sits on a bench in the park and reads a newspaper.",
)
LAYERS = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 128,
}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def corpus(seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    words = " ".join(SENTENCES).split()
    return [*SENTENCES, *(" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(300))]


EMBEDDINGS = 1.0


def save(
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    end_id: int,
    end_weight: float,
    seed: int = 1,
    turned: bool = False,
    **generation: Any,
) -> Path:
    """Random weights, large ones but for embeddings; the end of the sentence gets more weight than other tokens.
    turned: norms change the signs of half of what they norm, since a token would follow itself for ever where the
    output layer is the embedding, and nothing else stands in between."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                size = EMBEDDINGS if "shared" in name or "embed" in name else 1.5
                parameter.normal_(0.0, size / parameter.shape[-1] ** 0.5)
            else:
                parameter.normal_(float(name.endswith("norm.weight")), 0.2)
                if turned and name.endswith("norm.weight"):
                    parameter.mul_(torch.randint(2, parameter.shape) * 2 - 1)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(0.0, 0.5)
            model.final_logits_bias[0, end_id] += end_weight
        else:
            model.get_output_embeddings().weight[end_id] *= end_weight
    model.generation_config = GenerationConfig(**generation)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_pieces(folder: Path, name: str, seed: int = 0, size: int = 64) -> tuple[Path, list[tuple[str, float]]]:
    """A SentencePiece model, and its pieces of text with their scores."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus(seed)), model_prefix=str(path.with_suffix("")), vocab_size=size, minloglevel=2
    )
    path.with_suffix(".vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return path, [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(3, pieces.get_piece_size())]


def train_bpe(tokenizer: Tokenizer, special: tuple[str, ...], alphabet: list[str] | None = None) -> dict[str, Any]:
    """Vocabulary and merges."""
    trainer = trainers.BpeTrainer(
        vocab_size=330 if alphabet else 90,
        special_tokens=list(special),
        initial_alphabet=alphabet or [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    return {"vocab": trained["vocab"], "merges": [tuple(merge) for merge in trained["merges"]]}


def make_marian(folder: Path, *, languages: tuple[str, ...] = (), **changes: Any) -> Path:
    """As Helsinki-NLP/opus-mt-en-de; with languages as Helsinki-NLP/opus-mt-en-ROMANCE."""
    parts = folder.with_name(folder.name + "-parts")
    source, source_pieces = train_pieces(parts, "source")
    target, target_pieces = train_pieces(parts, "target", seed=1, size=60)
    named = dict.fromkeys(["</s>", "<unk>", *(piece for piece, _ in (*source_pieces, *target_pieces))])
    ids = {piece: i for i, piece in enumerate([*named, *(f">>{code}<<" for code in languages), "<pad>"])}
    (parts / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    tokenizer = MarianTokenizer(str(source), str(target), str(parts / "vocab.json"), source_lang="en", target_lang="de")
    pad = ids["<pad>"]
    config = MarianConfig(
        **LAYERS,
        vocab_size=len(ids),
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=0,
        **changes,
    )
    return save(
        MarianMTModel(config),
        tokenizer,
        folder,
        end_id=0,
        end_weight=3.0,
        bad_words_ids=[[pad]],
        decoder_start_token_id=pad,
        eos_token_id=0,
        pad_token_id=pad,
        forced_eos_token_id=0,
        max_length=100,
        num_beams=4,
        renormalize_logits=True,
    )


def make_m2m100(folder: Path) -> Path:
    """As facebook/m2m100_418M."""
    path, pieces = train_pieces(folder.with_name(folder.name + "-parts"), "spm")
    ids = {piece: i for i, piece in enumerate([*SPECIAL, *(piece for piece, _ in pieces)])}
    vocab = path.with_name("vocab.json")
    vocab.write_text(json.dumps(ids), encoding="utf-8")
    languages = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    tokenizer = M2M100Tokenizer(
        str(vocab), str(path), src_lang="en", tgt_lang="de", additional_special_tokens=list(languages)
    )
    config = M2M100Config(**LAYERS, vocab_size=len(ids) + len(languages) + 8)
    return _save_multilingual(M2M100ForConditionalGeneration(config), tokenizer, folder)


def make_nllb(folder: Path) -> Path:
    """As facebook/nllb-200-distilled-600M."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = NllbTokenizer(**train_bpe(trained, SPECIAL), src_lang="eng_Latn")
    config = M2M100Config(**LAYERS, vocab_size=len(tokenizer) + 2)
    return _save_multilingual(M2M100ForConditionalGeneration(config), tokenizer, folder)


def _save_multilingual(model: Any, tokenizer: Any, folder: Path) -> Path:
    return save(
        model,
        tokenizer,
        folder,
        end_id=2,
        end_weight=2.0,
        turned=True,
        decoder_start_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        max_length=200,
        num_beams=5,
    )


def make_bart(folder: Path) -> Path:
    """As facebook/bart-base."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    tokenizer = BartTokenizer(**train_bpe(trained, (*SPECIAL, "<mask>"), pre_tokenizers.ByteLevel.alphabet()))
    config = BartConfig(**LAYERS, vocab_size=len(tokenizer), forced_bos_token_id=0)
    return save(
        BartForConditionalGeneration(config),
        tokenizer,
        folder,
        end_id=2,
        end_weight=3.0,
        decoder_start_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
        early_stopping=True,
        no_repeat_ngram_size=3,
        num_beams=4,
        max_length=60,
    )


def make_mbart50(folder: Path) -> Path:
    """As facebook/mbart-large-50-many-to-many-mmt."""
    _, pieces = train_pieces(folder.with_name(folder.name + "-parts"), "spm")
    tokenizer = MBart50Tokenizer(vocab=[*((token, 0.0) for token in SPECIAL), *pieces], src_lang="en_XX")
    config = MBartConfig(**LAYERS, vocab_size=len(tokenizer), scale_embedding=True, activation_function="relu")
    return save(
        MBartForConditionalGeneration(config),
        tokenizer,
        folder,
        end_id=2,
        end_weight=3.0,
        decoder_start_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        forced_eos_token_id=2,
        early_stopping="never",
        length_penalty=0.8,
        num_beams=5,
        max_length=200,
    )


def make_t5(folder: Path, *, newer: bool = False, **changes: Any) -> Path:
    """As google-t5/t5-small; newer: as google/mt5-small."""
    _, pieces = train_pieces(folder.with_name(folder.name + "-parts"), "spiece")
    first = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    tokenizer = T5Tokenizer(vocab=[*first, *pieces], extra_ids=10)
    sizes = {"d_model": 64, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    sizes |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, **changes}
    size = (len(tokenizer) // 32 + 1) * 32
    model: Any = (
        MT5ForConditionalGeneration(MT5Config(**sizes, vocab_size=size, feed_forward_proj="gated-gelu"))
        if newer
        else T5ForConditionalGeneration(T5Config(**sizes, vocab_size=size, feed_forward_proj="relu"))
    )
    return save(
        model,
        tokenizer,
        folder,
        end_id=1,
        end_weight=2.0 if newer else 5.0,
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )


MAKERS: dict[str, Callable[[Path], Path]] = {
    "marian": make_marian,
    "m2m100": make_m2m100,
    "nllb": make_nllb,
    "bart": make_bart,
    "mbart50": make_mbart50,
    "t5": make_t5,
    "mt5": lambda folder: make_t5(folder, newer=True),
}
