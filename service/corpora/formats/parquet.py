"""Parquet tables: a text in one column, its translation in a column of its own. Row groups are read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from service.corpora.errors import CorpusError
from service.corpora.formats.format import Fields
from service.corpora.shards import Extent, Text, Translation, Unusable

BATCH_ROWS = 1024
"""Rows that are held at once, with all their columns."""


class Parquet:
    """Every row comes out as it was, with one column more, which is null where there is no translation."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def divide(self, path: Path, *, max_lines: int) -> Iterator[Extent]:
        try:
            with pq.ParquetFile(path) as file:
                self._check(path, file.schema_arrow)
                num_rows = file.metadata.num_rows
        except pa.ArrowException as error:
            raise CorpusError(f"{path} is no Parquet file: {error}") from None
        for start in range(0, num_rows, max_lines):
            stop = min(start + max_lines, num_rows)
            yield Extent(start, stop, stop - start)

    def read(self, path: Path, extent: Extent) -> Iterator[Text]:
        with pq.ParquetFile(path) as file:
            for batch in _batches(file, extent, [self._fields.text]):
                for value in batch.column(0).cast(pa.string()).cast(pa.binary()).to_pylist():
                    yield _decode(value)

    def write(self, path: Path, extent: Extent, translations: Sequence[Translation], target: Path) -> None:
        texts = iter(translations)
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow.append(pa.field(self._fields.translation, pa.string()))
            with pq.ParquetWriter(target, schema) as writer:
                for batch in _batches(file, extent):
                    written = [_or_null(next(texts)) for _ in range(batch.num_rows)]
                    columns = [*batch.columns, pa.array(written, pa.string())]
                    writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))

    def _check(self, path: Path, schema: pa.Schema) -> None:
        name = self._fields.text
        if name not in schema.names:
            raise CorpusError(f"{path} has no column {name!r}; there are {', '.join(schema.names)}")
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise CorpusError(f"{path}: the column {name!r} has {kind}, and no texts")
        if self._fields.translation in schema.names:
            raise CorpusError(f"{path} has a column {self._fields.translation!r} already")


def _batches(file: pq.ParquetFile, extent: Extent, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of an extent; of row groups before it nothing is read but their number of rows."""
    position = 0
    for group in range(file.num_row_groups):
        num_rows = file.metadata.row_group(group).num_rows
        if position < extent.stop and position + num_rows > extent.start:
            at = position
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                first, last = max(extent.start - at, 0), min(extent.stop - at, batch.num_rows)
                if first < last:
                    yield batch.slice(first, last - first)
                at += batch.num_rows
        position += num_rows


def _decode(value: bytes | None) -> Text:
    if value is None:
        return Unusable("the row has no text")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return Unusable("the text is not UTF-8")


def _or_null(translation: Translation) -> str | None:
    return None if isinstance(translation, Unusable) else translation
