"""From the callers' values to protobuf messages, for every client alike. It sends nothing.

Each function raises InvalidRequestError for a value that no message can carry.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from service.client.errors import InvalidRequestError
from service.client.options import DecodingOptions, Priority, options_message
from service.client.versions import Version, chosen
from service.pb import translation_pb2 as pb

_PRIORITIES = {
    Priority.LOW: pb.PRIORITY_LOW,
    Priority.NORMAL: pb.PRIORITY_UNSPECIFIED,
    Priority.HIGH: pb.PRIORITY_HIGH,
}


def translate_request(
    texts: Sequence[str], *, model: str, version: Version, options: DecodingOptions
) -> pb.TranslateRequest:
    """The message of Translate."""
    with _representable():
        return pb.TranslateRequest(
            model=model,
            **chosen(version),
            texts=texts,
            options=options_message(options),
            priority=_PRIORITIES[options.priority],
        )


def stream_request(
    text: str, *, model: str, version: Version, options: DecodingOptions, include_attention: bool
) -> pb.StreamTranslateRequest:
    """The message of StreamTranslate, and the start of TranslateInteractive.

    Where tokens are drawn and there is no seed, one is drawn here: another server then draws the same.
    """
    if options.sampling is not None and options.seed is None:
        options = replace(options, seed=secrets.randbits(64))
    with _representable():
        return pb.StreamTranslateRequest(
            model=model,
            **chosen(version),
            text=text,
            options=options_message(options),
            include_attention=include_attention,
            priority=_PRIORITIES[options.priority],
        )


def edit_request(prefix: str) -> pb.TranslateInteractiveRequest:
    """A message of TranslateInteractive after the first one."""
    with _representable():
        return pb.TranslateInteractiveRequest(edit=pb.Edit(target_prefix=prefix))


def score_request(
    pairs: Sequence[tuple[str, str]], *, model: str, version: Version, priority: Priority = Priority.NORMAL
) -> pb.ScoreRequest:
    """The message of Score, for pairs of a source and a target."""
    with _representable():
        messages = [pb.ScorePair(source=source, target=target) for source, target in pairs]
        return pb.ScoreRequest(model=model, **chosen(version), pairs=messages, priority=_PRIORITIES[priority])


def get_model_request(model: str, *, version: Version) -> pb.GetModelRequest:
    """The message of GetModel."""
    with _representable():
        return pb.GetModelRequest(model=model, **chosen(version))


@contextmanager
def _representable() -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise InvalidRequestError("the text is not valid Unicode") from None
    except ValueError as error:
        raise InvalidRequestError(f"the request cannot be sent: {error}") from None
