"""Debian packages from a mirror: where its index says they are, proved, and the files in them. It reads no texts."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from export.corpora.download import download
from export.errors import CorpusError

INDEX = "dists/bookworm/main/binary-amd64/Packages.xz"
DATA = "data.tar.xz"
AR_MAGIC, AR_HEADER_SIZE = b"!<arch>\n", 60


@dataclass(frozen=True)
class Package:
    """Its name, the address of its .deb and the SHA-256 that the mirror's index promises for it."""

    name: str
    url: str
    sha256: str


def find_packages(base_url: str, names: Sequence[str]) -> list[Package]:
    """Look packages up in a mirror's index of Debian 12, main, amd64.

    Raises CorpusError where the index cannot be read or lacks one of them. The index itself is believed: its
    signature is not checked, so an address should be https or trusted.
    """
    url = f"{base_url}/{INDEX}"
    try:
        stanzas = lzma.decompress(download(url)).decode("utf-8").split("\n\n")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise CorpusError(f"{url} is no index of packages: {error}") from error
    entries = (dict(re.findall(r"^(Package|Filename|SHA256): (\S+)$", stanza, re.MULTILINE)) for stanza in stanzas)
    found = {entry["Package"]: entry for entry in entries if len(entry) == 3}
    if missing := [name for name in names if name not in found]:
        raise CorpusError(f"{url} does not name {', '.join(missing)}")
    return [Package(name, f"{base_url}/{found[name]['Filename']}", found[name]["SHA256"]) for name in names]


def read_package(package: Package, wanted: re.Pattern[str]) -> dict[str, bytes]:
    """The regular files of a package whose paths match `wanted`, by path ("./usr/..."), sorted.

    Raises CorpusError where the package cannot be fetched, is not what the index promises, or is damaged.
    """
    deb = download(package.url)
    if hashlib.sha256(deb).hexdigest() != package.sha256:
        raise CorpusError(f"{package.url} is not the file that the index names: another SHA-256")
    try:
        members = dict(_ar_members(deb))
        if DATA not in members:
            raise ValueError(f"no {DATA} in it")
        with tarfile.open(fileobj=io.BytesIO(members[DATA]), mode="r:xz") as archive:
            files = {
                member.name: reader.read()
                for member in archive
                if wanted.search(member.name) and member.isfile() and (reader := archive.extractfile(member))
            }
    except (ValueError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise CorpusError(f"{package.url} is no Debian package: {error}") from error
    return dict(sorted(files.items()))


def _ar_members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of a Unix `ar` archive; raises ValueError."""
    if not archive.startswith(AR_MAGIC):
        raise ValueError("no ar archive")
    begin = len(AR_MAGIC)
    while begin < len(archive):
        header = archive[begin : begin + AR_HEADER_SIZE]
        begin += AR_HEADER_SIZE
        size = int(header[48:58])
        if begin + size > len(archive):
            raise ValueError("cut short")
        yield header[:16].decode("ascii").rstrip(" /"), archive[begin : begin + size]
        begin += size + size % 2
