"""One iteration of batch EM through the core, and the making of states: what the warm-up and batch EM share."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.angles import turn_anchors
from streammix.core.engine import CHUNK, INFLATING, Engine, aligned, rows_of, width_of
from streammix.core.table import Table
from streammix.state import State, padded

__all__ = ["blank", "collect", "iterate", "reanchor"]

FloatArray = NDArray[np.float64]
EXCESS = 0.1  # of a Student's t before anything is learnt: mean u - 1 - log u where df is about 10
Layout = Sequence[tuple[str, list[int], Any, bool, tuple[bool, ...] | None]]


def blank(layout: Layout, n_components: int, prior_weight: float) -> State:
    """Return a state of valid numbers: unit scales, equal weights; what it describes is to be filled in."""
    lanes = padded(n_components)
    masses = aligned(1, lanes)
    masses[0, :n_components] = 1 / n_components
    counts = aligned(1, lanes)
    counts[:] = 1.0
    statistics, priors, mass_units = [], [], []
    for kind, columns, size, _, _ in layout:
        units = len(columns) // width_of(kind, size)
        rows, _, prior_rows, _ = rows_of(kind, size)
        values, prior = aligned(units, rows, lanes), aligned(units, max(prior_rows, 1), lanes)
        prior[:] = 1.0
        if kind.removeprefix(INFLATING) in ("normal", "lognormal"):
            values[:, 2] = 1.0
            values[:, 3:] = 0.5
        elif kind == "mvn":
            values[:, 2 * size : 3 * size] = 1.0
        elif kind == "categorical":
            values[:, 0] = 1.0
        elif kind == "vonmises":
            values[:, 0], values[:, 2] = 1.0, 0.5
        elif kind == "student":
            values[:, 2:4], values[:, 4] = 1.0, EXCESS
        elif kind != "external":
            values[:] = 0.5
        statistics.append(values)
        priors.append(prior)
        mass_units.append([0] * units)
    clocks, starts = aligned(1), aligned(1)
    starts[:] = 1.0
    return State(n_components, masses, counts, clocks, starts, mass_units, statistics, priors, prior_weight)


def collect(
    engine: Engine, table: Table, begin: int, end: int, weights: FloatArray | None, n_threads: int = 1
) -> tuple[FloatArray, float, int]:
    """Return (expected statistics, log-likelihood, first impossible row or -1) of rows at the engine's parameters.

    Rows go in chunks of fixed bounds whose sums are added in order: the result does not depend on `n_threads`. The
    statistics may be the engine's own array, which the next call fills anew.
    """
    starts = range(begin, end, CHUNK)
    if n_threads == 1 or len(starts) < 2:
        return engine.collect(table, begin, end, weights)

    def one(start: int) -> tuple[FloatArray, float, int]:
        acc = engine.accumulator()
        log_likelihood, bad = engine.accumulate(table, start, min(start + CHUNK, end), weights, None, acc)
        return acc, log_likelihood, bad

    with ThreadPoolExecutor(n_threads) as pool:
        parts = list(pool.map(one, starts))
    total, log_likelihood, impossible = parts[0]
    for acc, part, bad in parts[1:]:
        total += acc
        log_likelihood += part
        if impossible < 0:
            impossible = bad
    return total, log_likelihood, impossible


def iterate(engine: Engine, state: State, acc: FloatArray, totals: FloatArray) -> None:
    """Replace the statistics by an accumulator's: the M-step of batch EM. Its records, at least one, are the start."""
    state.clocks[:] = 0.0
    state.starts[:] = np.maximum(totals, 1.0)
    engine.blend(acc, np.ones(len(totals)), totals)
    engine.maximize()


def reanchor(layout: Layout, state: State) -> None:
    """Move each anchor to its component's mean, so that what is stored beside it is small."""
    for (kind, _, size, is_fixed, _), values in zip(layout, state.statistics, strict=True):
        if kind == "vonmises" and not is_fixed:
            turn_anchors(values)
        if is_fixed or kind.removeprefix(INFLATING) not in ("normal", "lognormal", "mvn", "student"):
            continue
        width = size if kind == "mvn" else 1
        anchor, offset = values[:, :width], values[:, width : 2 * width]
        moved = anchor + offset
        offset += anchor - moved
        anchor[:] = moved
