"""What can be wrong with a published model or with where it shall run."""


class ModelError(Exception):
    """Base of this package's errors; the message is one line for the person who runs the server."""


class BundleError(ModelError):
    """A version's files are missing, damaged or do not belong together."""


class ProviderError(ModelError):
    """An execution provider was asked for that is not available here."""


class RunError(ModelError):
    """A run of a graph has failed for a reason that lies in none of its rows."""


class InterruptedRunError(RunError):
    """Another thread has ended the run."""


class DeviceFailedError(RunError):
    """The device has run out of memory, or is in a state in which every later run would fail too."""


class RowError(ModelError):
    """Something is wrong with one row alone."""


class NotFiniteError(RowError):
    """The graph has computed something that is no finite number."""


class TokenRangeError(RowError):
    """A token id is not in the vocabulary; onnxruntime takes a negative one for one of the last."""


class CertificateError(ModelError):
    """A version does not compute here what its certificate promises."""
