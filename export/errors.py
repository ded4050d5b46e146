"""What can go wrong on the way from a corpus to a published version.

ExportError
    ConfigurationError           a training configuration or the devices asked for are wrong
    CorpusError                  a corpus cannot be read or fetched
    DivergedError                the processes of a training no longer hold the same weights
    CheckpointError              a folder holds no usable checkpoint
    ForeignError                 a mapping does not fit the graphs that it names, or they cannot be served
    PublishError                 a version cannot be placed in the model store
        VersionExistsError       it is there already
    SigningError                 a key cannot be made or read
    VerificationError            the graphs do not compute what the model computes
        NamesDifferError
        AxesDifferError
        ValuesDifferError
        TokensDifferError
        QuantizationError        a graph has what the exact 8-bit form does not cover
        InvarianceError          a result depends on padding, neighbours or place
"""


class ExportError(Exception):
    """Base of this package's errors; the message is one line for the person who runs the command."""


class ConfigurationError(ExportError):
    """A training configuration is wrong, or devices are asked for that are not to be had here."""


class CorpusError(ExportError):
    """A corpus cannot be read or fetched."""


class DivergedError(ExportError):
    """The processes of a training no longer hold the same weights."""


class CheckpointError(ExportError):
    """A folder holds no usable checkpoint."""


class ForeignError(ExportError):
    """A mapping does not fit the graphs and vocabularies that it names, or these cannot be served."""


class PublishError(ExportError):
    """A version cannot be placed in the model store."""


class VersionExistsError(PublishError):
    """The version is in the model store already."""


class SigningError(ExportError):
    """A key cannot be made or read."""


class VerificationError(ExportError):
    """The graphs do not compute what the model computes."""


class NamesDifferError(VerificationError):
    """A graph or manifest names other states or outputs than the model."""


class AxesDifferError(VerificationError):
    """An output has another shape than the model's."""


class ValuesDifferError(VerificationError):
    """A value lies further from the model's than the tolerance, or is not a number."""


class TokensDifferError(VerificationError):
    """Another token is best where the model's margin is no tie."""


class QuantizationError(VerificationError):
    """A graph has what the exact 8-bit form does not cover."""


class InvarianceError(VerificationError):
    """A result depends on padding, on the neighbours in the batch, or on the place of a row."""
