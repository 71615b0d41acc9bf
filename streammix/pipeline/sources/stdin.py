"""Standard input: NDJSON or CSV through a pipe.

A pipe can't be read again. By default whatever it delivers is taken as new, so what a crash loses is what was
read since the last checkpoint (at most once). With ``replay`` each run is fed the whole stream from its first
byte, and what earlier runs have read is skipped: then every record is learnt exactly once.
"""

import fcntl
import os
import select
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np

from streammix.errors import StreammixError
from streammix.pipeline.flow import Batch
from streammix.pipeline.sources.delimited import CsvReader, read_header
from streammix.pipeline.sources.lines import LineReader

__all__ = ["StdinSource"]

PATIENCE = 0.2  # seconds to wait for bytes before the caller is asked whether to go on
PIPE_SIZE = 1 << 20


class StdinSource:
    """Reads records from standard input as they come.

    Parameters
    ----------
    position
        Where an earlier run stood: the bytes that all runs have read.
    form
        ``"ndjson"`` or ``"csv"``, whose header row stands at the beginning of every run's input.
    replay
        Whether the input begins with what earlier runs have read.
    as_text
        The CSV columns whose cells stay text.
    longest
        A line or CSV record of more bytes is refused.
    descriptor
        The file descriptor to read from.
    infers
        Whether a CSV column's first cell decides if it is text.
    """

    is_steady = True

    def __init__(
        self,
        position: dict[str, Any] | None = None,
        form: str = "ndjson",
        replay: bool = False,
        as_text: Collection[str] = (),
        longest: int = 1 << 20,
        descriptor: int = 0,
        infers: bool = False,
    ) -> None:
        with suppress(AttributeError, OSError):  # a roomy pipe means fewer switches; not everywhere, and not on files
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        before = position["offset"] if position else 0
        self._descriptor = descriptor
        self._kinds: dict[str, str] | None = dict((position or {}).get("columns", {})) if infers else None
        self._known = before if replay else 0  # what stands before this is skipped
        self._lines = LineReader("stdin", self._receive, 0 if replay else before, longest)
        self._as_text, self._longest = as_text, longest
        self._records: LineReader | CsvReader | None = self._lines if form == "ndjson" else None

    def read(self, limit: int) -> Batch | None:
        """Return the records that are there; none if none came for a while."""
        if self._records is None:
            header = read_header(self._lines)
            if header is None:
                return Batch("stdin", np.zeros(0, np.int64), [])
            self._records = CsvReader(self._lines, header, self._as_text, self._longest, self._kinds)
        batch = self._records.take(limit)
        if batch is None and self._records.offset < self._known:
            raise StreammixError(
                f"standard input ended at byte {self._records.offset}, but earlier runs have read "
                f"{self._known}: with replay = true it has to begin with all that they read"
            )
        return batch if batch is None or not self._known else _from(batch, self._known)

    def position(self) -> dict[str, Any]:
        """Return the number of bytes read by all runs."""
        offset = (self._records or self._lines).offset
        columns = {"columns": dict(self._kinds)} if self._kinds else {}
        return {"kind": "stdin", "offset": max(offset, self._known), **columns}

    def acknowledge(self) -> None:
        """Do nothing: a pipe keeps nothing."""

    def close(self) -> None:
        """Do nothing: standard input is the process's own."""

    def _receive(self, size: int) -> bytes | None:
        ready, _, _ = select.select([self._descriptor], [], [], PATIENCE)
        return os.read(self._descriptor, size) if ready else None


def _from(batch: Batch, offset: int) -> Batch:
    first = int(np.searchsorted(batch.offsets, offset))
    refused = [refusal for refusal in batch.refused if refusal.offset >= offset]
    records = batch.records[first:] if isinstance(batch.records, list) else None
    texts = batch.texts[first:] if batch.texts is not None else None
    return Batch(batch.source, batch.offsets[first:], records, texts, refused)
