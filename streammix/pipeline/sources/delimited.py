"""Records out of CSV text: a header row, then one record a row, which may span lines inside quotes."""

import csv
import sys
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from streammix.errors import StreammixError
from streammix.pipeline.decode import BOM, cell_value, cell_value_as
from streammix.pipeline.flow import Batch, Refusal
from streammix.pipeline.sources.lines import LineReader

__all__ = ["CsvReader", "read_header"]

LINES_AT_ONCE = 1024


class _StarvedError(Exception):
    """The lines at hand are used up; the source may have more later."""


class _HeldError(Exception):
    """The record goes on in a line that has no line end yet."""


def read_header(lines: LineReader) -> list[str] | None:
    """Read the column names from the header row; [] at the end of the text, None if there is no row yet.

    Raises
    ------
    StreammixError
        If the row is not UTF-8, is not CSV, is too long, or names a column twice.

    Examples
    --------
    >>> import io
    >>> read_header(LineReader("events.csv", io.BytesIO(b"amount,country\\r\\n").read, 0, 100))
    ['amount', 'country']
    """
    batch = lines.take(1)
    if batch is None:
        return []
    if batch.refused:
        raise StreammixError(f"{lines.name}: the header row can't be read: {batch.refused[0].reason}")
    if not batch.texts:
        return None
    try:
        with _cells_of(len(batch.texts[0])):
            columns = next(csv.reader([batch.texts[0].removeprefix(BOM).decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise StreammixError(f"{lines.name}: the header row can't be read: {error}") from None
    if not columns:
        raise StreammixError(f"{lines.name}: the header row is blank")
    if twice := [column for i, column in enumerate(columns) if column in columns[:i]]:
        raise StreammixError(f"{lines.name}: the header row names the column {twice[0]!r} twice")
    return columns


@contextmanager
def _cells_of(length: int) -> Iterator[None]:
    """Let cells be so long; otherwise the module takes no more than 131,072 characters, here and for all others."""
    before = csv.field_size_limit()
    csv.field_size_limit(min(max(before, length), sys.maxsize))
    try:
        yield
    finally:
        csv.field_size_limit(before)


class CsvReader:
    """Reads typed records from the lines of CSV text.

    A row that can't be read costs only its own first line: reading goes on at the next line.

    Parameters
    ----------
    lines
        The text after the header row.
    header
        The column names.
    as_text
        The columns whose cells stay text.
    longest
        A record of more bytes is refused.
    kinds
        What each column has been found to hold, where that decides how its cells are read (see
        `cell_value_as`); it is added to. None reads each cell by itself.
    """

    def __init__(
        self,
        lines: LineReader,
        header: list[str],
        as_text: Collection[str],
        longest: int,
        kinds: dict[str, str] | None = None,
    ) -> None:
        self._lines = lines
        self._kinds = kinds
        self._header = header
        self._as_text = [column in as_text for column in header]
        self._longest = longest
        self._pending: deque[tuple[int, bytes]] = deque()  # lines (position, text) read ahead
        self._used: list[tuple[int, bytes]] = []  # the lines of the record being read
        self._refused: list[Refusal] = []

    @property
    def offset(self) -> int:
        """The position of the next record's first byte."""
        return self._pending[0][0] if self._pending else self._lines.offset

    def take(self, limit: int) -> Batch | None:
        """Return the next records, at most `limit`; none if there are none yet, None at the end."""
        with _cells_of(self._longest):
            return self._take(limit)

    def _take(self, limit: int) -> Batch | None:
        found: list[tuple[int, dict[str, Any], bytes]] = []
        has_ended = False
        rows = csv.reader(self._feed(), strict=True)
        while len(found) + len(self._refused) < limit:
            self._used.clear()
            try:
                cells = next(rows)
                if not cells:  # a blank line
                    continue
                if len(cells) != len(self._header):
                    raise csv.Error(f"{len(cells)} cells under a header of {len(self._header)}")
            except (StopIteration, _StarvedError, _HeldError) as stop:
                self._pending.extendleft(reversed(self._used))
                has_ended = not isinstance(stop, _StarvedError)
                break
            except (csv.Error, UnicodeDecodeError) as error:
                self._refuse_first_line(error)
                rows = csv.reader(self._feed(), strict=True)
            else:
                raw = b"\n".join(text for _, text in self._used)
                found.append((self._used[0][0], self._record(cells), raw))
        refused, self._refused = self._refused, []
        if has_ended and not found and not refused:
            return None
        offsets, records, texts = zip(*found, strict=True) if found else ((), (), ())
        return Batch(self._lines.name, np.array(offsets, np.int64), list(records), texts, refused)

    def _feed(self) -> Iterator[str]:
        size = 0
        while self._pending or self._more():
            if not self._used:
                size = 0
            self._used.append(self._pending.popleft())
            size += len(self._used[-1][1]) + 1  # with the line end, which belongs to a cell that goes on
            if size - 1 > self._longest:
                raise csv.Error(
                    f"a quote is open at the line's end, and not closed within {self._longest} bytes (max_record_bytes)"
                )
            yield self._used[-1][1].decode() + "\n"
        if self._used and self._lines.has_held:
            raise _HeldError

    def _more(self) -> bool:
        """Read ahead; tell whether there is anything left."""
        batch = self._lines.take(LINES_AT_ONCE)
        if batch is None:
            return False
        self._refused += batch.refused
        if not batch.texts:
            raise _StarvedError
        self._pending.extend(zip(batch.offsets.tolist(), batch.texts, strict=True))
        return True

    def _refuse_first_line(self, error: Exception) -> None:
        (offset, text), *others = self._used
        self._pending.extendleft(reversed(others))
        problem = f"not UTF-8: {error.reason}" if isinstance(error, UnicodeDecodeError) else f"not CSV: {error}"
        self._refused.append(Refusal(self._lines.name, offset, problem, text))

    def _record(self, cells: list[str]) -> dict[str, Any]:
        cast = zip(self._header, cells, self._as_text, strict=True)
        if (kinds := self._kinds) is None:
            return {column: (cell or None) if as_text else cell_value(cell) for column, cell, as_text in cast}
        return {
            column: (cell or None) if as_text else cell_value_as(kinds, column, cell) for column, cell, as_text in cast
        }
