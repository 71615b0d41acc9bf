"""The components of one mixture and those of another: how far they overlap; their order, and how many there are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import Engine, aligned
from streammix.core.table import table_of
from streammix.state import State, padded

__all__ = ["arranged", "overlap", "responsibilities", "shared", "widened"]

FloatArray = NDArray[np.float64]


def overlap(old: FloatArray, new: FloatArray) -> FloatArray:
    """Return how much of what either makes both do, from 0 to 1: of old components and new ones, (K, K').

    Parameters
    ----------
    old, new
        Responsibilities for the same rows, (n, K) and (n, K').

    Examples
    --------
    >>> overlap(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]))
    array([[0. , 1. , 0. ],
           [0.5, 0. , 0.5]])
    """
    ours, theirs = np.ascontiguousarray(old.T), np.ascontiguousarray(new.T)
    common = np.zeros((len(ours), len(theirs)))
    for own, both in zip(ours, common, strict=True):
        np.minimum(own, theirs).sum(axis=1, out=both)
    either = np.add.outer(ours.sum(axis=1), theirs.sum(axis=1)) - common
    found: FloatArray = common / np.maximum(either, 1e-300)
    return found


def responsibilities(rows: FloatArray, engine: Engine) -> FloatArray:
    """Return what shares components have in rows, (n, K)."""
    made = np.empty((len(rows), engine.n_components))
    engine.accumulate(table_of(np.ascontiguousarray(rows)), 0, len(rows), out_r=made, out_lp=np.empty(len(rows)))
    return made


def arranged(state: State, order: Sequence[int]) -> State:
    """Return a copy of a state with its components in another order."""
    made, k = state.copy(), state.n_components
    for array in made.arrays():
        if array.ndim > 1:
            array[..., :k] = array[..., list(order)]
    for array in (made.counts, *made.statistics, *made.priors):
        array[..., k:] = array[..., :1]
    return made


def shared(part: State, whole: State) -> State:
    """Return the state of a single component as that of as many as another has, which weigh as those do."""

    def spread(array: FloatArray) -> FloatArray:
        result: FloatArray = aligned(*array.shape[:-1], whole.masses.shape[1])
        result[...] = array[..., :1]
        return result

    masses, counts = spread(part.masses), spread(part.counts)
    masses[...] = whole.masses[:1]
    counts *= np.where(masses > 0.0, masses, 1.0)
    return State(
        whole.n_components,
        masses,
        counts,
        part.clocks,
        part.starts,
        part.mass_units,
        [spread(array) for array in part.statistics],
        [spread(array) for array in part.priors],
        part.prior_weight,
    )


def widened(state: State, n_components: int) -> State:
    """Return a copy of a state with more components: like the first, as of one record, and of next to no weight."""
    made, k, lanes = state.copy(), state.n_components, padded(n_components)

    def widen(array: FloatArray) -> FloatArray:
        result: FloatArray = aligned(*array.shape[:-1], lanes)
        result[..., :k], result[..., k:] = array[..., :k], array[..., :1]
        return result

    made.n_components = n_components
    made.masses, made.counts = widen(made.masses), widen(made.counts)
    made.statistics = [widen(array) for array in made.statistics]
    made.priors = [widen(array) for array in made.priors]
    made.masses[:, k:] = 0.0
    made.counts[:, k:] = np.minimum(made.counts[:, k:], 1.0)
    return made
