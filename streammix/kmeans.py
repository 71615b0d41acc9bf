"""K-means partitions of points: where the warm-up's starts come from."""

import numpy as np
from numpy.typing import NDArray

from streammix.products import ONE_THREAD

__all__ = ["kmeans"]

FloatArray = NDArray[np.float64]


def kmeans(space: FloatArray, k: int, lloyd_steps: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Labels of a k-means++ start after a few Lloyd steps."""
    n = len(space)
    centers = [space[rng.integers(n)]]
    nearest = np.full(n, np.inf)
    for _ in range(k - 1):
        nearest = np.minimum(nearest, ((space - centers[-1]) ** 2).sum(axis=1))
        total = nearest.sum()
        chance = nearest / total if total > 0 else np.full(n, 1 / n)
        below = chance.cumsum()  # as rng.choice does it, which checks its arguments for longer than it draws
        centers.append(space[(below / below[-1]).searchsorted(rng.random(), side="right")])
    places = np.array(centers)
    squares = (space**2).sum(axis=1)
    for _ in range(lloyd_steps):
        labels = _nearest(space, squares, places)
        sizes = np.bincount(labels, minlength=k)
        filled = sizes > 0
        in_turn = space[np.argsort(labels, kind="stable")]
        sums = np.add.reduceat(in_turn, (np.cumsum(sizes) - sizes)[filled])
        places[filled] = sums / sizes[filled, None]
    return _nearest(space, squares, places)


def _nearest(space: FloatArray, squares: FloatArray, places: FloatArray) -> NDArray[np.intp]:
    """The nearest place of each point, some points at a time."""
    step = max(ONE_THREAD // max(places.size, 1), 1)
    sizes = (places**2).sum(axis=1)
    labels = np.empty(len(space), dtype=np.intp)
    for i in range(0, len(space), step):
        some = slice(i, i + step)
        labels[some] = (squares[some, None] - 2 * space[some] @ places.T + sizes).argmin(axis=1)
    return labels
