"""Where the shares of components change among records that follow one another."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["last_change"]

FloatArray = NDArray[np.float64]

CLEAR = 4.0  # standard deviations of a share's cumulative sum: by chance not once in ten billion
FEWEST = 50  # rows that are looked at


def last_change(responsibilities: FloatArray) -> int:
    """Return from which row on the shares of components, and of a background, stay the same; 0 if they always do.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> last_change(np.eye(3)[rng.integers(3, size=2_000)])
    0
    >>> last_change(np.eye(3)[np.concatenate([rng.integers(2, size=900), rng.integers(3, size=1_100)])])  # at 900
    912
    """
    shares, begin = np.column_stack([responsibilities, 1.0 - responsibilities.sum(axis=1)]), 0
    while len(shares) - begin >= FEWEST:
        own = shares[begin:]
        moved = np.abs(np.cumsum(own - own.mean(axis=0), axis=0))
        spread = np.maximum(own.std(axis=0), 1e-6) * math.sqrt(len(own))
        clearest = int((moved.max(axis=0) / spread).argmax())
        if moved[:, clearest].max() <= CLEAR * spread[clearest]:
            break
        begin += int(moved[:, clearest].argmax()) + 1
    return begin
