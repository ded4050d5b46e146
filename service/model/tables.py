"""The large tables of one version, each once for both of its graphs. It does not know what they hold."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from service.model.graph_tables import Table, find_tables, write_without
from service.model.private_file import append, mapped, private_file

Floats = npt.NDArray[np.float32]
_PIECE = 2**20


@dataclass(frozen=True)
class _Kept:
    file: BinaryIO
    content: mmap.mmap
    array: Floats


class VersionTables:
    """Takes tables out of graphs and maps them, those with the same bytes once. Use it as `with`; the arrays outlast
    it."""

    def __init__(self, scratch: Path | None) -> None:
        """scratch: a folder on the disk that is to hold them, of which only rows that are looked up stay in memory;
        None: they are in memory."""
        self._scratch = scratch
        self._kept: list[_Kept] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for kept in self._kept:
            kept.file.close()

    @contextmanager
    def taken_from(self, graph: BinaryIO, where: str) -> Iterator[tuple[BinaryIO, dict[str, Floats]]]:
        """A file of the graph without its tables, and the tables by name; GRAPH is empty then. Of one without tables,
        itself. Raises GraphError for what is no graph."""
        with private_file("rest", self._scratch) as rest:
            with mapped(graph) as content:
                found = find_tables(content, where)
                if found is not None:
                    write_without(found, content, graph, rest)
            if found is None:
                yield graph, {}
                return
            tables = {table.name: self._array(graph, table) for table in found.tables}
            graph.truncate(0)
            yield rest, tables
        self._forget_pages()

    def _forget_pages(self) -> None:
        """Of what lies on a disk: whoever packed a table for products has read all of it, and will not again."""
        if self._scratch is not None:
            for kept in self._kept:
                kept.content.madvise(mmap.MADV_DONTNEED)

    def _array(self, graph: BinaryIO, table: Table) -> Floats:
        for kept in self._kept:
            if kept.array.shape == table.shape and _is_same(graph, table, kept.file):
                return kept.array
        file = private_file("table", self._scratch)
        append(file, graph, table.data.first, table.data.last)
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array = np.frombuffer(content, np.float32).reshape(table.shape)
        self._kept.append(_Kept(file, content, array))
        return array


def _is_same(graph: BinaryIO, table: Table, file: BinaryIO) -> bool:
    """Read piece by piece, since what is mapped and looked at counts as memory."""
    size = table.data.last - table.data.first
    return all(
        os.pread(graph.fileno(), min(_PIECE, size - place), table.data.first + place)
        == os.pread(file.fileno(), min(_PIECE, size - place), place)
        for place in range(0, size, _PIECE)
    )
