"""The running average of the statistics (Polyak and Ruppert): steadier than the statistics themselves.

The average takes the statistics in every 100 records with weight 4 / (t + 3) at the t-th time: later ones count more.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING, Engine, width_of
from streammix.em import Layout
from streammix.state import State

__all__ = ["EVERY", "take_in"]

FloatArray = NDArray[np.float64]

EVERY = 100


def take_in(engine: Engine, layout: Layout, average: State, state: State, times: int) -> None:
    """Move the average, which the engine binds, towards the statistics, for the `times`-th time."""
    acc = engine.accumulator()
    n_masses = len(state.masses)
    acc[:n_masses] = state.masses
    row = n_masses
    for i, (kind, columns, size, is_fixed, _) in enumerate(layout):
        values, middle = state.statistics[i], average.statistics[i]
        for unit in range(len(columns) // width_of(kind, size)):
            mass = state.masses[state.mass_units[i][unit]]
            if kind == "external":
                continue
            taken = _moments(kind, size, values[unit], middle[unit])
            if not is_fixed:
                acc[row : row + len(taken)] = mass * taken
            row += len(taken)
    gamma = np.full(n_masses, 4 / (times + 3))
    engine.blend(acc, gamma, np.ones(n_masses))
    average.counts[...] = state.counts
    average.clocks[...] = state.clocks
    engine.maximize()


def _moments(kind: str, size: Any, values: FloatArray, middle: FloatArray) -> FloatArray:
    """The mean statistics of one unit, in the accumulator's rows: about the average's mean for Gaussians."""
    if kind.startswith(INFLATING):
        inner = _moments(kind.removeprefix(INFLATING), size, values[:-2], middle[:-2])
        return np.concatenate([inner * values[-2], values[-2:]])
    if kind in ("normal", "lognormal"):
        shift = (values[0] - middle[0]) + (values[1] - middle[1])
        return np.stack([shift, values[2] + shift**2])
    if kind == "mvn":
        shift = (values[:size] - middle[:size]) + (values[size : 2 * size] - middle[size : 2 * size])
        low = np.tril_indices(size, -1)
        triangle = np.zeros((size, size, values.shape[1]))
        triangle[np.diag_indices(size)] = 1.0
        triangle[low] = values[3 * size :]
        covariance = np.einsum("imk,mk,jmk->ijk", triangle, values[2 * size : 3 * size], triangle)
        second = covariance + shift[:, None] * shift[None, :]
        return np.concatenate([shift, second[np.tril_indices(size)]])
    if kind == "categorical":
        return np.asarray(values[1:] / values[0])
    if kind in ("gamma", "beta", "dirichlet", "negative_binomial"):
        means, gaps = np.split(values, 2)
        middles = middle[: len(means)]
        ratio, excess = np.log(means / middles), (means - middles) / middles
        excess -= np.log1p(excess)
        return np.stack([means, gaps + excess, ratio - gaps], axis=1).reshape(-1, values.shape[1])
    if kind == "inverse_gaussian":
        distance = (values[0] - middle[0]) / middle[0]
        return np.stack([values[0], (values[1] + distance**2) / (1.0 + distance)])
    if kind == "vonmises":
        return values[2:4]
    if kind == "student":
        shift, weight = (values[0] - middle[0]) + (values[1] - middle[1]), values[3]
        return np.stack([weight, weight * shift, values[2] + weight * shift**2, values[4]])
    return values[:0] if kind == "uniform" else values
