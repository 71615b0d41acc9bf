"""Rows out of Parquet and Arrow IPC files, handed on as Arrow record batches."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streammix.errors import StreammixError
from streammix.pipeline.flow import Batch
from streammix.pipeline.sources import cut_error

__all__ = ["ColumnsReader", "arrow_batches", "parquet_batches"]

ROWS_AT_ONCE = 16384

Batches = Iterator[pa.RecordBatch]


class ColumnsReader:
    """Reads rows of a file of columns, from a row number on.

    Parameters
    ----------
    name
        The file's name, for its batches.
    open_batches
        Given a row number, yields the rows from there on.
    offset
        The number of the first row to be read.

    Raises
    ------
    StreammixError
        If the file is damaged or of another format, or has fewer rows than `offset`.
    """

    def __init__(self, name: str, open_batches: Callable[[int], Batches], offset: int) -> None:
        self.name = name
        self.offset = offset
        self._batches = open_batches(offset)
        self._rest: pa.RecordBatch | None = None

    def take(self, limit: int) -> Batch | None:
        """Return the next rows, at most `limit`; None at the end."""
        while self._rest is None or not self._rest.num_rows:
            try:
                self._rest = next(self._batches)
            except StopIteration:
                return None
            except (pa.ArrowException, OSError) as error:
                raise StreammixError(f"{self.name}: damaged or not of its format: {error}") from None
        rows = self._rest.slice(0, limit)
        self._rest = self._rest.slice(rows.num_rows)
        first, self.offset = self.offset, self.offset + rows.num_rows
        return Batch(self.name, np.arange(first, self.offset), rows)


def parquet_batches(path: Path, offset: int, wanted: Collection[str] | None) -> Batches:
    """Yield the `wanted` columns of a Parquet file from a row number on."""
    with pq.ParquetFile(path) as file:
        _check_length(path, file.metadata.num_rows, offset)
        groups = list(range(file.num_row_groups))
        while groups and offset >= (rows := file.metadata.row_group(groups[0]).num_rows):
            offset -= rows
            groups.pop(0)
        columns = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
        for batch in file.iter_batches(ROWS_AT_ONCE, groups, columns) if groups else ():
            skipped = min(offset, batch.num_rows)
            offset -= skipped
            yield batch.slice(skipped)


def arrow_batches(path: Path, offset: int, wanted: Collection[str] | None) -> Batches:
    """Yield the `wanted` columns of an Arrow IPC file (Feather version 2) from a row number on."""
    with pa.memory_map(str(path)) as memory, pa.ipc.open_file(memory) as file:
        columns = [name for name in file.schema.names if wanted is None or name in wanted]
        seen = 0
        for i in range(file.num_record_batches):
            batch = file.get_batch(i).select(columns)
            skipped = min(max(offset - seen, 0), batch.num_rows)
            seen += batch.num_rows
            yield batch.slice(skipped)
        _check_length(path, seen, offset)


def _check_length(path: Path, rows: int, offset: int) -> None:
    if rows < offset:
        raise cut_error(path, rows, "rows", offset)
