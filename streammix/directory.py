"""Files that are written whole or not at all, and a directory of them that one writer at a time has.

Bytes in memory → temporary file → fsync → rename → fsync of the directory.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import weakref
from pathlib import Path

from streammix.errors import AwayError, CheckpointError

__all__ = ["Directory", "read_file", "reason_of", "write_file"]

_LOCK = ".lock"
_FINAL = {  # the name is wrong, or we may not; anything else may pass
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
}


def read_file(path: Path, magic: bytes) -> bytes:
    """Return a file's bytes; no more than the first ones of a file of another kind."""
    with open(path, "rb") as file:
        first = file.read(len(magic))
        return first + file.read() if first == magic else first


def write_file(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably, or leave it as it is.

    Raises
    ------
    CheckpointError
        If it can't be written.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be written: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """Return why the system refused, in its words."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


class Directory:
    """A directory, locked unless it is only read.

    Parameters
    ----------
    path
        Made if it isn't there.
    magic
        How the files begin that are read.
    leftovers
        A pattern of files that a crash may leave: they are removed.
    readonly
        No lock is taken, nothing is made or removed.

    Raises
    ------
    CheckpointError
        If another writer has the directory, or it can't be used.
    AwayError
        If it can't be used just now.
    """

    def __init__(self, path: Path, magic: bytes, leftovers: str, readonly: bool) -> None:
        self.path = path
        self._magic = magic
        self._release: weakref.finalize[[int], Directory] | None = None
        if readonly:
            if not path.is_dir():
                raise CheckpointError(f"{path}: there is no such directory of checkpoints")
            return
        # without `with`, the lock goes when the directory does
        self._lock = _lock(path)
        self._release = weakref.finalize(self, os.close, self._lock)
        for leftover in path.glob(leftovers):
            leftover.unlink(missing_ok=True)

    @property
    def is_open(self) -> bool:
        """Whether the lock is held."""
        return self._release is not None and self._release.alive

    def place(self, name: str) -> Path:
        """Return the path of a file."""
        return self.path / name

    def names(self) -> list[str]:
        """Return the names of all files."""
        try:
            return os.listdir(self.path)
        except OSError as error:
            raise CheckpointError(f"{self.path}: can't be read: {reason_of(error)}") from None

    def read(self, name: str) -> bytes:
        """Return a file's bytes; FileNotFoundError if it is gone."""
        return read_file(self.path / name, self._magic)

    def check(self) -> None:
        """Refuse to go on where the directory is not the one that was locked."""
        try:
            held = os.path.samestat(os.fstat(self._lock), os.stat(self.path / _LOCK))
        except OSError:
            held = False
        if not held:  # another writer may have made the directory anew, and have its lock
            raise CheckpointError(f"{self.path}: the directory was removed or replaced; nothing was written")

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet."""
        write_file(self.path / name, data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let another writer in."""
        if self._release is not None:
            self._release()


def _lock(directory: Path) -> int:
    """Make a directory and take its lock; return the descriptor that holds it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except (OSError, ValueError) as error:
        kind = AwayError if isinstance(error, OSError) and error.errno not in _FINAL else CheckpointError
        raise kind(f"{directory}: can't hold checkpoints: {reason_of(error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise CheckpointError(f"{directory}: another writer is using this directory of checkpoints") from None
        raise CheckpointError(f"{directory}: can't be locked: {reason_of(error)}") from None
    return descriptor
