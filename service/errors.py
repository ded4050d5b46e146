"""Everything that can go wrong with a request. `interceptors` gives each its gRPC status.

ServiceError
├── InvalidRequestError     the request itself is wrong
├── ModelNotFoundError      no such model, or no such version
├── QueueFullError          too many requests wait already
├── DeadlineExceededError   the caller's deadline passed before the translation ended
├── EncodeFailedError       this source, and no other, made the encoder fail
├── StoppingError           the server is stopping
├── EngineFailedError       the model's engine has stopped because of a fault
└── AttemptsExhaustedError  the request has been tried too often already
"""


class ServiceError(Exception):
    """Base; the message is one line for the caller and tells nothing of the server's inside.

    pushback_ms: when the same request may be tried again, in milliseconds; None where trying again is of no use.
    """

    def __init__(self, message: str, *, pushback_ms: int | None = None) -> None:
        super().__init__(message)
        self.pushback_ms = pushback_ms


class InvalidRequestError(ServiceError):
    """The request itself is wrong."""


class ModelNotFoundError(ServiceError):
    """No such model, or no such version of it."""


class QueueFullError(ServiceError):
    """Too many requests wait already."""


class DeadlineExceededError(ServiceError):
    """The caller's deadline passed before the translation ended."""


class EncodeFailedError(ServiceError):
    """This source, and no other, made the encoder fail."""


class StoppingError(ServiceError):
    """The server is stopping."""


class EngineFailedError(ServiceError):
    """The model's engine has stopped because of a fault."""


class AttemptsExhaustedError(ServiceError):
    """The request has been tried too often already: no server tries it again."""
