"""How transformers searches with a model, by its generation configuration, in our terms."""

from __future__ import annotations

from typing import Any, Literal

from export.errors import ImportedModelError
from export.imports.decoding import Decoding
from service.model.manifest import Search

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "exponential_decay_length_penalty": (),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ({}, []),
    "guidance_scale": (1.0,),
    "diversity_penalty": (0.0,),
    "num_beam_groups": (1,),
    "constraints": ([],),
    "force_words_ids": ([],),
    "penalty_alpha": (),
    "stop_strings": ([],),
    "min_new_tokens": (0,),
    "remove_invalid_values": (False,),
    "watermarking_config": (),
}
"""What changes a target in ways that we do not have, with the values besides None that leave it out."""
BEAM_ENDS: dict[Any, Literal["full", "improvement", "bound"]] = {True: "full", False: "improvement", "never": "bound"}


def read_decoding(generation: Any) -> Decoding:
    """Of a GenerationConfig; raises ImportedModelError for what we cannot do as transformers does it."""
    for field, neutral in NEUTRAL.items():
        value = getattr(generation, field, None)
        if value is not None and value not in neutral:
            raise ImportedModelError(f"{field} = {value!r} in the generation configuration is not supported")
    end_id = _only(generation.eos_token_id, "eos_token_id")
    begin_id = generation.decoder_start_token_id
    if begin_id is None:
        begin_id = generation.bos_token_id
    if begin_id is None or end_id is None:
        raise ImportedModelError("the configuration has no decoder_start_token_id, or no eos_token_id")
    forced_end = _only(generation.forced_eos_token_id, "forced_eos_token_id")
    if forced_end not in (None, end_id):
        raise ImportedModelError("forced_eos_token_id is not eos_token_id, which is not supported")
    suppressed = {*(generation.suppress_tokens or ()), *map(_bad_word, generation.bad_words_ids or ())}
    renormalized = bool(generation.renormalize_logits)
    rules = generation.no_repeat_ngram_size or (generation.min_length or 0) > 1
    if renormalized and rules:
        raise ImportedModelError("renormalize_logits with no_repeat_ngram_size or min_length is not supported")
    length_penalty = 1.0 if generation.length_penalty is None else generation.length_penalty
    if length_penalty < 0.0:
        raise ImportedModelError(f"length_penalty = {length_penalty} is below 0, which is not supported")
    ids = tuple(sorted(suppressed))
    return Decoding(
        search=Search(
            beam_end=BEAM_ENDS[generation.early_stopping or False],
            length_penalty=length_penalty,
            min_length=max(0, (generation.min_length or 0) - 1),
            no_repeat_ngram_size=generation.no_repeat_ngram_size or 0,
            suppressed_ids=() if renormalized else ids,
            forced_end=forced_end is not None,
        ),
        begin_id=begin_id,
        end_id=end_id,
        forced_id=generation.forced_bos_token_id,
        impossible_ids=ids if renormalized else (),
        longest=None if generation.max_length is None else generation.max_length - 1,
    )


def _only(value: int | list[int] | None, field: str) -> int | None:
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise ImportedModelError(f"{field} has several tokens, {value}; one is supported")
    return value[0]


def _bad_word(ids: list[int]) -> int:
    if len(ids) != 1:
        raise ImportedModelError(f"bad_words_ids has a word of several tokens, {ids}, which is not supported")
    return ids[0]
