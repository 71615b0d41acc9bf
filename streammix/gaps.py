"""What the families of gamma functions start from and show: means, and gaps between log of mean and mean of log.

In the place of a gap an inverse Gaussian has its spread, the mean of x times that of 1 / x, less 1.

A prior for a group of shares is one number, its spread: the mean-weighted gaps over the degrees of freedom, which is
about 1 / (2 concentration) whatever the means are; the core makes each share's gap of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING, digamma_gap, width_of
from streammix.errors import ConfigError

__all__ = ["GAPS", "check_given", "fill_gaps", "gap_parameters", "gap_priors", "shrink_gaps", "value_columns"]

FloatArray = NDArray[np.float64]

GAPS = ("gamma", "beta", "dirichlet", "negative_binomial", "inverse_gaussian")
LEAST = 1e-9  # the gap of a field that is constant: a shape of 5e8


def value_columns(kind: str, own: Sequence[int], size: int) -> list[int]:
    """Return the columns, among a block's own, that hold its values rather than functions of them."""
    width = width_of(kind, size)
    values = {"gamma": 1, "beta": 1, "dirichlet": size}.get(kind.removeprefix(INFLATING), width)
    return [column for start in range(0, len(own), width) for column in own[start : start + values]]


def check_given(kind: str, parameters: Sequence[Any], means: FloatArray, names: Sequence[str]) -> None:
    """Refuse parameters beyond what the core tells from a limit."""
    kind = kind.removeprefix(INFLATING)
    if kind not in GAPS:
        return
    shapes = {"gamma": parameters[:1], "negative_binomial": parameters[1:]}.get(kind, np.ravel(parameters))
    name = {"gamma": "shape", "negative_binomial": "size"}.get(kind, "concentration")
    bounds = (1e-6, 1e10)
    if kind == "inverse_gaussian":
        name, shapes, bounds = "shape over the mean", [parameters[1] / parameters[0]], (1e-12, 1e12)
    for what, values, low, high in ((name, shapes, *bounds), ("mean", np.ravel(means), 1e-150, 1e100)):
        for value in values:
            if not low <= value <= high:
                text = f"a {what} must lie between {low:g} and {high:g}, not {float(value)!r}"
                raise ConfigError(f"field {', '.join(names)}: {text}")


def gap_parameters(kind: str, size: int, statistics: FloatArray, theta: FloatArray) -> tuple[Any, ...]:
    """Return the parameters in people's order, from one component's statistics and theta."""
    if kind == "gamma":
        return float(theta[0]), float(statistics[0] / theta[0])
    if kind == "dirichlet":
        return (tuple(theta[:size].tolist()),)
    if kind == "inverse_gaussian":
        return float(statistics[0]), float(theta[0])
    first, second = theta[:2].tolist()
    return (first, second) if kind == "beta" else (second, first)


def gap_priors(kind: str, means: FloatArray, gaps: FloatArray) -> FloatArray:
    """Return the rows of a unit's prior that lie where these statistics do."""
    spread = np.sum(means * gaps) / (np.size(means) - 1) if np.ndim(means) else gaps
    return np.array([means, spread]) if kind == "negative_binomial" else np.array([spread])


def fill_gaps(
    kind: str, size: int, columns: Sequence[FloatArray], values: FloatArray, prior: FloatArray, shrinkage: float
) -> None:
    """Write the statistics of all records to every component, and priors at the spread that one of K would have."""
    for unit, cells in enumerate(_units(kind, size, columns)):
        means, gaps = _statistics(kind, cells)
        values[unit] = np.concatenate([means, gaps])[:, None]
        rows = gap_priors(kind, *(part[0] if len(part) == 1 else part for part in (means, gaps)))
        rows[-1] = max(rows[-1] / shrinkage, LEAST)
        prior[unit] = rows[:, None]


def shrink_gaps(
    kind: str, size: int, columns: Sequence[FloatArray], labels: NDArray[np.intp], prior: FloatArray
) -> None:
    """Let priors lie no higher than the spread within a start's clusters."""
    for unit, cells in enumerate(_units(kind, size, columns)):
        total, weight = 0.0, 0
        for label in np.unique(labels):
            members = [column[labels == label] for column in cells]
            count = int(np.isfinite(members[0]).sum())
            if count > 1:
                means, gaps = (part[0] if len(part) == 1 else part for part in _statistics(kind, members))
                total += count * gap_priors(kind, means, gaps)[-1]
                weight += count
        if weight and total / weight > 1e-14 * prior[unit, -1, 0]:
            np.minimum(prior[unit, -1], max(total / weight, LEAST), out=prior[unit, -1])


def _units(kind: str, size: int, columns: Sequence[FloatArray]) -> Iterator[Sequence[FloatArray]]:
    width = width_of(kind, size)
    return (columns[start : start + width] for start in range(0, len(columns), width))


def _statistics(kind: str, cells: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Means and gaps of one unit's coordinates."""
    if kind == "negative_binomial":
        seen = cells[0][np.isfinite(cells[0])]
        mean = float(seen.mean()) if seen.size else 0.0
        if mean <= 0.0:
            return np.array([0.5 / (seen.size + 1)]), np.array([digamma_gap(1.0)])
        excess = max(float(seen.var()) - mean, 0.01 * mean) / mean**2  # 1 / size, by moments
        return np.array([mean]), np.array([digamma_gap(1.0 / excess)])
    if kind == "inverse_gaussian":
        seen = cells[0][np.isfinite(cells[0])]
        mean = max(float(seen.mean()), 1e-150) if seen.size else 1.0
        deviations = seen - mean
        spread = float(np.mean(deviations / mean * (deviations / np.maximum(seen, 1e-200)))) if seen.size else 1.0
        return np.array([mean]), np.array([min(max(spread, LEAST), 1e12)])
    half = len(cells) // 2
    pairs = [_mean_and_gap(*pair) for pair in zip(cells[:half], cells[half:], strict=True)]
    means, gaps = np.array([mean for mean, _ in pairs]), np.array([gap for _, gap in pairs])
    return means / means.sum() if half > 1 else means, gaps


def _mean_and_gap(values: FloatArray, logs: FloatArray) -> tuple[float, float]:
    there = np.isfinite(values)
    values, logs = values[there], logs[there]
    if not values.size:
        return 1.0, 0.5
    mean = float(values.mean())
    t = (values - mean) / mean
    near = np.log1p(np.maximum(t, -0.5))
    gap = float(np.mean(t - np.where(t > -0.5, near, logs - np.log(mean))))
    return mean, max(gap, LEAST)
