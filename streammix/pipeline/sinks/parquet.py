"""Parquet files in a directory, each with the rows between two checkpoints.

A file is named by the number of records that stand before it in the whole stream, refused ones counted, and
appears under that name only when it is whole and durable. So a run that is resumed removes the files from its
checkpoint's record on, and writes them again.
"""

import itertools
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streammix.arrow import array_of
from streammix.errors import ConfigError
from streammix.pipeline.flow import Scored, joined
from streammix.pipeline.sinks.ndjson import sync_directory

__all__ = ["ParquetSink", "is_scored_file", "open_writer", "schema_of", "to_table"]

ROWS_A_GROUP = 1 << 16
SCHEMA = pa.schema(  # nothing is ever missing: a column that can't be takes less to write
    [
        pa.field("position", pa.struct([("source", pa.string()), ("offset", pa.int64())]), nullable=False),
        pa.field("component", pa.int32(), nullable=False),
        pa.field("responsibilities", pa.list_(pa.float64()), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)
LABELLED = SCHEMA.append(pa.field("label", pa.int64(), nullable=False)).append(
    pa.field("outlier", pa.float64(), nullable=False)
)
_NAME = re.compile(r"scored-([0-9]{12,})\.parquet(\.tmp)?")

log = logging.getLogger("streammix")


def schema_of(has_labels: bool) -> pa.Schema:
    """Return the schema of scored records: those of an `AutoMixture` have a label and are outliers more or less."""
    return LABELLED if has_labels else SCHEMA


def to_table(rows: Scored) -> pa.Table:
    """Return scored records as an Arrow table.

    Examples
    --------
    >>> table = to_table(Scored("a.csv", np.array([7]), np.array([[0.25, 0.75]]), np.array([-1.5])))
    >>> table.to_pylist()[0]["position"], table.to_pylist()[0]["score"]
    ({'source': 'a.csv', 'offset': 7}, 1.5)
    """
    n, k = rows.responsibilities.shape
    position = [pa.repeat(pa.scalar(rows.source), n), array_of(rows.offsets)]
    responsibilities = pa.ListArray.from_arrays(
        array_of(np.arange(0, n * k + 1, k, dtype=np.int32)),
        array_of(rows.responsibilities.reshape(-1)),
    )
    columns = [
        pa.StructArray.from_arrays(position, fields=list(SCHEMA.field("position").type)),
        array_of(rows.components),
        responsibilities,
        array_of(rows.scores),
    ]
    if rows.labels is not None and rows.outliers is not None:
        columns += [pa.array(rows.labels), pa.array(rows.outliers)]
    return pa.Table.from_arrays(columns, schema=schema_of(rows.labels is not None))


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer of scored records, with the encodings that suit them.

    Numbers that fill a double's digits don't compress for what it costs; positions, which only grow, become small as
    differences. Columns that a reader may want a range of have their least and greatest values noted.
    """
    return pq.ParquetWriter(
        path,
        schema,
        compression="none",
        use_dictionary=["position.source", "component", "label"],
        write_statistics=["position.offset", "component", "score", "label", "outlier"],
        column_encoding={"position.offset": "DELTA_BINARY_PACKED"},
    )


def is_scored_file(path: Path) -> bool:
    """Tell whether a file's name is one that `ParquetSink` gives."""
    return _NAME.fullmatch(path.name) is not None


class ParquetSink:
    """Writes one file a checkpoint into a directory, each row exactly once.

    Parameters
    ----------
    name
        The sink's name in checkpoints.
    path
        The directory; made if it doesn't exist.
    recorded
        What `flush` returned for the last checkpoint; None for a new run, which must not find files of
        another one.

    Raises
    ------
    ConfigError
        If `path` is a file, or there is no record of it but there are files of a run in it.
    """

    def __init__(self, name: str, path: Path, recorded: dict[str, Any] | None) -> None:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; a parquet sink writes a directory of files")
        self.name = name
        self._path = path
        self._rows: list[Scored] = []
        self._waiting = 0
        self._writer: pq.ParquetWriter | None = None
        self._first: int = recorded["next"] if recorded is not None else 0
        path.mkdir(parents=True, exist_ok=True)
        ours = {file: int(match[1]) for file in path.iterdir() if (match := _NAME.fullmatch(file.name))}
        if recorded is None and ours:
            raise ConfigError(
                f"{path} already holds {len(ours)} files of a run that no checkpoint knows of; "
                "move them away or choose another path"
            )
        for file, first in ours.items():
            if first >= self._first:
                log.info("%s: was written after the last checkpoint; removed, and written again", file)
                file.unlink()
        sync_directory(path)

    def write(self, rows: Scored) -> None:
        """Take rows; whole row groups go to a temporary file."""
        # row groups are cut by count too, so that the bytes of a file don't depend on how reading was cut
        while (room := ROWS_A_GROUP - self._waiting) < len(rows.offsets):  # the last group is for `flush`
            self._rows.append(rows[:room])
            self._write()
            rows = rows[room:]
        if len(rows.offsets):
            self._rows.append(rows)
            self._waiting += len(rows.offsets)

    def flush(self, records: int) -> dict[str, Any]:
        """Finish the file, if there are rows; return the number that the next file's name begins from."""
        stands, finish = self.flush_beside(records)
        finish()
        return stands

    def flush_beside(self, records: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """Finish the file; return what makes it durable."""
        finish = self._finish()
        self._first = records
        return {"next": records}, finish

    def close(self) -> None:
        """Remove a file that is not finished."""
        if self._writer is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._temporary.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self._path / f"scored-{self._first:012d}.parquet"

    @property
    def _temporary(self) -> Path:
        return self._file.with_name(self._file.name + ".tmp")

    def _write(self) -> None:
        """Write the rows that wait as one row group."""
        if self._writer is None:
            self._writer = open_writer(self._temporary, schema_of(self._rows[0].labels is not None))
        rows, self._rows, self._waiting = self._rows, [], 0
        _write_group(self._writer, rows)

    def _finish(self) -> Callable[[], object]:
        """Write the end of the file, if it has any rows; return what makes it durable and gives it its name."""
        if self._rows:
            self._write()
        if (writer := self._writer) is None:
            return _do_nothing
        self._writer = None
        writer.close()
        return partial(_publish, self._temporary, self._file)


def _write_group(writer: pq.ParquetWriter, rows: list[Scored]) -> None:
    tables = [to_table(joined(list(some))) for _, some in itertools.groupby(rows, lambda each: each.source)]
    writer.write_table(tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks())


def _publish(temporary: Path, file: Path) -> None:
    with open(temporary, "rb") as written:
        os.fsync(written.fileno())
    temporary.rename(file)
    sync_directory(file.parent)


def _do_nothing() -> None:
    """Do nothing."""
