"""How many components: lines of different K compete by how well they predicted, less a penalty."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["FEWEST", "Choice"]

MOST_BLOCKS = 64
FEWEST = 2_000  # records by which a line is judged, at least
MARGIN = 2.0  # nats by which another K has to be better


class Choice:
    """The sums of each line's prequential scores, in blocks of beats that grow as the stream does.

    Lines that are born later have sums in the later blocks only: two lines are compared by what both have predicted.
    """

    def __init__(self, n_lines: int) -> None:
        self.blocks: list[tuple[int, list[float]]] = []  # records, and each line's sum of log densities
        self._open: tuple[int, list[float]] = (0, [0.0] * n_lines)
        self._beats = 1  # of a block
        self._taken = 0  # of the open one

    def begin(self, records: int, sums: Sequence[float]) -> None:
        """Take in what the first records say, once, before all others."""
        self.blocks.append((records, list(sums)))

    def add(self, records: int, sums: Sequence[float]) -> None:
        """Take in a beat; where there are too many blocks, pairs of them become one."""
        n, known = self._open
        self._open = n + records, [a + b for a, b in zip(known, sums, strict=True)]
        self._taken += 1
        if self._taken < self._beats:
            return
        self._close()
        if len(self.blocks) > MOST_BLOCKS:
            pairs = zip(self.blocks[0::2], self.blocks[1::2], strict=False)
            odd = self.blocks[len(self.blocks) // 2 * 2 :]
            self.blocks = [(a[0] + b[0], [x + y for x, y in zip(a[1], b[1], strict=False)]) for a, b in pairs] + odd
            self._beats *= 2

    def grow(self) -> None:
        """Take in one more line, which has predicted nothing so far."""
        if self._open[0]:
            self._close()
        self._open[1].append(0.0)

    def _close(self) -> None:
        self.blocks.append(self._open)
        self._open, self._taken = (0, [0.0] * len(self._open[1])), 0

    def forget(self) -> None:
        """Begin anew: the stream has changed."""
        self.__init__(len(self._open[1]))  # type: ignore[misc]

    def best(self, n_parameters: Sequence[int], leader: int, fewest: int = FEWEST) -> tuple[int, float]:
        """Return the line that should lead, and by how many nats it does.

        The score of a line is the mean log density of the last half of the records, times their number N, less
        p/2 log N. Of one that was born since, N is twice the number of records that it has predicted.
        """
        gains = [self._gain(i, leader, n_parameters, fewest) for i in range(len(n_parameters))]
        best = max(range(len(gains)), key=lambda i: gains[i])
        return (best, gains[best]) if gains[best] > MARGIN else (leader, 0.0)

    def _gain(self, one: int, leader: int, n_parameters: Sequence[int], fewest: int) -> float:
        total, records, gain = sum(n for n, _ in self.blocks), 0, 0.0
        for n, sums in reversed(self.blocks):
            if records >= total / 2 or len(sums) <= max(one, leader):
                break
            records += n
            gain += sums[one] - sums[leader]
        whole = min(total, 2 * records)
        if whole < fewest:
            return 0.0
        return gain / records * whole - (n_parameters[one] - n_parameters[leader]) / 2 * math.log(whole)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {"blocks": self.blocks, "open": self._open, "beats": self._beats, "taken": self._taken}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Choice":
        """Return what `to_json` was called of."""
        n, sums = document["open"]
        made = cls(len(sums))
        made._open = int(n), [float(value) for value in sums]
        made.blocks = [(int(n), [float(value) for value in own]) for n, own in document["blocks"]]
        if "beats" in document:
            made._beats, made._taken = int(document["beats"]), int(document["taken"])
        else:  # once it went by ticks, of ten beats
            made._beats, made._taken = 10 * int(document["ticks"]), int(n) // 50
        return made
