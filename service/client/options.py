"""How a translation is searched for: one value for every call, and the message it becomes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from service.client.errors import InvalidRequestError
from service.pb import translation_pb2 as pb


class Priority(StrEnum):
    """Who goes first while the server is full."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True)
class Sampling:
    """How each token is drawn: in proportion to the probabilities, of what top_k, then top_p, then min_p leave."""

    temperature: float = 1.0
    """Divides the log-probabilities first. Greater than 0; below 1 sharpens, above 1 flattens."""
    top_k: int = 0
    """Only the so many most probable tokens; 0: all."""
    top_p: float = 1.0
    """Only the fewest tokens that together have at least this probability. Greater than 0, at most 1: all."""
    min_p: float = 0.0
    """Only tokens with at least this share of the most probable one's probability. From 0: all, to 1."""


@dataclass(frozen=True)
class DecodingOptions:
    """How to search for a translation. The defaults are greedy search; the server refuses what is out of range."""

    max_length: int = 0
    """Most tokens to make, the end of the sentence included, from 1; 0: the model's max_target_length, or
    less where the model bounds a target by its source."""
    seed: int | None = None
    """Draws the tokens of `sampling` and the positions of hard attention, from 0 to 2^64 - 1. None: hard attention
    takes what is most probable, and a seed is drawn for `sampling`."""
    beam_size: int = 0
    """Hypotheses that beam search keeps, up to 32; 0 or 1: greedy search."""
    num_hypotheses: int = 0
    """Translations to return, best first: at most beam_size * patience, or 32 without beam search; 0: one."""
    length_penalty: float | None = None
    """Exponent of the length by which the score divides a log-probability, from 0. None: the model's own, mostly 1."""
    coverage_penalty: float = 0.0
    """Weight of the attention that no target token gave to the source, from 0: none. Needs a model with attention."""
    patience: float = 1.0
    """Beam search ends when beam_size * patience hypotheses have ended. From 1 to 4."""
    min_length: int = 0
    """Fewest tokens before the end of the sentence, from 0 to below max_length."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that the target has already less probable. Greater than 0; 1: no change."""
    no_repeat_ngram_size: int = 0
    """No sequence of so many tokens comes twice; 0: no limit."""
    suppress_tokens: tuple[str, ...] = ()
    """Pieces of the target vocabulary that no target gets."""
    disable_unknown: bool = False
    """Whether no target gets the unknown token."""
    sampling: Sampling | None = None
    """Draws each token. None: takes the most probable one. Not with beam search."""
    target_prefix: str = ""
    """Text that every target begins with."""
    target_prefix_ids: tuple[int, ...] = ()
    """The same as ids of the target vocabulary, such as the steps of a stream that was cut off. Not with
    target_prefix."""
    return_alternatives: bool = False
    """Gives num_hypotheses translations that differ in the first token after the prefix. Not with beam search or
    sampling."""
    min_alternative_expansion_prob: float = 0.0
    """Alternatives whose first token is less probable are left out, from 0 to 1; the best one never is."""
    num_candidates: int = 0
    """Candidates that each step reports, from 0 to 32. Greedy search and sampling only."""
    terms: tuple[tuple[str, ...], ...] = ()
    """What the target must say, each in one of several phrases. Needs beam search."""
    untranslated: tuple[str, ...] = ()
    """Words of the source that the target must have as they are. Needs beam search."""
    ignore_end_of_sequence: bool = False
    """Decodes exactly max_length tokens, for load tests: the end of the sentence never comes."""
    source_language: str = ""
    """Language of the text, of a model that has several, as ListModels gives them. Empty: the model's own."""
    target_language: str = ""
    """Language to translate to, in the same way."""
    priority: Priority = Priority.NORMAL
    """Who goes first while the server is full. Of the request, and of no effect on what it finds."""


GREEDY = DecodingOptions()


def options_message(options: DecodingOptions) -> pb.DecodingOptions:
    """The options that are not the default; the server has the same defaults.

    Raises InvalidRequestError for a text in place of a tuple of texts, which would be read as its characters, and
    ValueError for a value that no message can carry.
    """
    values = _changed(options)
    values.pop("priority", None)
    for texts in (options.suppress_tokens, options.untranslated, options.terms, *options.terms):
        if isinstance(texts, str):
            raise InvalidRequestError(f"the options have the text {texts!r} where a tuple of texts belongs")
    if options.sampling is not None:
        values["sampling"] = pb.Sampling(**_changed(options.sampling))
    values["terms"] = [pb.Term(phrases=phrases) for phrases in options.terms]
    return pb.DecodingOptions(**values)


def _changed(options: DecodingOptions | Sampling) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return {field.name: values[field.name] for field in fields(options) if values[field.name] != field.default}
