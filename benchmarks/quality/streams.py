"""What a kind of stream is, and what all kinds draw with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["HELD_OUT", "Gaussians", "Kind", "Stream", "apart", "covariances", "sorted_start", "static", "table_of"]

FloatArray = NDArray[np.float64]
HELD_OUT = 20_000  # records that are kept for the judgement
SORTED = 0.2  # the share of a stream that comes sorted by component, where a start is sorted


@dataclass(frozen=True)
class Stream:
    """Records in their order.

    Parameters
    ----------
    table
        The records that are learnt, one pass.
    labels
        (n,): the component that each was drawn from.
    held_out
        Records drawn from where the stream ends.
    recent
        How many of the last records come from there, too: what a batch fit is given.
    """

    table: pa.Table
    labels: NDArray[np.int64]
    held_out: pa.Table
    recent: int


@dataclass(frozen=True)
class Kind:
    """A kind of stream.

    Parameters
    ----------
    title
        What it is, in a few words.
    n_components
        K, of the model that learns it and of the batch fits.
    draw
        (generator, number of records) -> a stream, its start not sorted.
    fields
        The families; None where they are to be inferred.
    K
        How many components a learner that chooses should find at the end; None where that can't be told.
    is_contaminated
        Whether some records belong to no component: batch fits with a background join the reference.
    """

    title: str
    n_components: int
    draw: Callable[[np.random.Generator, int], Stream]
    fields: Mapping[Any, Any] | None = None
    K: int | None = None
    is_contaminated: bool = False


@dataclass(frozen=True)
class Gaussians:
    """A mixture of Gaussians: (K,) weights, (K, D) means, (K, D, D) covariances."""

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray

    def labels(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw components."""
        return rng.choice(len(self.weights), size=n, p=self.weights)

    def rows(self, rng: np.random.Generator, labels: NDArray[np.int64], scale: FloatArray | float = 1.0) -> FloatArray:
        """Draw a row of each label's component, its deviation from the mean times a scale, (n,)."""
        D = self.means.shape[1]
        factors = np.linalg.cholesky(self.covariances)
        deviations = np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(len(labels), D)))
        return np.asarray(self.means[labels] + np.broadcast_to(scale, len(labels))[:, None] * deviations)


def static(rng: np.random.Generator, n: int, rows: Callable[[NDArray[np.int64]], Any], weights: FloatArray) -> Stream:
    """Return a stream of independent records whose law never changes; `rows` draws those of given labels."""
    labels = rng.choice(len(weights), size=n + HELD_OUT, p=weights)
    table = table_of(rows(labels))
    return Stream(table.slice(0, n), labels[:n], table.slice(n), n)


def sorted_start(stream: Stream) -> Stream:
    """Return the stream with its first fifth sorted by component."""
    first = round(SORTED * len(stream.labels))
    order = np.arange(len(stream.labels))
    order[:first] = np.argsort(stream.labels[:first], kind="stable")
    return replace(stream, table=stream.table.take(order), labels=stream.labels[order])


def table_of(rows: FloatArray | Mapping[str, Any]) -> pa.Table:
    """Return rows, or columns by name, as a table: columns x0, x1, … where they have no names; NaN becomes a gap."""
    columns = rows if isinstance(rows, Mapping) else {f"x{j}": rows[:, j] for j in range(rows.shape[1])}
    return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})


def apart(rng: np.random.Generator, K: int, D: int, side: float, distance: float) -> FloatArray:
    """Draw (K, D) means uniformly from a cube, no two of them nearer than a distance."""
    means = rng.uniform(0, side, size=(1, D))
    while len(means) < K:
        mean = rng.uniform(0, side, size=D)
        if np.linalg.norm(means - mean, axis=1).min() >= distance:
            means = np.vstack([means, mean])
    return means


def covariances(rng: np.random.Generator, K: int, D: int, least: float = 0.4, largest: float = 1.0) -> FloatArray:
    """Draw (K, D, D) covariances in random directions, standard deviations between two bounds."""
    turns = np.linalg.qr(rng.normal(size=(K, D, D)))[0]
    variances = rng.uniform(least, largest, size=(K, D)) ** 2
    return np.asarray(np.einsum("kij,kj,klj->kil", turns, variances, turns))
