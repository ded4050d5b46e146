"""What a tokenizer of transformers is in a version's terms: its files, and what it puts around a text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.errors import ImportedModelError
from export.imports.decoding import Decoding
from export.imports.tokenization import UNDETERMINED, Tokenization
from service.model.languages import MANY
from service.model.vocabulary_files import Language, LanguageToken, VocabularyFiles

PADDING = 128
"""Vocabularies are padded to a multiple of it at most: a model may have fewer tokens than this without a piece."""
LANGUAGE_TOKEN = re.compile(r"[a-z]{2,3}_[A-Za-z]{2,4}")
MARIAN_LANGUAGE = re.compile(r">>(.+)<<")
SAMPLE = "a"
Affix = tuple[int | LanguageToken, ...]


def read_tokenization(tokenizer: Any, decoding: Decoding, source_size: int, target_size: int) -> Tokenization:
    """Of a tokenizer that was loaded from the folder, for a model of these sizes; raises ImportedModelError."""
    kind = type(tokenizer).__name__
    known = [*tokenizer.get_vocab().values()]
    _require_size(len(known), max(known, default=-1), source_size, kind)
    if kind == "MarianTokenizer":
        return _marian(tokenizer, decoding, source_size, target_size)
    if kind == "M2M100Tokenizer":
        files = {
            "vocabulary.model": Path(tokenizer.spm_file).read_bytes(),
            "vocabulary.json": _pieces({**tokenizer.encoder, **tokenizer.lang_token_to_id}, target_size),
        }
        languages = {code: token_id for code, token_id in tokenizer.lang_code_to_id.items() if token_id < target_size}
        return _of_one(tokenizer, decoding, target_size, "pieces", files, languages)
    if not getattr(tokenizer, "is_fast", False):
        raise ImportedModelError(f"a tokenizer of the kind {kind} is not supported")
    content = json.loads(tokenizer.backend_tokenizer.to_str()) | dict.fromkeys(
        ("post_processor", "truncation", "padding")
    )
    files = {"tokenizer.json": json.dumps(content, ensure_ascii=False).encode()}
    languages = {}
    if hasattr(tokenizer, "src_lang"):
        special = (token for token in tokenizer.all_special_tokens if LANGUAGE_TOKEN.fullmatch(token))
        languages = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
    return _of_one(tokenizer, decoding, target_size, "tokenizers", files, languages)


def _require_size(number: int, largest: int, size: int, kind: str) -> None:
    if largest >= size:
        raise ImportedModelError(f"the {kind} has token {largest}; the model has {size} tokens")
    if size - number >= PADDING:
        raise ImportedModelError(f"the {kind} has {number} tokens, the model {size}: they do not belong together")


def _of_one(
    tokenizer: Any, decoding: Decoding, size: int, kind: Any, files: dict[str, bytes], languages: dict[str, int]
) -> Tokenization:
    """A vocabulary that source and target share; languages by their tokens' ids."""
    named = sorted(files, reverse=True)
    source, target, prefix = _default_languages(tokenizer, decoding, languages)
    return Tokenization(
        VocabularyFiles(
            kind=kind,
            source=named[0],
            target=named[0],
            source_pieces=named[1] if kind == "pieces" else None,
            target_pieces=named[1] if kind == "pieces" else None,
            source_size=size,
            target_size=size,
            begin_id=decoding.begin_id,
            end_id=decoding.end_id,
            unknown_id=tokenizer.unk_token_id,
            control_ids=_controls(tokenizer, languages.values()) if kind == "pieces" else (),
            **_around(tokenizer, languages),
            target_prefix=prefix,
            languages=tuple(
                Language(code=code, source_id=token_id, target_id=token_id if "target_language" in prefix else None)
                for code, token_id in languages.items()
            ),
        ),
        files,
        source,
        target,
    )


def _default_languages(tokenizer: Any, decoding: Decoding, languages: dict[str, int]) -> tuple[str, str, Affix]:
    """The languages of a request that names none, and what targets begin with. A model whose targets begin with a
    language's token in place of a beginning of their own, as mBART's, has one target language."""
    forced: Affix = () if decoding.forced_id is None else (decoding.forced_id,)
    if not languages:
        return UNDETERMINED, UNDETERMINED, forced
    codes = {token_id: code for code, token_id in languages.items()}
    source = tokenizer.src_lang or next(iter(languages))
    if decoding.begin_id in codes:
        return source, codes[decoding.begin_id], forced
    target = tokenizer.tgt_lang or codes.get(-1 if decoding.forced_id is None else decoding.forced_id, MANY)
    return source, target, ("target_language",)


def _around(tokenizer: Any, languages: dict[str, int]) -> dict[str, Affix]:
    """What the tokenizer puts before and after a text, by trying it."""
    bare: list[int] = tokenizer(SAMPLE, add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer(SAMPLE)["input_ids"]
    places = [i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare]
    if not bare or not places:
        raise ImportedModelError(f"what a {type(tokenizer).__name__} puts around a text cannot be found out")
    current = languages.get(tokenizer.src_lang) if languages else None

    def affix(ids: Sequence[int]) -> Affix:
        return tuple("source_language" if token_id == current else token_id for token_id in ids)

    first = places[0]
    return {"source_prefix": affix(whole[:first]), "source_suffix": affix(whole[first + len(bare) :])}


def _marian(tokenizer: Any, decoding: Decoding, source_size: int, target_size: int) -> Tokenization:
    """Two SentencePiece models, whose pieces one table gives ids to, or two."""
    source_model, target_model = (Path(path).read_bytes() for path in tokenizer.spm_files)
    files = {
        "source.model": source_model,
        "target.model": target_model,
        "source.json": _pieces(tokenizer.encoder, source_size),
    }
    target_pieces = "source.json"
    if tokenizer.separate_vocabs:
        _require_size(
            len(tokenizer.target_encoder), max(tokenizer.target_encoder.values()), target_size, "target vocabulary"
        )
        target_pieces = "target.json"
        files[target_pieces] = _pieces(tokenizer.target_encoder, target_size)
    found = {
        match.group(1): token_id
        for piece, token_id in tokenizer.encoder.items()
        if (match := MARIAN_LANGUAGE.fullmatch(piece))
    }
    languages = tuple(Language(code=code, target_id=token_id) for code, token_id in found.items())
    return Tokenization(
        VocabularyFiles(
            kind="pieces",
            source="source.model",
            target="target.model",
            source_pieces="source.json",
            target_pieces=target_pieces,
            source_size=source_size,
            target_size=target_size,
            begin_id=decoding.begin_id,
            end_id=decoding.end_id,
            unknown_id=tokenizer.unk_token_id,
            control_ids=_controls(tokenizer, found.values()),
            source_prefix=("target_language",) if found else (),
            target_prefix=() if decoding.forced_id is None else (decoding.forced_id,),
            languages=languages,
            languages_in_text=bool(found),
        ),
        files,
        tokenizer.source_lang or UNDETERMINED,
        MANY if found else tokenizer.target_lang or UNDETERMINED,
    )


def _controls(tokenizer: Any, languages: Any) -> tuple[int, ...]:
    return tuple(sorted({*tokenizer.all_special_ids, *languages}))


def _pieces(ids: dict[str, int], size: int) -> bytes:
    kept = {piece: token_id for piece, token_id in ids.items() if token_id < size}
    return json.dumps(kept, ensure_ascii=False).encode()
