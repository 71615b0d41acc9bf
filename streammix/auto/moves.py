"""Proposals: other places for components, as states after one M-step.

A proposal is a fresh start, or takes one component away and puts it elsewhere: half of a heavy one, split along the
principal axis of its records in the warm-up's standardised space (numbers over their standard deviation, levels as
indicators, angles on the circle, gaps at the mean), so that each family and any gaps are served by one rule; the
records that the model explains worst; or those that have one value of a field which many have.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import AWAY
from streammix.auto.resolution import Resolution
from streammix.core.engine import Engine
from streammix.core.table import Table
from streammix.em import Layout, blank, iterate
from streammix.given import fill_given
from streammix.kmeans import kmeans
from streammix.products import crossed, principal_axis
from streammix.scales import PRIOR_WEIGHT, fill_scales, settle, shrink_scales, standardised
from streammix.schema import Schema
from streammix.state import State
from streammix.steps import Steps

__all__ = [
    "START_ROWS",
    "Move",
    "displaced",
    "forks_of",
    "moves",
    "partition",
    "quick_start",
    "scaled",
    "split_up",
    "step_between",
    "stepped",
    "thinned",
]

FloatArray = NDArray[np.float64]
Labels = NDArray[np.intp]
Move = tuple[str, int, int]  # what, the component that goes, what is split or takes it; or ("fresh", number, 0)

FRESH = 3
HEAVIEST = 4  # that may be split
WORST = 0.04  # of the records, which a component is put on
ALL = 3  # components up to which each may go
CHEAPEST = 2  # of more: those whose loss is the least
LIKE = 0.2  # the cosine of two components' responsibilities, from which on it is tried whether they are one
LEAST = 0.01  # of the records, that both have
LLOYD = 3  # steps of the partition of a quick start
START_ROWS = 300  # that a fresh start looks at


def moves(responsibilities: FloatArray, n_atoms: int = 0) -> list[Move]:
    """Return the proposals for a model whose responsibilities for some rows, (n, K), are given."""
    k = responsibilities.shape[1]
    found: list[Move] = [("fresh", number, 0) for number in range(FRESH)]
    if k == 1:
        return found[:1]
    found += _merged(responsibilities)
    shares = responsibilities / np.maximum(responsibilities.sum(axis=1, keepdims=True), 1e-300)
    loss = -np.log(np.maximum(1.0 - shares, 1e-12)).sum(axis=0)
    heaviest = np.argsort(-shares.sum(axis=0), kind="stable").tolist()
    goes = range(k) if k <= ALL else np.argsort(loss, kind="stable")[:CHEAPEST].tolist()
    for j in goes:
        found += [("split", j, split) for split in [h for h in heaviest if h != j][:HEAVIEST]]
        found.append(("seed", j, 0))
        found += [("atom", j, atom) for atom in range(n_atoms)]
    return found


def _merged(responsibilities: FloatArray) -> list[Move]:
    """Return the merger of the two components that are most alike, where there are two that might be one."""
    n, k = responsibilities.shape
    common = crossed(responsibilities, responsibilities)
    size = np.sqrt(np.diag(common))
    likeness = np.triu(common / np.maximum(np.outer(size, size), 1e-300), 1)
    likeness[responsibilities.sum(axis=0) < LEAST * n] = 0.0
    likeness[:, responsibilities.sum(axis=0) < LEAST * n] = 0.0
    one, other = divmod(int(likeness.argmax()), k)
    return [("merge", other, one)] if likeness[one, other] > LIKE else []


def step_between(n: int) -> int:
    """Return from which row to which a fresh start goes, of n."""
    return -(-n // START_ROWS)


def thinned(columns: Sequence[FloatArray], weights: FloatArray | None) -> tuple[list[FloatArray], FloatArray | None]:
    """Return the rows that a fresh start looks at, as columns, and their weights."""
    every = step_between(len(columns[0]))
    some = [np.ascontiguousarray(column[::every]) for column in columns]
    return some, None if weights is None else np.ascontiguousarray(weights[::every])


def partition(
    layout: Layout, columns: Sequence[FloatArray], n_components: int, lloyd_steps: int, rng: np.random.Generator
) -> Labels:
    """Return the labels of a k-means++ partition of rows, in standardised space."""
    return kmeans(standardised(layout, columns), n_components, lloyd_steps, rng)


def scaled(
    schema: Schema,
    n_components: int,
    forks: Sequence[tuple[int, int]],
    columns: Sequence[FloatArray],
    weights: FloatArray | None,
) -> State:
    """Return a state that knows the scales of rows, and has masses of its own for some units."""
    layout = schema.layout()
    state = blank(layout, n_components, PRIOR_WEIGHT)
    fill_given(schema, state)
    fill_scales(layout, state, columns, weights)
    for block, unit in forks:
        state.fork(block, unit)
    settle(state)
    return state


def forks_of(layout: Layout, columns: Sequence[FloatArray]) -> list[tuple[int, int]]:
    """Return the units that need masses of their own: (block, unit) of those that some row lacks."""
    engine = Engine(layout, blank(layout, 1, PRIOR_WEIGHT), (0, 1.0))
    found: list[tuple[int, int]] = engine.forks_needed(Table(list(columns)), 0, len(columns[0]))
    return found


def split_up(labels: Labels, n_components: int, has_background: bool) -> FloatArray:
    """Return responsibilities that give each row to its label's component, but for the background's share."""
    return np.eye(n_components)[labels] * (1 - AWAY if has_background else 1.0)


def displaced(
    move: Move,
    points: FloatArray,
    weights: FloatArray | None,
    responsibilities: FloatArray,
    log_density: FloatArray,
    at_atom: NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Return what becomes of rows' responsibilities by a move; the rows as points are what a split goes by."""
    what, goes, split = move
    given = responsibilities.copy()
    if what == "merge":
        given[:, split] += given[:, goes]
        given[:, goes] = 0.0
        return given
    share = given[:, goes].copy()
    given[:, goes] = 0.0
    left = given.sum(axis=1, keepdims=True)
    total = left + share[:, None]
    others = given / np.maximum(left, 1e-300)
    given = np.where(left > 1e-12 * total, others, 1.0 / (given.shape[1] - 1)) * total
    given[:, goes] = 0.0
    if what == "split":
        own = given[:, split]
        above = _side(points, own if weights is None else own * weights)
        given[:, goes] = np.where(above, own, 0.0)
        given[:, split] = np.where(above, 0.0, own)
    else:
        worst = np.argsort(log_density, kind="stable")[: max(int(WORST * len(given)), 1)]
        there = worst if at_atom is None else np.flatnonzero(at_atom)
        given[there] = 0.0
        given[there, goes] = 1.0
    return np.asarray(given)


def _side(points: FloatArray, weights: FloatArray) -> NDArray[np.bool_]:
    """On which side of the mean of weighted points each lies, along their principal axis."""
    centred = points - weights @ points / max(float(weights.sum()), 1e-300)
    root = centred * np.sqrt(weights)[:, None]
    return np.asarray(centred @ principal_axis(crossed(root, root)) > 0.0)


def quick_start(
    schema: Schema,
    columns: Sequence[FloatArray],
    weights: FloatArray | None,
    n_components: int,
    rng: np.random.Generator,
    has_background: bool,
    known: FloatArray | None = None,
    resolution: Resolution | None = None,
) -> Steps[State]:
    """Make a state by one M-step of a partition of rows, in four steps.

    Where responsibilities are known, as by a model of other fields of the same records, they are what it goes by.
    """
    layout = schema.layout()
    some, own = thinned(columns, weights) if known is None else (list(columns), weights)
    labels = partition(layout, some, n_components, LLOYD, rng) if known is None else known.argmax(axis=1)
    yield
    state = scaled(schema, n_components, forks_of(layout, columns), some, own)
    yield
    shrink_scales(layout, state, some, labels)
    if resolution is not None:
        resolution.apply(layout, state)
    yield
    given = split_up(labels, n_components, has_background) if known is None else known
    stepped(layout, state, Table(some), len(labels), own, given)
    return state


def stepped(
    layout: Layout, state: State, table: Table, n_rows: int, weights: FloatArray | None, given: FloatArray
) -> None:
    """Let a state take one M-step of the first rows' responsibilities."""
    engine = Engine(layout, state, (0, 1.0))
    totals = engine.compounded(table, 0, n_rows, weights)[1]
    acc = engine.accumulator()
    engine.accumulate(table, 0, n_rows, weights, np.ascontiguousarray(given), acc)
    iterate(engine, state, acc, totals)
