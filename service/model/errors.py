"""What can be wrong with a published model or with where it shall run.

ModelError
├── BundleError            a version's files are missing, damaged or do not belong together
│   ├── ManifestError      manifest.json is not what a version's manifest is
│   ├── SignatureError     nobody who is trusted has signed the manifest
│   ├── GraphError         a graph cannot be loaded, or is not what the manifest says
│   └── VocabularyError    a vocabulary cannot be loaded, or is not what the manifest says
├── NoRoomError            there is no room for what is needed while a version is loaded
├── ProviderError          an execution provider is not available here
└── CertificateError       a version does not compute here what its certificate promises
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Why a version cannot be served: all that a caller is told of it; the log has the particulars."""

    MISSING = "missing"
    MANIFEST = "manifest"
    FILE = "file"
    SIGNATURE = "signature"
    GRAPH = "graph"
    VOCABULARY = "vocabulary"
    CERTIFICATE = "certificate"
    PROVIDER = "provider"
    MEMORY = "memory"
    TIMEOUT = "timeout"
    CRASH = "crash"
    INTERNAL = "internal"


class ModelError(Exception):
    """Base of this package's errors; the message is one line for the person who runs the server."""

    reason: ClassVar[Reason] = Reason.INTERNAL


class BundleError(ModelError):
    """A version's files are missing, damaged or do not belong together."""

    reason = Reason.FILE


class ManifestError(BundleError):
    """manifest.json is not what a version's manifest is."""

    reason = Reason.MANIFEST


class SignatureError(BundleError):
    """Nobody who is trusted has signed the manifest."""

    reason = Reason.SIGNATURE


class GraphError(BundleError):
    """A graph cannot be loaded, reaches outside of its files, or is not what the manifest says."""

    reason = Reason.GRAPH


class VocabularyError(BundleError):
    """A vocabulary cannot be loaded, or is not what the manifest says."""

    reason = Reason.VOCABULARY


class NoRoomError(ModelError):
    """There is no room for what is needed while a version is loaded."""

    reason = Reason.MEMORY


class ProviderError(ModelError):
    """An execution provider was asked for that is not available here."""

    reason = Reason.PROVIDER


class RunError(ModelError):
    """A run of a graph has failed for a reason that lies in none of its rows."""


class InterruptedRunError(RunError):
    """Another thread has ended the run."""


class DeviceFailedError(RunError):
    """The device has run out of memory, or is in a state in which every later run would fail too."""


class RowError(ModelError):
    """Something is wrong with one row alone."""


class NotFiniteError(RowError):
    """The graph, or a decoding option on its results, has made something that is no finite number."""


class ContradictionError(RowError):
    """The results of one step contradict each other."""


class TokenRangeError(RowError):
    """A token id is not in the vocabulary; onnxruntime takes a negative one for one of the last."""


class CertificateError(ModelError):
    """A version does not compute here what its certificate promises."""

    reason = Reason.CERTIFICATE
