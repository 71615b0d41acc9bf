"""K-means partitions of points: where the warm-up's starts come from."""

import numpy as np
from numpy.typing import NDArray

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
        centers.append(space[rng.choice(n, p=chance)])
    places = np.array(centers)
    squares = (space**2).sum(axis=1)
    for _ in range(lloyd_steps):
        members = np.eye(k)[_nearest(space, squares, places)]
        sizes = members.sum(axis=0)
        places[sizes > 0] = (members.T @ space)[sizes > 0] / sizes[sizes > 0, None]
    return _nearest(space, squares, places)


def _nearest(space: FloatArray, squares: FloatArray, places: FloatArray) -> NDArray[np.intp]:
    distances = squares[:, None] - 2 * space @ places.T + (places**2).sum(axis=1)
    return np.asarray(distances.argmin(axis=1))
