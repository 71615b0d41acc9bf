"""Memory that a run and its workers share: rows go there and back without a copy on the way.

It has no name, so nothing of it is left once the last of them has ended, however that came.
"""

import mmap
import os
import tempfile
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Board", "Place"]

ALIGNED = 64  # bytes
Place = tuple[int, int]  # where an array begins, in bytes, and how many numbers it has


class Board:
    """Shared memory that grows. One process lays it out, the others look up what it tells them.

    Parameters
    ----------
    file
        The memory's descriptor; left out, there is a new one, without any room.

    Examples
    --------
    >>> board = Board()
    >>> place = board.laid_out([("i", np.int64, 3), ("x", np.float64, 2)])
    >>> board.array(place["x"], np.float64)[:] = 0.5
    >>> place["x"], float(board.array(place["x"], np.float64).sum())
    ((64, 2), 1.0)
    >>> board.close()
    """

    def __init__(self, file: int | None = None) -> None:
        self._file = _new_file() if file is None else file
        self._memory: mmap.mmap | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """To a process that is being started; to no other."""
        return _received, (DupFd(self._file),)

    def laid_out(self, arrays: list[tuple[str, DTypeLike, int]]) -> dict[str, Place]:
        """Return places for (name, type, how many numbers), with room for all; what was there before may go."""
        places, at = {}, 0
        for name, dtype, n in arrays:
            places[name] = (at, n)
            at += -(-n * np.dtype(dtype).itemsize // ALIGNED) * ALIGNED
        if at > os.fstat(self._file).st_size:
            os.ftruncate(self._file, at)
        return places

    def array(self, place: Place, dtype: DTypeLike) -> NDArray[Any]:
        """Return the numbers at a place, where they lie."""
        at, n = place
        size = os.fstat(self._file).st_size
        if self._memory is None or len(self._memory) < min(size, at + n * np.dtype(dtype).itemsize):
            self._memory = mmap.mmap(self._file, size)
        return np.frombuffer(self._memory, dtype, n, at)

    def close(self) -> None:
        """Let go of the memory, once nobody here looks at it any more."""
        self._memory = None
        os.close(self._file)


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("streammix")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _received(file: Any) -> Board:
    return Board(file.detach())
