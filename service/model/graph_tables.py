"""Finds the large tables of a graph that rows are looked up in, and writes the graph without them.

It reads the wire format of onnx.proto. It does not know where the tables go.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.model.private_file import append, write
from service.model.wire import Content, fields, prefix, written_varint

SMALLEST = 2**20
"""Bytes of a table that is worth it."""
NOWHERE = Path("/dev/null")
"""What the written graph says that its tables lie in: nothing can be read there."""
ITEM_SIZE = 4
"""Bytes of a float32."""

GRAPH = 7
"""Of ModelProto."""
NODE, INITIALIZER, INPUT = 1, 5, 11
"""Of GraphProto."""
NODE_INPUT, OP_TYPE = 1, 4
"""Of NodeProto."""
INPUT_NAME = 1
"""Of ValueInfoProto."""
DIMS, DATA_TYPE, NAME, RAW_DATA, DOC_STRING, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 8, 9, 12, 13, 14
"""Of TensorProto."""
ENTRY_KEY, ENTRY_VALUE = 1, 2
"""Of StringStringEntryProto."""
EXTERNAL = 1
"""Of TensorProto.DataLocation."""
FLOAT = 1
"""Of TensorProto.DataType."""


@dataclass(frozen=True)
class Span:
    """A field of a message, in bytes of the file: from `start` on its number and length, its content from `first` to
    before `last`."""

    start: int
    first: int
    last: int


@dataclass(frozen=True)
class Table:
    """An initializer of the graph, of float32: whole, and its data."""

    name: str
    shape: tuple[int, ...]
    whole: Span
    data: Span


@dataclass(frozen=True)
class Tables:
    """The large tables of the graph at a place of the file, in the order of the file."""

    graph: Span
    tables: Sequence[Table]


def find_tables(content: Content, where: str) -> Tables | None:
    """What `Gather` reads rows from; None where there is nothing such, or the file is not written as exporters do.
    Raises GraphError for what is no graph."""
    graphs = _spans(content, 0, len(content), GRAPH, where)
    if len(graphs) != 1 or graphs[0] is None:
        return None
    graph = graphs[0]
    parts = list(fields(content, graph.first, graph.last, where))
    looked_up = {_looked_up(content, first, last, where) for field, first, last, _ in parts if field == NODE and last}
    given = {
        content[begin:end]
        for field, first, last, _ in parts
        if field == INPUT and last
        for number, begin, end, _ in fields(content, first, last, where)
        if number == INPUT_NAME
    }
    spans = [span for span in _spans(content, graph.first, graph.last, INITIALIZER, where) if span is not None]
    large = [table for span in spans if (table := _table(content, span, where)) is not None]
    names = Counter(table.name for table in large)
    tables = [one for one in large if names[one.name] == 1 and one.name.encode() in looked_up - given]
    return Tables(graph, tables) if tables else None


def write_without(found: Tables, content: Content, source: BinaryIO, target: BinaryIO) -> None:
    """TARGET, an unbuffered file, gets the graph in SOURCE, whose content is given, with tables that are said to lie
    NOWHERE."""
    graph, initializers = found.graph, [_said_elsewhere(table, content) for table in found.tables]
    grown = sum(map(len, initializers)) - sum(table.whole.last - table.whole.start for table in found.tables)
    append(target, source, 0, graph.start)
    write(target, prefix(GRAPH, graph.last - graph.first + grown))
    place = graph.first
    for table, initializer in zip(found.tables, initializers, strict=True):
        append(target, source, place, table.whole.start)
        write(target, initializer)
        place = table.whole.last
    append(target, source, place, len(content))


def _spans(content: Content, start: int, end: int, number: int, where: str) -> list[Span | None]:
    """Of each field with a number and a length; None for a length that is written longer than it need be."""
    found: list[Span | None] = []
    for field, first, last, _ in fields(content, start, end, where):
        if field == number:
            head = prefix(number, last - first)
            is_plain = content[max(0, first - len(head)) : first] == head
            found.append(Span(first - len(head), first, last) if is_plain else None)
    return found


def _looked_up(content: Content, first: int, last: int, where: str) -> bytes | None:
    """The name of what a node looks rows up in."""
    parts = list(fields(content, first, last, where))
    inputs = [content[begin:end] for field, begin, end, _ in parts if field == NODE_INPUT]
    is_lookup = any(field == OP_TYPE and content[begin:end] == b"Gather" for field, begin, end, _ in parts)
    return inputs[0] if is_lookup and inputs else None


def _table(content: Content, whole: Span, where: str) -> Table | None:
    """An initializer, where it has rows, is large, and its data lie in one piece."""
    if whole.last - whole.first < SMALLEST:
        return None
    parts = list(fields(content, whole.first, whole.last, where))
    counts = Counter(field for field, *_ in parts)
    (data,) = _spans(content, whole.first, whole.last, RAW_DATA, where) if counts[RAW_DATA] == 1 else (None,)
    is_plain = counts.keys() <= {DIMS, DATA_TYPE, NAME, RAW_DATA, DOC_STRING} and counts[NAME] == 1
    if data is None or data.last - data.first < SMALLEST or not is_plain:
        return None
    shape = tuple(number for field, _, last, number in parts if field == DIMS and not last)
    dtypes = [number for field, _, _, number in parts if field == DATA_TYPE]
    if dtypes != [FLOAT] or len(shape) != 2 or math.prod(shape) * ITEM_SIZE != data.last - data.first:
        return None
    (name,) = (content[begin:end] for field, begin, end, _ in parts if field == NAME)
    return Table(name.decode(errors="replace"), shape, whole, data)


def _said_elsewhere(table: Table, content: Content) -> bytes:
    tensor = content[table.whole.first : table.data.start] + content[table.data.last : table.whole.last]
    for key, value in (
        ("location", NOWHERE.name),
        ("offset", "0"),
        ("length", str(table.data.last - table.data.first)),
    ):
        entry = prefix(ENTRY_KEY, len(key)) + key.encode() + prefix(ENTRY_VALUE, len(value)) + value.encode()
        tensor += prefix(EXTERNAL_DATA, len(entry)) + entry
    tensor += written_varint(DATA_LOCATION << 3) + written_varint(EXTERNAL)
    return prefix(INITIALIZER, len(tensor)) + tensor
