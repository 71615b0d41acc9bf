"""Files: NDJSON, CSV, Parquet and Arrow, compressed or not, one after the other in the order of their names.

The position is, for each file, the offset of the next record (a byte in text, decompressed; a row in Parquet
and Arrow) and, once it has been read to its end, its size on disk. So a run that is started again reads what
was appended to a file and the files that are new. Every record is read exactly once as long as files only
grow. A mark is the file's, however its name is spelled.

A last line of text that has no line end may be half written. In NDJSON it is read if it is a whole object
already, or can't become one; if the line goes on nevertheless, the rest of it is refused. Otherwise, and always
in CSV, where ``12`` may become ``123``, it is left for a later run, with a warning: a finished CSV file ends
with a line end. `Reading.holds` can be told otherwise.
"""

import glob
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streammix.errors import ConfigError, StreammixError, UnavailableError
from streammix.pipeline.flow import Batch
from streammix.pipeline.sources import REMEDY, cut_error
from streammix.pipeline.sources.opening import PLAIN, Opened, Reading, check_format, open_file

__all__ = ["FileSource", "find_files"]

log = logging.getLogger("streammix")


def find_files(
    patterns: list[str], base: Path, is_own: Callable[[Path], bool] = lambda path: False, may_lack: bool = False
) -> list[str]:
    """Return the names of the files that the patterns match, those of one pattern in sorted order.

    A name is relative to `base` where the file is below it, and a file that is matched twice, by whatever
    spelling, is named once.

    Parameters
    ----------
    patterns
        File names, or patterns with ``*``, ``?``, ``[abc]`` and ``**``.
    base
        The directory that relative ones start from.
    is_own
        Tells which files are the run's own outputs: a pattern leaves them out.
    may_lack
        Whether a pattern may match no file as yet.

    Raises
    ------
    ConfigError
        If a pattern matches no file, names one of the run's own outputs, or a name is not plain text.
    """
    names: dict[Path, str] = {}
    for pattern in patterns:
        if (base / pattern).is_dir():
            raise ConfigError(f"path: {pattern} is a directory; write a pattern for its files, as {pattern}/*.ndjson")
        literal = [pattern] if (base / pattern).exists() else []
        found = literal or sorted(glob.glob(pattern, root_dir=base, recursive=True))
        events = [name for name in found if (base / name).is_file()]
        files = [name for name in events if not is_own(base / name)]
        if events and not files:
            what = "is one of" if literal else "matches nothing but"
            raise ConfigError(
                f"path: {base / pattern} {what} this run's own outputs (a sink, the dead-letter file or in the "
                "checkpoint directory); events can't be read from there"
            )
        if not files and not may_lack:
            is_pattern = glob.has_magic(pattern)
            raise ConfigError(f"path: {'no file matches' if is_pattern else 'there is no file'} {base / pattern}")
        for name in files:
            names.setdefault((base / name).resolve(), _plain_name(name, base))
    for name in names.values():
        if not name.isprintable():  # nor would it go into the outputs, where it is no UTF-8
            raise ConfigError(f"path: the name {name!r} of a file has characters that can't be printed")
    return list(names.values())


def _plain_name(name: str, base: Path) -> str:
    """Return a file's name without detours, relative to `base` where it is below it."""
    plain = os.path.normpath(name)
    if os.path.isabs(plain):
        for root in (base.absolute(), base.resolve()):
            if Path(plain).is_relative_to(root):
                plain = os.path.relpath(plain, root)
    # a detour may lead through a link
    return plain if (base / plain).resolve() == (base / name).resolve() else str((base / name).resolve())


class FileSource:
    """Reads files to their ends, one after the other.

    Parameters
    ----------
    names
        The files, relative to `base`.
    base
        The directory that relative names start from.
    position
        Where an earlier run stood.
    how
        How files are read.

    Raises
    ------
    ConfigError
        If a file's ending is unknown.
    StreammixError
        If a file that was read before is gone or shorter than what was read of it.
    """

    is_steady = True

    def __init__(
        self,
        names: list[str],
        base: Path,
        position: dict[str, Any] | None = None,
        how: Reading | None = None,
    ) -> None:
        self._base = base
        self._how = how or Reading()
        self._formats = {name: check_format(name, self._how.form) for name in names}
        self._todo = list(reversed(names))
        if self._how.kinds is not None:
            self._how.kinds.update((position or {}).get("columns", {}))
        self._marks = self._known(names, position["files"] if position else {})
        self._check_marks()
        self._name = ""
        self._size = 0
        self._opened: Opened | None = None

    def read(self, limit: int) -> Batch | None:
        """Return the next records of the file at hand, or of the next one."""
        while True:
            try:
                if self._opened is None and not self._open_next():
                    return None
                assert self._opened is not None  # for the type checker
                batch = self._opened.reader.take(limit)
            except OSError as error:
                # a system's error may pass; damage to a compressed file has no number
                kind = UnavailableError if error.errno else StreammixError
                raise kind(f"{self._name}: can't be read to its end: {error}") from None
            if batch is not None:
                return batch
            # the size from before the reading: what was appended meanwhile makes it differ, and is read next
            # time
            self._marks[self._name] = {"offset": self._opened.reader.offset, "size": self._size}
            self._tell_held()
            self.close()

    def position(self) -> dict[str, Any]:
        """Return each file's mark."""
        here = {self._name: {"offset": self._opened.reader.offset}} if self._opened is not None else {}
        columns = {"columns": dict(self._how.kinds)} if self._how.kinds else {}
        return {"kind": "file", "files": {**self._marks, **here}, **columns}

    def acknowledge(self) -> None:
        """Do nothing: files stay where they are."""

    def close(self) -> None:
        """Close the file at hand."""
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def _known(self, names: list[str], recorded: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        """Return the recorded marks under the names that their files have now; of two of a file the farther."""
        now = {(self._base / name).resolve(): name for name in names}
        marks: dict[str, dict[str, int]] = {}
        for spelled, mark in recorded.items():
            name = now.get((self._base / spelled).resolve(), spelled)
            if name not in marks or marks[name]["offset"] < mark["offset"]:
                marks[name] = mark
        return marks

    def _tell_held(self) -> None:
        if self._opened is not None and self._opened.has_held:
            log.warning(
                "%s: the last line, from byte %d on, has no line end; it waits to be finished and was not read",
                self._base / self._name,
                self._opened.reader.offset,
            )

    def _check_marks(self) -> None:
        for name, mark in self._marks.items():
            path = self._base / name
            if not path.is_file():
                raise StreammixError(f"{path}: was read up to {mark['offset']} and is gone; {REMEDY}")
            is_plain = name in self._formats and self._formats[name] in PLAIN
            if is_plain and path.stat().st_size < mark["offset"]:
                raise cut_error(path, path.stat().st_size, "bytes", mark["offset"])

    def _open_next(self) -> bool:
        while self._todo:
            self._name = self._todo.pop()
            path = self._base / self._name
            mark = self._marks.get(self._name, {"offset": 0})
            self._size = path.stat().st_size
            if mark.get("size") != self._size:
                self._opened = open_file(path, self._name, self._formats[self._name], mark["offset"], self._how)
                return True
        return False
