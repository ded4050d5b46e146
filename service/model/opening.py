"""Opens a published version: everything that is proved of it before it serves. It does not know who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.model.bundle import Bundle
from service.model.certificate import parse_certificate, read_again, replay
from service.model.errors import BundleError, CertificateError, ManifestError
from service.model.greedy import check_results, translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.session import Provider
from service.model.slots import Slots
from service.model.store import StoredVersion
from service.model.text import open_texts

NUM_TRIAL_TOKENS = 4


@dataclass(frozen=True)
class OpenedVersion:
    """A version that may serve. manifest_sha256 stands for all of its files."""

    onnx_model: OnnxModel
    certificate_json: str
    manifest_sha256: str


@dataclass(frozen=True)
class Proof:
    """What is asked of a version: trusted_keys, a file or folder, of which one must have signed it; whether its golden
    sentences are translated again; the manifest_sha256 that it was found good with before, which spares that."""

    trusted_keys: Path | None = None
    verify_certificates: bool = True
    proved_sha256: str | None = None


def open_version(
    version: StoredVersion, proof: Proof, *, providers: Sequence[Provider], num_threads: int
) -> OpenedVersion:
    """Check signature, files and graphs, load them, replay the certificate; raises ModelError."""
    bundle = _accepted(version, proof)
    sha256 = bundle.manifest_sha256
    model = OnnxModel(version.folder, providers=providers, num_threads=num_threads, bundle=bundle)
    name = model.manifest.certificate
    content = model.files[name]
    certificate = parse_certificate(content, version.folder / name)
    if proof.verify_certificates and proof.proved_sha256 is None:
        texts = open_texts(model.manifest, version.folder, model.files)
        try:
            read_again(texts, certificate)
            replay(model, certificate)
        except CertificateError:
            raise
        except Exception as error:
            raise CertificateError(f"{version.folder}: the golden sentences cannot be translated: {error}") from error
    return OpenedVersion(model, content.decode("utf-8"), sha256)


def try_out(opened: OpenedVersion) -> None:
    """Translate the beginning of one sentence, encode the longest source that the manifest promises, of the last token
    of its vocabulary, and make the last token of its longest target; raises CertificateError where that fails."""
    model = opened.onnx_model
    longest = [model.manifest.vocabulary.source_size - 1] * model.manifest.max_source_length
    prefix = [token for token in model.manifest.vocabulary.target_prefix if isinstance(token, int)]
    most = len(prefix) + NUM_TRIAL_TOKENS
    try:
        translate_greedily(model, [model.manifest.empty_source], prefixes=[prefix], max_rows=1, max_length=most)
        slots = Slots(model, 1)
        slots.join(slots.encode([longest]))
        slots.skip(0, model.manifest.max_target_length - 1)
        check_results(slots.step())
    except Exception as error:
        raise CertificateError(f"{model.folder} cannot translate: {error}") from error


def _accepted(version: StoredVersion, proof: Proof) -> Bundle:
    bundle = Bundle(version.folder)
    try:
        manifest = bundle.manifest
        if proof.trusted_keys is not None:
            from service.model.signature import read_trusted_keys, verify_signature  # its library is slow to load

            keys = read_trusted_keys(proof.trusted_keys)
            verify_signature(bundle.manifest_json, bundle.read_signature(), keys, str(version.folder))
        if (manifest.name, manifest.version) != (version.name, version.version):
            raise ManifestError(f"{version.folder} holds {manifest.name} version {manifest.version}")
        if proof.proved_sha256 not in (None, bundle.manifest_sha256):
            raise BundleError(f"{version.folder} has changed since it was proved")
    except BaseException:
        bundle.close()
        raise
    return bundle
