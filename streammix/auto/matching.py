"""Which component is which: labels follow components through take-overs."""

from collections.abc import Sequence

import numpy as np
import scipy  # its subpackages load when they are first asked for: scipy.optimize takes half a second
from numpy.typing import NDArray

from streammix.core.engine import Engine, aligned
from streammix.core.table import table_of
from streammix.products import crossed
from streammix.state import State, padded

__all__ = ["arranged", "matched", "matched_by", "shared", "widened"]

FloatArray = NDArray[np.float64]

SAME = 0.2  # the overlap, from 0 to 1, from which on two components are one and the same


def matched(old: FloatArray, new: FloatArray) -> tuple[list[int], list[int]]:
    """Match new components with old ones by their responsibilities for the same rows.

    Parameters
    ----------
    old, new
        Responsibilities, (n, K) and (n, K').

    Returns
    -------
    tuple[list[int], list[int]]
        For each place of the new model, which of its components goes there, and which old one goes on in it; -1 where
        it is born. An old component's place is kept, unless others before it have gone.

    Examples
    --------
    >>> matched(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0, 0.0], [0.9, 0.0, 0.1]]))
    ([1, 0, 2], [0, 1, -1])
    """
    common = crossed(old, new)
    size = np.add.outer(old.sum(axis=0), new.sum(axis=0)) - common
    overlap = common / np.maximum(size, 1e-300)
    rows, columns = scipy.optimize.linear_sum_assignment(-overlap)
    k = new.shape[1]
    places: list[int] = [-1] * max(k, old.shape[1])
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        places[row] = column
    spare = [j for j in range(k) if j not in places]
    found = []
    for i, place in enumerate(places):
        goes_on = place >= 0 and bool(overlap[i, place] >= SAME)
        if place >= 0 or spare:
            found.append((place if place >= 0 else spare.pop(0), i if goes_on else -1))
    return [place for place, _ in found], [old_one for _, old_one in found]


def matched_by(rows: FloatArray, old: Engine, new: Engine) -> tuple[list[int], list[int]]:
    """Match the components of a new model with those of an old one by their responsibilities for some rows."""
    table, found = table_of(np.ascontiguousarray(rows)), []
    for engine in (old, new):
        responsibilities = np.empty((len(rows), engine.n_components))
        engine.accumulate(table, 0, len(rows), out_r=responsibilities, out_lp=np.empty(len(rows)))
        found.append(responsibilities)
    return matched(*found)


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
