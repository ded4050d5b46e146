"""Signs published versions, and makes the keys for it: Ed25519 (RFC 8032), keys in PEM."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from export.errors import SigningError
from service.model.bundle import Bundle
from service.model.manifest import MANIFEST_FILE, SIGNATURE_FILE
from service.model.signature import read_trusted_keys, verify_signature


def make_key(path: Path) -> Path:
    """Write a new private key to PATH, for its owner's eyes alone, and its public key beside it, whose path is given
    back; raises SigningError where either is there already."""
    public_path = path.with_name(f"{path.stem}.pub.pem")
    key = Ed25519PrivateKey.generate()
    _create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _create(public_path, public, mode=0o644)
    return public_path


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises SigningError."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path} holds no private key in PEM without a password") from error
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path} holds a key that is not Ed25519")
    return key


def sign_folder(folder: Path, key: Ed25519PrivateKey) -> None:
    """Write the signature of FOLDER/manifest.json beside it."""
    (folder / SIGNATURE_FILE).write_bytes(key.sign((folder / MANIFEST_FILE).read_bytes()))


def sign_version(folder: Path, key: Ed25519PrivateKey) -> None:
    """Prove a published version and sign it, in place of whoever signed it before; raises BundleError."""
    with Bundle(folder) as bundle:
        for name in bundle.manifest.files:
            bundle.read(name)
        signature = key.sign(bundle.manifest_json)
    with tempfile.TemporaryDirectory(prefix=".signing-", dir=folder.parent) as workshop:
        made = Path(workshop) / SIGNATURE_FILE
        made.write_bytes(signature)
        made.replace(folder / SIGNATURE_FILE)


def verify_version(folder: Path, keys: Path) -> None:
    """Prove a published version and its signature; raises BundleError."""
    with Bundle(folder) as bundle:
        verify_signature(bundle.manifest_json, bundle.read_signature(), read_trusted_keys(keys), str(folder))
        for name in bundle.manifest.files:
            bundle.read(name)


def _create(path: Path, content: bytes, *, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise SigningError(f"{path} exists already; a key is never replaced") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
