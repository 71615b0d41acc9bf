"""Files that are still being written: appended to, joined by new ones, rotated.

Files are read to their ends in the order of their names, as `FileSource` does; then the source waits for more. Files
that were begun come first, then new ones in the order of their names. A last line without a line end waits for it.

A file is known by its inode and its first bytes, so that one that is renamed (``app.ndjson`` to ``app.ndjson.1``) is
read on under its new name, whatever that is within its directory, and is not read twice; nor is one that has several
names (hard links). Where another file takes a name, or a file is cut back to less than what was read of it, reading
begins at the new one's first byte, and its records come from ``app.ndjson#2``, so that no two records have one
position. What a writer removes or cuts off (``copytruncate``) before it was read is lost; nothing else is.

The position is, for each file under the name that its records have, its name now, its inode, its first bytes (their
number and a checksum), the offset of the next record and its size when it was read to its end.
"""

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from streammix.errors import StreammixError, UnavailableError
from streammix.pipeline.flow import Batch
from streammix.pipeline.sources.opening import PLAIN, Opened, Reading, check_format, checked, open_file

__all__ = ["FollowSource"]

HEAD = 256  # bytes that tell a file from another one
PAUSE = 0.2  # seconds between two looks at the directory, or ten times what a look takes
GONE_KEPT = 1000  # marks of files that are no longer there

GENERATION = re.compile(r"#\d+$")

Mark = dict[str, Any]

log = logging.getLogger("streammix")


class FollowSource:
    """Reads files to their ends, and goes on as they grow.

    Parameters
    ----------
    find
        Returns the names of the files that are there now, relative to `base`, in order.
    base
        The directory that relative names start from.
    position
        Where an earlier run stood.
    how
        How files are read.
    """

    is_steady = True

    def __init__(
        self,
        find: Callable[[], list[str]],
        base: Path,
        position: dict[str, Any] | None = None,
        how: Reading | None = None,
    ) -> None:
        self._find, self._base = find, base
        self._how = how or Reading(holds="all")
        recorded = position or {"files": {}}
        self._marks: dict[str, Mark] = {label: {"name": label, **mark} for label, mark in recorded["files"].items()}
        if self._how.kinds is not None:
            self._how.kinds.update(recorded.get("columns", {}))
        self._todo: list[str] = []  # what the files that have something new are called
        self._label = ""  # what the file at hand is called
        self._size = 0
        self._opened: Opened | None = None
        self._next_look = 0.0
        self._inodes: dict[Path, dict[int, str]] = {}  # of the files of directories, while looking

    def read(self, limit: int) -> Batch | None:
        """Return the next records; none if there are none yet."""
        while True:
            batch = self._take(limit)
            if batch is None and not self._todo and time.monotonic() >= self._next_look:
                self._look()
                batch = self._take(limit)  # what was written to the file at hand before others were begun
            if batch is not None:
                return batch
            if not self._todo:
                time.sleep(max(min(self._next_look - time.monotonic(), PAUSE), 0.0))
                return Batch(self._label, np.zeros(0, np.int64), [])
            self._open(self._todo.pop(0))

    def position(self) -> dict[str, Any]:
        """Return each file's mark."""
        self._note_offset()
        kinds = self._how.kinds
        return {
            "kind": "file",
            "files": {label: dict(mark) for label, mark in self._marks.items()},
            **({"columns": dict(kinds)} if kinds else {}),
        }

    def acknowledge(self) -> None:
        """Do nothing: files stay where they are."""

    def close(self) -> None:
        """Close the file at hand."""
        self._note_offset()
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def _note_offset(self) -> None:
        if self._opened is not None:
            self._marks[self._label]["offset"] = self._opened.reader.offset

    def _take(self, limit: int) -> Batch | None:
        """Return the next records of the file at hand; None where there are none. Plain lines stay open for more."""
        if self._opened is None:
            return None
        mark = self._marks[self._label]
        try:
            if (size := self._opened.size()) is not None and size != self._size:
                if self._opened.was_cut(size) or self._opened.head(mark["head"][0]) != mark["head"]:
                    self.close()
                    self._next_look = 0.0
                    return None
                self._size = size
            batch = self._opened.reader.take(limit)
        except (OSError, StreammixError) as error:
            if self._opened.is_growing:
                raise UnavailableError(f"{self._base / mark['name']}: can't be read to its end: {error}") from error
            # a compressed file or one of columns that is not finished
            log.warning("%s: %s; it waits until it changes", self._base / mark["name"], error)
            batch = None
        if batch is None:
            mark["size"] = self._size
            if not self._opened.is_growing:
                self.close()
        return batch

    def _open(self, label: str) -> None:
        self.close()
        mark = self._marks[label]
        path = self._base / mark["name"]
        self._label = label
        try:
            _check_inode(stat := path.stat(), mark["inode"])
            self._size = stat.st_size
            self._opened = open_file(path, label, self._format(label), mark["offset"], self._how)
            _check_inode(path.stat(), mark["inode"])
        except FileNotFoundError:  # renamed since: the next look finds it
            self.close()
        except (StreammixError, pa.ArrowException) as error:
            log.warning("%s; it waits until it changes", error)
            mark["size"] = self._size

    def _look(self) -> None:
        """Find out what has something new."""
        began = time.monotonic()
        self._inodes = {}
        names = self._find()
        found = {name: stat for name in names if (stat := self._stat(name)) is not None}
        by_inode = {mark["inode"]: label for label, mark in self._marks.items() if "inode" in mark}
        by_name = {mark["name"]: label for label, mark in self._marks.items()}
        here = {stat.st_ino for stat in found.values()}
        known = {name for name, stat in found.items() if self._has_inode(by_name.get(name), stat)}
        labels: list[str] = []
        for name, stat in _once(found, known).items():
            with suppress(FileNotFoundError):  # renamed since
                label = by_name[name] if name in known else by_inode.get(stat.st_ino)
                if label is None and name in by_name and not self._is_elsewhere(by_name[name], here):
                    label = by_name[name]
                if label is not None and label not in labels and self._is_same(label, name, stat):
                    self._marks[label].update(name=name, inode=stat.st_ino)
                else:
                    label = self._begin(name, stat)
                labels.append(label)
        labels = self._moved(labels) + labels
        new = [label for label in labels if self._has_changed(label)]
        self._todo = sorted(new, key=lambda label: not self._marks[label]["offset"])
        self._next_look = time.monotonic() + max(PAUSE, 10 * (time.monotonic() - began))

    def _has_inode(self, label: str | None, stat: os.stat_result) -> bool:
        return label is not None and self._marks[label].get("inode") == stat.st_ino

    def _has_changed(self, label: str) -> bool:
        mark = self._marks[label]
        if self._opened is not None and label == self._label:
            return False  # it stays open, and is tried anyway
        stat = self._stat(mark["name"])
        return stat is not None and stat.st_size != mark.get("size", 0)

    def _format(self, label: str) -> tuple[str, str | None]:
        return check_format(GENERATION.sub("", label), self._how.form)

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return (self._base / name).stat()
        except FileNotFoundError:
            return None

    def _is_elsewhere(self, label: str, here: set[int]) -> bool:
        """Tell whether a file that had a name has another one now."""
        mark = self._marks[label]
        return mark.get("inode") in here or self._sibling(mark) is not None

    def _sibling(self, mark: Mark) -> str | None:
        """Return the name that a file has in its directory now, whether a pattern matches it or not."""
        directory = (self._base / mark["name"]).parent
        if directory not in self._inodes:
            self._inodes[directory] = {}
            with suppress(OSError), os.scandir(directory) as entries:
                self._inodes[directory] = {entry.inode(): entry.name for entry in entries if entry.is_file()}
        name = self._inodes[directory].get(mark.get("inode", -1))
        return None if name is None else str(Path(mark["name"]).with_name(name))

    def _is_same(self, label: str, name: str, stat: os.stat_result) -> bool:
        """Tell whether what has a file's inode or name is that file, perhaps grown."""
        mark = self._marks[label]
        if stat.st_size == mark.get("size") and stat.st_ino == mark.get("inode"):
            return True
        is_plain = self._format(label) in PLAIN
        if stat.st_size >= (mark["offset"] if is_plain else mark.get("size", 0)):
            length, checksum = mark.setdefault("head", [0, 0])
            if self._head(name, length, stat) == [length, checksum]:
                if length < HEAD:
                    mark["head"] = self._head(name, HEAD, stat)
                return True
        if name == mark["name"]:  # else the system has given the number of a file that is gone to another one
            log.warning("%s was cut back or overwritten; it is read from its beginning", self._base / name)
        return False

    def _begin(self, name: str, stat: os.stat_result) -> str:
        """Make a mark for a file that is new; return what it is called."""
        label, generation = name, 1
        while label in self._marks:
            generation += 1
            label = f"{name}#{generation}"
        self._marks[label] = {"name": name, "inode": stat.st_ino, "head": self._head(name, HEAD, stat), "offset": 0}
        return label

    def _head(self, name: str, length: int, stat: os.stat_result) -> list[int]:
        """Return what tells the file that has a name from others, if it is still the one that was looked at."""
        with open(self._base / name, "rb") as file:
            _check_inode(os.fstat(file.fileno()), stat.st_ino)
            return checked(file.read(length))

    def _moved(self, labels: list[str]) -> list[str]:
        """Return the files that no pattern matches any more, but which are there; forget those long gone."""
        gone, moved = [], []
        taken = {self._marks[label]["inode"] for label in labels}
        for label in self._marks.keys() - set(labels):
            mark = self._marks[label]
            name = self._sibling(mark) if mark.get("inode") not in taken else None
            stat = self._stat(name) if name is not None else None
            if name is not None and stat is not None and self._is_same(label, name, stat):
                mark["name"] = name
                moved.append(label)
            else:
                gone.append(label)
        if labels:  # else the whole directory may be away
            oldest_first = [label for label in self._marks if label in gone]
            for label in oldest_first[: max(len(gone) - GONE_KEPT, 0)]:
                del self._marks[label]
        return sorted(moved)


def _once(found: dict[str, os.stat_result], known: set[str]) -> dict[str, os.stat_result]:
    """Return each file under one of its names (hard links give it more): one that is known, else the first."""
    files: dict[tuple[int, int], str] = {}
    for name in sorted(found, key=lambda name: name not in known):
        files.setdefault((found[name].st_dev, found[name].st_ino), name)
    names = set(files.values())
    return {name: stat for name, stat in found.items() if name in names}


def _check_inode(stat: os.stat_result, inode: int) -> None:
    """Raise a FileNotFoundError where another file has taken the name since the directory was looked at."""
    if stat.st_ino != inode:
        raise FileNotFoundError(errno.ENOENT, "another file has taken its name")
