"""manifest.sig: the Ed25519 signature (RFC 8032) of manifest.json, byte for byte, by somebody whom the server trusts.

The manifest has the hash of every other file, so that the signature covers the whole version. `openssl pkeyutl -verify
-pubin -inkey KEY.pub -rawin -in manifest.json -sigfile manifest.sig` checks the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from service.model.errors import SignatureError

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def read_trusted_keys(path: Path) -> list[Ed25519PublicKey]:
    """The public keys in a PEM file, or in all files of a folder; raises SignatureError where there is none, or one of
    another kind."""
    try:
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        contents = {file: file.read_bytes() for file in files}
    except OSError as error:
        raise SignatureError(f"{path}: trusted keys cannot be read: {error.strerror}") from error
    keys = [_parse(pem, file) for file, content in contents.items() for pem in _PEM.findall(content)]
    if not keys:
        raise SignatureError(f"{path} has no public key in PEM")
    return keys


def verify_signature(
    manifest_json: bytes, signature: bytes | None, keys: Sequence[Ed25519PublicKey], where: str
) -> None:
    """Raises SignatureError unless one of the keys has signed the manifest."""
    if signature is None:
        raise SignatureError(f"{where}: the version is not signed")
    for key in keys:
        try:
            key.verify(signature, manifest_json)
        except InvalidSignature:
            continue
        return
    raise SignatureError(f"{where}: no trusted key has signed this manifest")


def _parse(pem: bytes, file: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"{file} holds a damaged public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{file} holds a key that is not Ed25519")
    return key
