"""Matrix products in pieces: the threads of a large one wait for one another, for long on a busy machine."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["ONE_THREAD", "crossed", "principal_axis"]

FloatArray = NDArray[np.float64]

ONE_THREAD = 200_000  # multiplications of a matrix product that BLAS does not spread over threads
FEWEST = 16  # rows of a piece
POWER = 64  # of a matrix, that leaves little but its principal axis


def crossed(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the sum of the outer products of each row of a matrix with that of another: of (n, p) and (n, q), (p, q).

    Examples
    --------
    >>> crossed(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0], [3.0]])).tolist()
    [[1.0], [5.0]]
    """
    step = max(ONE_THREAD // max(one.shape[1] * other.shape[1], 1), FEWEST)
    total = one[:step].T @ other[:step]
    for i in range(step, len(one), step):
        total += one[i : i + step].T @ other[i : i + step]
    return np.asarray(total)


def principal_axis(spread: FloatArray) -> FloatArray:
    """Return a vector along the principal axis of a symmetric matrix without negative eigenvalues, or nearly so."""
    scaled = spread / max(float(np.diagonal(spread).max()), 1e-300)
    axis = scaled[:, np.diagonal(scaled).argmax()]
    for _ in range(POWER):
        axis = scaled @ axis
    return np.asarray(axis)
