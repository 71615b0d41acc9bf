"""How many components: lines of different K compete by how well they predicted, less a penalty."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Choice"]

MOST_BLOCKS = 64
FEWEST_TICKS = 4
MARGIN = 2.0  # nats by which another K has to be better


class Choice:
    """The sums of each line's prequential scores, in blocks of ticks that grow as the stream does."""

    def __init__(self, n_lines: int) -> None:
        self.blocks: list[tuple[int, list[float]]] = []  # records, and each line's sum of log densities
        self._open: tuple[int, list[float]] = (0, [0.0] * n_lines)
        self._ticks = 1  # of a block
        self._taken = 0  # of the open one

    def add(self, records: int, sums: Sequence[float]) -> None:
        """Take in a beat."""
        n, known = self._open
        self._open = n + records, [a + b for a, b in zip(known, sums, strict=True)]

    def close(self) -> None:
        """End a tick; where there are too many blocks, pairs of them become one."""
        self._taken += 1
        if self._taken < self._ticks:
            return
        self.blocks.append(self._open)
        self._open, self._taken = (0, [0.0] * len(self._open[1])), 0
        if len(self.blocks) > MOST_BLOCKS:
            pairs = zip(self.blocks[0::2], self.blocks[1::2], strict=False)
            odd = self.blocks[len(self.blocks) // 2 * 2 :]
            self.blocks = [(a[0] + b[0], [x + y for x, y in zip(a[1], b[1], strict=True)]) for a, b in pairs] + odd
            self._ticks *= 2

    def forget(self) -> None:
        """Begin anew: the stream has changed."""
        self.__init__(len(self._open[1]))  # type: ignore[misc]

    def scores(self, n_parameters: Sequence[int]) -> list[float] | None:
        """Return each line's score: last half's mean log density x N - p/2 log N; None where it is too early."""
        total = sum(n for n, _ in self.blocks)
        if len(self.blocks) * self._ticks < FEWEST_TICKS:
            return None
        records, sums = 0, [0.0] * len(n_parameters)
        for n, own in reversed(self.blocks):
            if records >= total / 2:
                break
            records += n
            sums = [a + b for a, b in zip(sums, own, strict=True)]
        return [own / records * total - p / 2 * math.log(total) for own, p in zip(sums, n_parameters, strict=True)]

    def best(self, n_parameters: Sequence[int], leader: int) -> tuple[int, float]:
        """Return the line that should lead, and by how many nats it does."""
        scores = self.scores(n_parameters)
        if scores is None:
            return leader, 0.0
        best = max(range(len(scores)), key=lambda i: scores[i])
        gain = scores[best] - scores[leader]
        return (best, gain) if gain > MARGIN else (leader, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {"blocks": self.blocks, "open": self._open, "ticks": self._ticks, "taken": self._taken}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Choice":
        """Return what `to_json` was called of."""
        n, sums = document["open"]
        made = cls(len(sums))
        made._open = int(n), [float(value) for value in sums]
        made.blocks = [(int(n), [float(value) for value in own]) for n, own in document["blocks"]]
        made._ticks, made._taken = int(document["ticks"]), int(document["taken"])
        return made
