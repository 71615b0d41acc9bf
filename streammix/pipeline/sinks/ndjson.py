"""One NDJSON line a record, into a file or to standard output.

A score that is infinite, of a record that every component excludes, is ``null``: JSON has no infinity.
"""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from streammix.core.lines import scored_lines
from streammix.errors import ConfigError, StreammixError
from streammix.pipeline.flow import Scored

__all__ = ["GrowingFile", "NdjsonSink", "StdoutSink", "sync_directory", "to_lines"]

log = logging.getLogger("streammix")
ROWS_AT_ONCE = 512


def to_lines(rows: Scored) -> bytes:
    """Return scored records as NDJSON.

    Examples
    --------
    >>> import numpy as np
    >>> to_lines(Scored("a.csv", np.array([7]), np.array([[0.25, 0.75]]), np.array([-1.5])))
    b'{"position":{"source":"a.csv","offset":7},"component":1,"responsibilities":[0.25,0.75],"score":1.5}\\n'
    """
    if rows.lines is not None:
        return rows.lines
    source = msgspec.json.encode(rows.source)
    parts = (rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows.offsets), ROWS_AT_ONCE))
    return b"".join(
        scored_lines(
            source, part.offsets, part.components, part.responsibilities, part.scores, part.labels, part.outliers
        )
        for part in parts
    )


class GrowingFile:
    """A file that is only appended to, and is cut back to a recorded length when it is opened.

    Parameters
    ----------
    path
        The file; it is made with the first bytes that are written to it.
    recorded
        What `flush` returned for the last checkpoint; None for a new run, which must not find bytes of
        another one.
    may_shrink
        Whether the file may have been taken away since, in whole or in part.

    Raises
    ------
    ConfigError
        If there is no record of the file, but there are bytes in it.
    StreammixError
        If the file is shorter than recorded.
    """

    def __init__(self, path: Path, recorded: dict[str, Any] | None, may_shrink: bool = False) -> None:
        self.path = path
        size = path.stat().st_size if path.exists() else 0
        if recorded is None and size:
            raise ConfigError(
                f"{path} already holds {size} bytes that no checkpoint knows of; move it away or choose another path"
            )
        self._length: int = recorded["bytes"] if recorded is not None else 0
        if may_shrink:
            self._length = min(self._length, size)
        if size < self._length:
            raise StreammixError(
                f"{path} has {size} bytes, but the checkpoint has written {self._length}: "
                "it was cut or replaced; put it back, or choose another path for what follows"
            )
        if size > self._length:
            log.info(
                "%s: %d bytes after the last checkpoint are cut off and written again",
                path,
                size - self._length,
            )
            os.truncate(path, self._length)
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """Append bytes."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab")  # noqa: SIM115
            if os.fstat(self._file.fileno()).st_size != self._length:
                raise OSError(f"{self.path} was written to by somebody else")
            sync_directory(self.path.parent)
        self._file.write(data)
        self._length += len(data)

    def flush(self) -> dict[str, Any]:
        """Make everything durable; return the file's length."""
        stands, finish = self.flush_beside()
        finish()
        return stands

    def flush_beside(self) -> tuple[dict[str, Any], Callable[[], object]]:
        """Hand everything to the system; return the file's length, and what makes it durable."""
        if self._file is None:
            return {"bytes": self._length}, lambda: None
        self._file.flush()
        if not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
            raise FileNotFoundError(f"{self.path} was taken away or replaced")
        return {"bytes": self._length}, partial(os.fsync, self._file.fileno())

    def close(self) -> None:
        """Close the file; what was not flushed may be lost."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class NdjsonSink:
    """Appends lines to one file, exactly once each."""

    is_of_lines = True

    def __init__(self, name: str, path: Path, recorded: dict[str, Any] | None) -> None:
        if path.is_dir():
            raise ConfigError(f"{path} is a directory; an ndjson sink writes one file")
        self.name = name
        self._file = GrowingFile(path, recorded)

    def write(self, rows: Scored) -> None:
        """Append one line a record."""
        self._file.write(to_lines(rows))

    def flush(self, records: int) -> dict[str, Any]:
        """Make the lines durable; return the file's length."""
        return self._file.flush()

    def flush_beside(self, records: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """Do so, but for the part that is returned."""
        return self._file.flush_beside()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StdoutSink:
    """Prints lines as soon as they are scored.

    What was printed can't be taken back: after a crash, the lines since the last checkpoint are printed again
    (at least once).
    """

    name = "stdout"
    is_of_lines = True

    def __init__(self) -> None:
        self._stream = sys.stdout.buffer

    def write(self, rows: Scored) -> None:
        """Print one line a record."""
        self._stream.write(to_lines(rows))
        self._stream.flush()

    def flush(self, records: int) -> dict[str, Any]:
        """Return nothing: there is no position to go back to."""
        return {}

    def close(self) -> None:
        """Do nothing: standard output is the process's own."""


def sync_directory(path: Path) -> None:
    """Make the names of new files in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
