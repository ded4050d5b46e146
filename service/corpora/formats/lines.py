"""Files of lines: where extents of them begin and end, and their lines, without ever holding a whole file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from service.corpora.shards import Extent, Unusable

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is not read."""
MAX_EXTENT_BYTES = 64 * 2**20
"""An extent ends after the line that reaches it, so that a shard of long lines does not fill the memory."""


def divide_lines(path: Path, *, max_lines: int, max_bytes: int = MAX_EXTENT_BYTES) -> Iterator[Extent]:
    """Extents of at most max_lines lines each; a last line may lack its end."""
    start = stop = num_lines = 0
    with path.open("rb") as file:
        for stop in _line_ends(file):
            num_lines += 1
            if num_lines == max_lines or stop - start >= max_bytes:
                yield Extent(start, stop, num_lines)
                start, num_lines = stop, 0
    if num_lines:
        yield Extent(start, stop, num_lines)


def read_lines(path: Path, extent: Extent) -> Iterator[bytes | Unusable]:
    """Each line without its end."""
    with path.open("rb") as file:
        file.seek(extent.start)
        while file.tell() < extent.stop:
            line = file.readline(MAX_LINE_BYTES)
            if line.endswith(b"\n") or len(line) < MAX_LINE_BYTES:
                yield line.rstrip(b"\r\n")
            else:
                while (piece := file.readline(MAX_LINE_BYTES)) and not piece.endswith(b"\n"):
                    pass
                yield Unusable(f"the line has more than {MAX_LINE_BYTES} bytes")


def decode(line: bytes | Unusable, *, is_first: bool) -> str | Unusable:
    """The text of a line; the first one of a file may begin with a byte order mark."""
    if isinstance(line, Unusable):
        return line
    try:
        return line.decode("utf-8-sig" if is_first else "utf-8")
    except UnicodeDecodeError:
        return Unusable("the line is not UTF-8")


def _line_ends(file: BinaryIO) -> Iterator[int]:
    position = 0
    is_open = False
    while piece := file.readline(MAX_LINE_BYTES):
        position += len(piece)
        is_open = not piece.endswith(b"\n")
        if not is_open:
            yield position
    if is_open:
        yield position
