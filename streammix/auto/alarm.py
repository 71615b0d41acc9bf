"""The alarm: the champion's scores are suddenly not what they were."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Alarm"]

FloatArray = NDArray[np.float64]

Z = 5.0
APART = 2_000  # records between two alarms, at least
BUCKET, REFILL = 4.0, 8_000  # so many alarms at once, and one more every so many records
SLOW = 40  # ticks that the slow mean goes back, at most
FEWEST = 4  # ticks that it needs
LOWEST = -1e4  # of a record's log density
FALLEN = 4  # beats that say at once that the scores have fallen
BEATS = 40  # among which the change is looked for


class Alarm:
    """Two ticks against the slow mean, with a bucket of alarms that refills."""

    def __init__(self) -> None:
        self.tokens = BUCKET
        self.last = -APART
        self._ticks: list[tuple[int, float, float]] = []  # of the last two ticks: records, sum, sum of squares
        self._slow = (0, 0.0, 0.0, 0.0)  # ticks, mean, variance of a record, variance of a tick's mean
        self._open = (0, 0.0, 0.0)
        self._beats: list[tuple[int, float]] = []  # of the last beats: records, sum

    def add(self, log_density: FloatArray) -> None:
        """Take in the log densities of some records."""
        n, total, squares = self._open
        values = np.maximum(log_density, LOWEST)
        self._open = n + len(values), total + float(values.sum()), squares + float(values @ values)
        self._beats = [*self._beats, (len(values), float(values.sum()))][-BEATS:]

    def close(self, now: int, records: int, dwells: bool = False) -> float:
        """End a tick of so many records, of a stream that may dwell; return z where there is an alarm, else 0."""
        self.tokens = min(self.tokens + records / REFILL, BUCKET)
        self._ticks.append(self._open)
        self._open = (0, 0.0, 0.0)
        z = self._z(dwells)
        if z > Z:
            self.forget()
        if z < -Z and self.sound(now):
            return z
        if len(self._ticks) == 2:
            self._take(self._ticks.pop(0))
        return 0.0

    def sound(self, now: int) -> float:
        """Let there be an alarm, if there may be one by now; return its z where that is all that is known."""
        if self.tokens < 1.0 or now - self.last < APART:
            return 0.0
        self.tokens -= 1.0
        self.last = now
        self.forget()
        return -Z

    def forget(self) -> None:
        """Learn anew what is usual."""
        self._ticks, self._slow = [], (0, 0.0, 0.0, 0.0)

    def fall(self) -> tuple[float, float]:
        """Return how far the last beats' mean lies below the slow mean, and z; zeros where that can't be told."""
        ticks, mean, variance, between = self._slow
        last = self._beats[-FALLEN:]
        n = sum(count for count, _ in last)
        if ticks < FEWEST or len(last) < FALLEN:
            return 0.0, 0.0
        fallen = mean - sum(total for _, total in last) / n
        return fallen, fallen / math.sqrt(max(variance / n + max(between, variance / n) / min(ticks, SLOW), 1e-12))

    def since(self) -> int:
        """Return how many records ago the scores most likely changed, among the last beats."""
        n, total = np.array(self._beats).T
        before, fell = np.cumsum(n)[:-1], np.cumsum(total)[:-1]
        after = n.sum() - before
        jump = fell / before - (total.sum() - fell) / after
        return int(after[np.argmax(jump * np.abs(jump) * before * after)])

    def _z(self, dwells: bool) -> float:
        ticks, mean, variance, between = self._slow
        if len(self._ticks) < 2 or ticks < FEWEST:
            return 0.0
        n = sum(tick[0] for tick in self._ticks)
        recent = sum(tick[1] for tick in self._ticks) / n
        kept = 1 if dwells else min(ticks, SLOW)  # ticks of a stream that dwells differ among themselves
        spread = variance / n + max(between, variance / (n / 2)) / kept
        return (recent - mean) / math.sqrt(max(spread, 1e-12))

    def _take(self, tick: tuple[int, float, float]) -> None:
        n, total, squares = tick
        here = total / n
        ticks, mean, variance, between = self._slow
        step = 1.0 / min(ticks + 1, SLOW)
        moved = here - mean
        mean += step * moved
        within = max(squares / n - here * here, 0.0)
        variance += step * (within - variance)
        between = (1 - step) * (between + step * moved * moved) if ticks else 0.0
        self._slow = ticks + 1, mean, variance, between

    def to_json(self) -> list[Any]:
        """Return everything as JSON can hold it."""
        return [
            self.tokens,
            self.last,
            list(self._open),
            list(self._slow),
            [list(tick) for tick in self._ticks],
            [list(beat) for beat in self._beats],
        ]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> "Alarm":
        """Return what `to_json` was called of."""
        made = cls()
        tokens, last, now, slow, ticks, beats = document
        made.tokens, made.last = float(tokens), int(last)
        made._open = int(now[0]), float(now[1]), float(now[2])
        made._slow = int(slow[0]), float(slow[1]), float(slow[2]), float(slow[3])
        made._beats = [(int(n), float(total)) for n, total in beats]
        made._ticks = [(int(n), float(total), float(squares)) for n, total, squares in ticks]
        return made
