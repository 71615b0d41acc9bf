"""What zero-inflated fields start from: the shares of zeros of either kind, and the values that are no zeros."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING, width_of
from streammix.gaps import GAPS, gap_priors

__all__ = ["fill_inflated", "fill_shares", "makes_zeros", "without_zeros"]

FloatArray = NDArray[np.float64]

COUNTS = ("poisson", "binomial", "negative_binomial")


def makes_zeros(kind: str) -> bool:
    """Tell whether the family inside may make zeros of its own."""
    return kind.removeprefix(INFLATING) in COUNTS


def without_zeros(kind: str, size: Any, cells: Sequence[FloatArray]) -> list[FloatArray]:
    """Return a block's columns with zeros missing; a unit's first column tells which they are (log x is infinite)."""
    if not kind.startswith(INFLATING):
        return list(cells)
    zero, width = -np.inf if kind.endswith("lognormal") else 0.0, width_of(kind, size)
    return [np.where(cells[i - i % width] == zero, np.nan, values) for i, values in enumerate(cells)]


def fill_shares(kind: str, size: Any, cells: Sequence[FloatArray], values: FloatArray, prior: FloatArray) -> None:
    """Write how much of each unit is kept and how much is a structural zero: of a count's zeros, half."""
    width = width_of(kind, size)
    seen, kept = (
        np.array([np.count_nonzero(~np.isnan(column)) for column in columns[::width]])
        for columns in (cells, without_zeros(kind, size, cells))
    )
    least = 0.5 / (seen + 1)
    share = np.clip(kept / np.maximum(seen, 1), least, 1.0 - least)
    if makes_zeros(kind):
        share = (share + 1.0) / 2
    for rows in (values, prior):
        rows[:, -2:] = np.stack([share, 1.0 - share], axis=1)[:, :, None]


def fill_inflated(kind: str, given: tuple[FloatArray, ...], values: FloatArray, prior: FloatArray) -> None:
    """Write the inner statistics of given parameters and, last, their share and that of structural zeros."""
    inner = kind.removeprefix(INFLATING)
    prior[-2:] = values[-2:] = 1.0 - given[0], given[0]
    if inner in GAPS:
        values[:-2], prior[:-2] = given[1:], gap_priors(inner, *given[1:])
        return
    values[0], prior[0] = given[1], given[-1]
    if inner in ("normal", "lognormal"):
        values[2] = given[2]
