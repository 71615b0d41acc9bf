"""Timing: the sides of a comparison take turns in many short rounds, and each round gives a ratio."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Budget", "Limit", "Missing", "Point", "Row", "Side", "compare", "each", "measure", "repeat"]

Run = Callable[[int], object]
Relation = Literal["cost", "speed-up"]


@dataclass(frozen=True)
class Budget:
    """How long to measure: so many rounds, in each of which a side runs for about so many seconds."""

    rounds: int = 9
    seconds: float = 0.08
    is_quick: bool = False


@dataclass(frozen=True)
class Side:
    """One side of a comparison: `run(n)` does the work n times, each time for so many records."""

    name: str
    run: Run
    records: int = 1


@dataclass(frozen=True)
class Missing:
    """A side that can't run because a package is not installed."""

    name: str
    package: str


@dataclass(frozen=True)
class Row:
    """One comparison.

    Parameters
    ----------
    job
        What was done, on which data.
    cost, peer, peer_cost
        Medians over the rounds; the peer's name and cost are empty and None where there is none.
    ratio, spread
        The median, least and greatest ratio of the rounds: ours / the peer's for a "cost", the peer's / ours for a
        "speed-up".
    aim
        What the ratio (without a peer: the cost) should be: at most, for a cost; at least, for a speed-up.
    unit
        Of the costs: "ns/record", "ns" or "bytes".
    clock
        "CPU" time of the process, all threads together, or "wall".
    threads
        How many threads each side may use.
    """

    job: str
    cost: float | None
    peer: str = ""
    peer_cost: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    relation: Relation = "cost"
    aim: float | None = None
    unit: str = "ns/record"
    clock: str = "CPU"
    threads: int = 1
    note: str = ""
    benchmark: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met; None where there is none, or nothing to hold it against."""
        value = self.ratio if self.peer else self.cost
        if self.aim is None or value is None:
            return None
        return value <= self.aim if self.relation == "cost" else value >= self.aim


@dataclass(frozen=True)
class Point:
    """One point of a growth curve."""

    panel: str
    axis: str
    curve: str
    x: float
    cost: float
    unit: str = "ns/record"
    clock: str = "CPU"
    benchmark: str = ""


@dataclass(frozen=True)
class Limit:
    """How near a kernel comes to the machine's limits.

    Parameters
    ----------
    cost
        Nanoseconds a record.
    multiply_adds, share
        10⁹ multiply-adds a second, and their share of those of a BLAS matrix product.
    moved, moved_share
        10⁹ bytes of rows or state a second, and their share of those of a copy within the cache.
    """

    kernel: str
    cost: float
    multiply_adds: float
    share: float
    moved: float
    moved_share: float
    benchmark: str = ""


def each(function: Callable[[Any], object], records: Sequence[Any]) -> Run:
    """Return a run that calls a function with one record after the other, over and over."""

    def run(n: int) -> None:
        whole, rest = divmod(n, len(records))
        for _ in range(whole):
            for x in records:
                function(x)
        for x in records[:rest]:
            function(x)

    return run


def repeat(call: Callable[[], object]) -> Run:
    """Return a run that makes a call n times."""

    def run(n: int) -> None:
        for _ in range(n):
            call()

    return run


def measure(budget: Budget, sides: Sequence[Side], clock: Callable[[], float] = time.process_time) -> list[list[float]]:
    """Return, for each side, its nanoseconds a record in each round; the sides take turns."""
    calls = [_calls(side, budget.seconds, clock) for side in sides]
    costs: list[list[float]] = [[] for _ in sides]
    gc.collect()
    gc.disable()
    try:
        for round_ in range(budget.rounds):
            for i in range(len(sides)):
                j = (i + round_) % len(sides)
                costs[j].append(_seconds(sides[j], calls[j], clock) / calls[j] / sides[j].records * 1e9)
    finally:
        gc.enable()
    return costs


def compare(
    budget: Budget,
    job: str,
    ours: Side,
    others: Sequence[Side | Missing],
    relation: Relation = "cost",
    aims: Sequence[float | None] = (),
    clock: Callable[[], float] = time.process_time,
    threads: int = 1,
    note: str = "",
    unit: str = "ns/record",
) -> list[Row]:
    """Measure ours against others, all in the same rounds: a row for each of them, with its aim where it has one."""
    present = [other for other in others if isinstance(other, Side)]
    own, *theirs = measure(budget, [ours, *present], clock)
    costs = dict(zip((side.name for side in present), theirs, strict=True))
    kind = "wall" if clock is time.perf_counter else "CPU"
    rows = []
    for i, other in enumerate(others):
        aim = aims[i] if i < len(aims) else None
        cost = statistics.median(own)
        if isinstance(other, Missing):
            text = f"{other.package} is not installed"
            rows.append(Row(job, cost, other.name, None, None, None, relation, aim, unit, kind, threads, text))
            continue
        peer = costs[other.name]
        pairs = zip(own, peer, strict=True)
        ratios = [a / b if relation == "cost" else b / a for a, b in pairs]
        spread = (min(ratios), max(ratios))
        middle = statistics.median(ratios)
        peer_cost = statistics.median(peer)
        rows.append(Row(job, cost, other.name, peer_cost, middle, spread, relation, aim, unit, kind, threads, note))
    return rows


def _seconds(side: Side, calls: int, clock: Callable[[], float]) -> float:
    begin = clock()
    side.run(calls)
    return clock() - begin


def _calls(side: Side, seconds: float, clock: Callable[[], float]) -> int:
    """How many calls take about so long; this is the warm-up run as well."""
    side.run(1)
    calls = 1
    while (taken := _seconds(side, calls, clock)) < seconds / 4:
        calls *= 4
    return max(1, math.ceil(calls * seconds / taken))
