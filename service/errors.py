"""Everything that can go wrong with a request. `interceptors` gives each its gRPC status.

ServiceError
├── InvalidRequestError     the request itself is wrong
├── UnauthenticatedError    nobody knows who calls
├── PermissionDeniedError   who calls may not do this
├── DuplicateRequestError   a request of this id runs already
├── ModelNotFoundError      no such model, or no such version
├── ModelLoadingError       the version is known, and not ready yet
├── NotPossibleError        what the caller asks for cannot be done as things are
├── QueueFullError          too many requests wait already
├── DeadlineExceededError   the caller's deadline passed before the translation ended
├── EncodeFailedError       this source, and no other, made the encoder fail
├── RequestFailedError      this request, and no other, made a step fail
├── StepTimeoutError        the step that this request took part in did not end in time
├── ClientStalledError      the client does not read what it asked for
├── StoppingError           the server is stopping
├── EngineFailedError       the model's engine has stopped because of a fault
├── AbandonedError          the server gave the request up, and nobody asked it to
├── AttemptsExhaustedError  the request has been tried too often already
└── InternalError           a fault of the server

What a caller is told of an error is a template with numbers, the name of a field of the protocol and languages that the
model lists anyway in it, so that nothing that was sent and nothing of the server's inside can be in it.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Self

MOST_LANGUAGE_BYTES = 4096
"""Of the languages in one message: NLLB's 202 fit twice, and half of what a client takes in trailing metadata is left
(gRPC: 8 KB). GetModel names them all."""
LANGUAGE = re.compile("[A-Za-z0-9_@-]{1,32}")


class ServiceError(Exception):
    """Base; str() is one line for the caller.

    template: a literal of the source; {field} in it is a field of the protocol, {languages} the codes of a model's
    languages, every other name one of `numbers`.
    pushback_ms: when the same request may be tried again, in milliseconds; None where trying again is of no use.
    """

    def __init__(
        self,
        template: str,
        *,
        pushback_ms: int | None = None,
        field: str = "",
        languages: Sequence[str] = (),
        **numbers: int | float,
    ) -> None:
        if (
            not re.fullmatch("[a-z_]*", field)
            or not all(map(LANGUAGE.fullmatch, languages))
            or not all(isinstance(number, int | float) for number in numbers.values())
        ):
            raise TypeError("an error tells of fields, languages and numbers alone")
        filled = bool(field or languages or numbers)
        super().__init__(template.format(field=field, languages=_named(languages), **numbers) if filled else template)
        self.pushback_ms = pushback_ms

    def again(self, *, pushback_ms: int | None = None) -> Self:
        """The same error for another caller, with another pushback if there is one."""
        return type(self)(*self.args, pushback_ms=self.pushback_ms if pushback_ms is None else pushback_ms)


def _named(languages: Sequence[str]) -> str:
    """As many as there is room for, with commas between them."""
    ends = accumulate(len(code) + 2 for code in languages)
    fitting = sum(end <= MOST_LANGUAGE_BYTES for end in ends)
    return ", ".join((*languages[:fitting], *(["..."] if fitting < len(languages) else [])))


class InvalidRequestError(ServiceError):
    """The request itself is wrong."""


class ModelNotFoundError(ServiceError):
    """No such model, or no such version of it."""


class UnauthenticatedError(ServiceError):
    """Nobody knows who calls."""


class PermissionDeniedError(ServiceError):
    """Who calls may not do this."""


class DuplicateRequestError(ServiceError):
    """A request of this id, of the same caller, runs already."""


class ModelLoadingError(ServiceError):
    """The version is known, and not ready yet."""


class NotPossibleError(ServiceError):
    """What the caller asks for cannot be done as things are; the message says why."""


class QueueFullError(ServiceError):
    """Too many requests wait already."""


class DeadlineExceededError(ServiceError):
    """The caller's deadline passed before the translation ended."""


class EncodeFailedError(ServiceError):
    """This source, and no other, made the encoder fail."""


class RequestFailedError(ServiceError):
    """This request, and no other, made a step fail."""


class StepTimeoutError(ServiceError):
    """The step that this request took part in did not end in time."""


class ClientStalledError(ServiceError):
    """The client does not read what it asked for."""


class StoppingError(ServiceError):
    """The server is stopping."""


class EngineFailedError(ServiceError):
    """The model's engine has stopped because of a fault."""


class AttemptsExhaustedError(ServiceError):
    """The request has been tried too often already: no server tries it again."""


class AbandonedError(ServiceError):
    """The server gave the request up, and nobody asked it to."""


class InternalError(ServiceError):
    """A fault of the server; its log tells more."""
