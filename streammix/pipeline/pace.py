"""How many records are taken at once: as many as are learnt in a moment, so that a request to stop is soon heard."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Pace"]

SECONDS = 0.2
FIRST = 1024

T = TypeVar("T")


class Pace:
    """The number of records that are learnt in a fraction of a second, by how long the last ones took.

    Parameters
    ----------
    most
        The largest number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = min(FIRST, most)

    def timed(self, learn: Callable[[], T], records: int) -> T:
        """Learn so many records, and take note of the time."""
        begin = time.perf_counter()
        done = learn()
        seconds = max(time.perf_counter() - begin, 1e-9)
        self.records = min(max(int(records * SECONDS / seconds), 1), self._most)
        return done
