"""What a request may be, decided before anything of it is read: names, counts and bytes, each with its limit named.
What depends on a model, such as its longest source, is decided where the model is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidRequestError
from service.model.manifest import MAX_VERSION, NAME_PATTERN
from service.pb import translation_pb2 as pb
from service.pb.load_test_pb2 import StreamEmptyStepsRequest
from service.pb.management_pb2 import ListVersionsRequest

MOST_BYTES = 4
"""Of one character in UTF-8."""
MAX_PHRASES = 16
"""Of one term."""
MAX_SUPPRESSED = 1024
MAX_PREFIX_IDS = 4096
EMPTY_STEP_RANGES = (("num_steps", 1, 1_000_000), ("step_bytes", 0, 65_536), ("steps_per_second", 0, 10_000))
"""The least and the most of each field of a load test's stream."""
MAX_LANGUAGE_BYTES = 32
"""Of a language's code."""
MAX_OPTION_BYTES = 8192
"""UTF-8 bytes of all texts in the options together: they are read for every text of a request."""

MODEL_FIELDS = ("model", "model_name", "name")
"""What the field is called that names a model: the last two in the Open Inference Protocol."""


def model_of(message: Any) -> str | None:
    """The model that a message asks for; None where it asks for none."""
    if isinstance(message, pb.TranslateInteractiveRequest):
        return message.start.model if message.HasField("start") else None
    named = (field for field in MODEL_FIELDS if field in message.DESCRIPTOR.fields_by_name)
    return next((getattr(message, field) for field in named), None)


@dataclass(frozen=True)
class Limits:
    """The limits that are settings."""

    max_texts: int
    max_text_bytes: int

    def check(self, message: Any) -> None:
        """Raises InvalidRequestError."""
        if isinstance(message, pb.TranslateInteractiveRequest):
            self._check_interactive(message)
            return
        self._check_model(message)
        match message:
            case pb.TranslateRequest():
                _require_between("texts", len(message.texts), 1, self.max_texts)
                self._check_texts("texts", message.texts)
            case pb.StreamTranslateRequest():
                self._check_texts("text", (message.text,))
            case pb.ScoreRequest():
                _require_between("pairs", len(message.pairs), 1, self.max_texts)
                self._check_texts("source", (pair.source for pair in message.pairs))
                self._check_texts("target", (pair.target for pair in message.pairs))
                _check_languages(message)
            case StreamEmptyStepsRequest():
                _check_empty_steps(message)
        if isinstance(message, pb.TranslateRequest | pb.StreamTranslateRequest) and message.HasField("options"):
            _check_options(message.options)

    def _check_interactive(self, message: pb.TranslateInteractiveRequest) -> None:
        if message.HasField("start"):
            self.check(message.start)
        _require_bytes("target_prefix", (message.edit.target_prefix,), MAX_OPTION_BYTES)

    def _check_model(self, message: Any) -> None:
        if "model" not in message.DESCRIPTOR.fields_by_name:
            return
        name = message.model
        if not name and isinstance(message, ListVersionsRequest):
            return
        if not name:
            raise InvalidRequestError("no model is named; ListModels tells which there are")
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidRequestError("the model's name cannot be one; ListModels tells which there are")
        if "version" in message.DESCRIPTOR.fields_by_name and not 0 <= message.version <= MAX_VERSION:
            raise InvalidRequestError(
                "version is {value}; it must be 0 for the newest, or from 1 to {most}",
                value=message.version,
                most=MAX_VERSION,
            )

    def _check_texts(self, field: str, texts: Iterable[str]) -> None:
        for text in texts:
            if len(text) * MOST_BYTES > self.max_text_bytes:
                _require_bytes(field, (text,), self.max_text_bytes)


def _check_options(options: pb.DecodingOptions) -> None:
    _require_between("suppress_tokens", len(options.suppress_tokens), 0, MAX_SUPPRESSED)
    _require_between("target_prefix_ids", len(options.target_prefix_ids), 0, MAX_PREFIX_IDS)
    for term in options.terms:
        _require_between("phrases", len(term.phrases), 0, MAX_PHRASES)
    phrases = [phrase for term in options.terms for phrase in term.phrases]
    _check_languages(options)
    texts = [options.target_prefix, *options.suppress_tokens, *options.untranslated, *phrases]
    _require_bytes("options", texts, MAX_OPTION_BYTES)


def _check_languages(message: pb.DecodingOptions | pb.ScoreRequest) -> None:
    for field in ("source_language", "target_language"):
        _require_bytes(field, (getattr(message, field),), MAX_LANGUAGE_BYTES)


def _check_empty_steps(message: StreamEmptyStepsRequest) -> None:
    for field, least, most in EMPTY_STEP_RANGES:
        if not least <= (value := getattr(message, field)) <= most:
            raise InvalidRequestError(
                "{field} is {value}; it must be from {least} to {most}",
                field=field,
                value=value,
                least=least,
                most=most,
            )


def _require_between(field: str, number: int, fewest: int, most: int) -> None:
    if not fewest <= number <= most:
        raise InvalidRequestError(
            "{field}: there are {number}; there must be from {fewest} to {most}",
            field=field,
            number=number,
            fewest=fewest,
            most=most,
        )


def _require_bytes(field: str, texts: Sequence[str], most: int) -> None:
    number = sum(len(text.encode()) for text in texts)
    if number > most:
        raise InvalidRequestError(
            "{field}: the text has {number} bytes of UTF-8; at most {most} are taken",
            field=field,
            number=number,
            most=most,
        )
