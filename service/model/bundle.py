"""One version's files, each read once and proved against the manifest. It does not know what graphs compute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from service.model.errors import BundleError, ManifestError
from service.model.files import PlainFolder
from service.model.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, parse_manifest
from service.model.private_file import write

MAX_MANIFEST_BYTES = 2**20
SIGNATURE_BYTES = 64


class Bundle:
    """A version's folder, open. What is used is the very content that was hashed. Use it as `with`."""

    def __init__(self, folder: Path) -> None:
        """Raises BundleError where the folder holds anything but the manifest, its signature and the files listed."""
        self._folder = PlainFolder(folder)
        try:
            self.manifest_json = self._read_manifest()
            self.manifest = parse_manifest(self.manifest_json, str(folder))
            if extra := set(self._folder.names()) - self.manifest.files.keys() - {MANIFEST_FILE, SIGNATURE_FILE}:
                raise BundleError(f"{folder}: the manifest does not list {sorted(extra)[0]!r}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._folder.__exit__()

    @property
    def manifest_sha256(self) -> str:
        """Hexadecimal; it stands for the whole version, since the manifest has the hash of every other file."""
        return hashlib.sha256(self.manifest_json).hexdigest()

    def read(self, name: str) -> bytes:
        """A listed file whose size and SHA-256 are those in the manifest; raises BundleError."""
        return b"".join(self._pieces(name))

    def copy(self, name: str, file: BinaryIO) -> None:
        """Append what `read` would give to a private file, without holding it; raises BundleError, and the file then
        has anything."""
        for piece in self._pieces(name):
            write(file, piece)

    def prove(self, name: str) -> None:
        """As `read`, for nothing but its errors."""
        for _ in self._pieces(name):
            pass

    def _pieces(self, name: str) -> Iterator[bytes]:
        """They count only where the last one has been taken without an error."""
        record, folder = self.manifest.files[name], self._folder.path
        size, sha256 = 0, hashlib.sha256()
        for piece in self._folder.pieces(name, most=max(record.size, MAX_MANIFEST_BYTES)):
            size += len(piece)
            sha256.update(piece)
            yield piece
        if size != record.size:
            raise BundleError(f"{folder}: {name} has {size} bytes, the manifest says {record.size}")
        if sha256.hexdigest() != record.sha256:
            raise BundleError(f"{folder}: {name} does not have the SHA-256 in the manifest")

    def read_signature(self) -> bytes | None:
        """The manifest's signature; None where there is none."""
        if SIGNATURE_FILE not in self._folder.names():
            return None
        return self._folder.read(SIGNATURE_FILE, most=SIGNATURE_BYTES)

    def _read_manifest(self) -> bytes:
        try:
            return self._folder.read(MANIFEST_FILE, most=MAX_MANIFEST_BYTES)
        except BundleError as error:
            raise ManifestError(str(error)) from error


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version whose files are all proved; raises BundleError."""
    with Bundle(folder) as bundle:
        for name in bundle.manifest.files:
            bundle.prove(name)
        return bundle.manifest
