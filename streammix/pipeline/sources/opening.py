"""Files of every format, opened where the next record begins."""

import os
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from streammix.errors import ConfigError
from streammix.pipeline.decode import is_unfinished
from streammix.pipeline.sources import cut_error
from streammix.pipeline.sources.columns import ColumnsReader, arrow_batches, parquet_batches
from streammix.pipeline.sources.delimited import CsvReader, read_header
from streammix.pipeline.sources.lines import LineReader

__all__ = ["PLAIN", "Opened", "Reading", "check_format", "checked", "format_of", "open_file"]

FORMATS = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

Format = tuple[str, str | None]

PLAIN: tuple[Format, ...] = (("ndjson", None), ("csv", None))  # whose offsets are bytes of the file


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Parameters
    ----------
    form
        Their format, where their names don't say it.
    as_text
        The CSV columns whose cells stay text.
    wanted
        The columns to read from Parquet and Arrow files; None for all.
    longest
        A line or CSV record of more bytes is refused.
    holds
        Which last lines without a line end are left unread: all, those that may be half written, or none.
    kinds
        What CSV columns have been found to hold, where that decides; None reads each cell by itself.
    """

    form: str | None = None
    as_text: Collection[str] = ()
    wanted: Collection[str] | None = None
    longest: int = 1 << 20
    holds: Literal["all", "unfinished", "none"] = "unfinished"
    kinds: dict[str, str] | None = None


@dataclass
class Opened:
    """A file at hand."""

    reader: LineReader | CsvReader | ColumnsReader
    text: LineReader | None = None
    _stream: FileIO | pa.NativeFile | None = None

    @property
    def has_held(self) -> bool:
        """Whether a last line was left unread."""
        return self.text is not None and self.text.has_held

    @property
    def is_growing(self) -> bool:
        """Whether more can be read at the end once it is there: lines that are not compressed."""
        return self.reader is self.text and isinstance(self._stream, FileIO)

    def size(self) -> int | None:
        """Return the size of a file that is growing."""
        return os.fstat(self._stream.fileno()).st_size if self.is_growing and self._stream is not None else None

    def was_cut(self, size: int) -> bool:
        """Tell whether a file that is growing was cut to a size below what was read of it."""
        return self.is_growing and self._stream is not None and self._stream.tell() > size

    def head(self, length: int) -> list[int]:
        """Return what tells a file that is growing from others: how many of its first bytes, and their checksum."""
        assert self._stream is not None  # for the type checker: it is growing
        return checked(os.pread(self._stream.fileno(), length, 0))

    def close(self) -> None:
        """Let go of it."""
        if self._stream is not None:
            self._stream.close()


def format_of(name: str) -> Format:
    """Return a file's format and compression by its name's endings.

    Raises
    ------
    ConfigError
        If the ending says no format.

    Examples
    --------
    >>> format_of("events/day-1.csv.gz")
    ('csv', 'gzip')
    """
    stem, ending = os.path.splitext(name.lower())
    compression = COMPRESSIONS.get(ending)
    if compression:
        ending = os.path.splitext(stem)[1]
    if ending not in FORMATS:
        raise ConfigError(
            f"path: {name} has no known ending: {', '.join(FORMATS)}, "
            f"text also with {' or '.join(COMPRESSIONS)} after it; or say format = ..."
        )
    return FORMATS[ending], compression


def check_format(name: str, form: str | None) -> Format:
    """Return a file's format and compression, its format `form` where that is given.

    Raises
    ------
    ConfigError
        If the ending says no format, or the two don't go together.
    """
    compression = COMPRESSIONS.get(os.path.splitext(name.lower())[1])
    found = (form, compression) if form else format_of(name)
    if found[0] in ("parquet", "arrow") and found[1]:
        raise ConfigError(f"path: {name}: {found[0]} files are compressed inside, not as a whole")
    return found


def open_file(path: Path, label: str, form: Format, offset: int, how: Reading) -> Opened:
    """Open a file where the record at `offset` begins; its batches are named `label`.

    Raises
    ------
    StreammixError
        If the file is shorter than that, or has no header row that can be read.
    OSError
        If it can't be opened.
    """
    if form[0] == "parquet":
        return Opened(ColumnsReader(label, lambda row: parquet_batches(path, row, how.wanted), offset))
    if form[0] == "arrow":
        return Opened(ColumnsReader(label, lambda row: arrow_batches(path, row, how.wanted), offset))
    if form[0] == "ndjson":
        return _lines(path, label, form, offset, how)
    opened = _lines(path, label, form, 0, how)
    assert opened.text is not None  # for the type checker: it is text
    try:
        while (header := read_header(opened.text)) is None:
            pass
    except BaseException:
        opened.close()
        raise
    if offset > 0:
        opened.close()
        opened = _lines(path, label, form, offset, how)
    assert opened.text is not None
    opened.reader = CsvReader(opened.text, header, how.as_text, how.longest, how.kinds)
    return opened


def _lines(path: Path, label: str, form: Format, offset: int, how: Reading) -> Opened:
    kind, compression = form
    stream: FileIO | pa.NativeFile
    if compression is None:
        stream = open(path, "rb", buffering=0)  # noqa: SIM115
    else:
        stream = pa.input_stream(str(path), compression=compression)
    try:
        if compression is None:
            stream.seek(max(offset - 1, 0))
        else:
            _skip(stream, path, max(offset - 1, 0))
        before = stream.read(1) if offset else b"\n"
        if not before:
            raise cut_error(path, offset - 1, "bytes", offset)
    except BaseException:
        stream.close()
        raise
    waiting = is_unfinished if kind == "ndjson" and how.holds == "unfinished" else _any_text
    holds = None if how.holds == "none" else waiting
    unread = None if compression else lambda n: stream.seek(-n, os.SEEK_CUR)
    lines = LineReader(label, stream.read, offset, how.longest, holds, before != b"\n", unread)
    return Opened(lines, lines, stream)


def checked(head: bytes) -> list[int]:
    """Return the length and the checksum of a file's first bytes."""
    return [len(head), zlib.crc32(head)]


def _any_text(line: bytes) -> bool:
    return True


def _skip(stream: Any, path: Path, offset: int) -> None:
    left = offset
    while left > 0:
        block = stream.read(min(left, 1 << 20))
        if not block:
            raise cut_error(path, offset - left, "bytes", offset)
        left -= len(block)
