"""What can be wrong with a published model or with where it shall run."""


class ModelError(Exception):
    """Base of this package's errors; the message is one line for the person who runs the server."""


class BundleError(ModelError):
    """A version's files are missing, damaged or do not belong together."""


class ProviderError(ModelError):
    """An execution provider was asked for that is not available here."""


class CertificateError(ModelError):
    """A version does not compute here what its certificate promises."""
