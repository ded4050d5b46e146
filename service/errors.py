"""Everything that can go wrong with a request. `interceptors` gives each its gRPC status.

ServiceError
├── InvalidRequestError     the request itself is wrong
├── UnauthenticatedError    nobody knows who calls
├── PermissionDeniedError   who calls may not do this
├── DuplicateRequestError   a request of this id runs already
├── ModelNotFoundError      no such model, or no such version
├── QueueFullError          too many requests wait already
├── DeadlineExceededError   the caller's deadline passed before the translation ended
├── EncodeFailedError       this source, and no other, made the encoder fail
├── ClientStalledError      the client does not read what it asked for
├── StoppingError           the server is stopping
├── EngineFailedError       the model's engine has stopped because of a fault
├── AbandonedError          the server gave the request up, and nobody asked it to
└── InternalError           a fault of the server

What a caller is told of an error is a template with numbers and the name of a field of the protocol in it, so that
nothing that was sent and nothing of the server's inside can be in it.
"""

import re


class ServiceError(Exception):
    """Base; str() is one line for the caller.

    template: a literal of the source; {field} in it is a field of the protocol, every other name one of `numbers`.
    pushback_ms: when the same request may be tried again, in milliseconds; None where trying again is of no use.
    """

    def __init__(
        self, template: str, *, pushback_ms: int | None = None, field: str = "", **numbers: int | float
    ) -> None:
        if not re.fullmatch("[a-z_]*", field) or not all(
            isinstance(number, int | float) for number in numbers.values()
        ):
            raise TypeError("an error tells of fields and numbers alone")
        super().__init__(template.format(field=field, **numbers) if field or numbers else template)
        self.pushback_ms = pushback_ms


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


class QueueFullError(ServiceError):
    """Too many requests wait already."""


class DeadlineExceededError(ServiceError):
    """The caller's deadline passed before the translation ended."""


class EncodeFailedError(ServiceError):
    """This source, and no other, made the encoder fail."""


class ClientStalledError(ServiceError):
    """The client does not read what it asked for."""


class StoppingError(ServiceError):
    """The server is stopping."""


class EngineFailedError(ServiceError):
    """The model's engine has stopped because of a fault."""


class AbandonedError(ServiceError):
    """The server gave the request up, and nobody asked it to."""


class InternalError(ServiceError):
    """A fault of the server; its log tells more."""
