"""The scales of fields: the statistics and priors that a start has of all its records, and records as points."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.angles import mean_angle, on_circle, spread_within
from streammix.core.engine import INFLATING
from streammix.em import EXCESS
from streammix.gaps import GAPS, fill_gaps, shrink_gaps, value_columns
from streammix.products import crossed
from streammix.state import State
from streammix.zeros import fill_shares, makes_zeros, without_zeros

__all__ = ["LEAST_VARIANCE", "PRIOR_WEIGHT", "fill_scales", "mean_variance", "settle", "shrink_scales", "standardised"]

FloatArray = NDArray[np.float64]

SPREADING = ("normal", "lognormal", "mvn", "vonmises", "student")  # families whose prior is a scale
LEAST_VARIANCE = 1e-130
PRIOR_WEIGHT = 0.01  # pseudo-observations a component and unit


def settle(state: State) -> None:
    """Keep scales where products of variances are normal numbers; padding lanes hold what component 0 holds."""
    k = state.n_components
    for prior in state.priors:
        np.maximum(prior, LEAST_VARIANCE, out=prior)
    for array in (state.counts, *state.statistics, *state.priors):
        array[..., k:] = array[..., :1]


def fill_scales(
    layout: Sequence[tuple[str, list[int], int, bool, Any]],
    state: State,
    columns: Sequence[FloatArray],
    weights: FloatArray | None,
) -> None:
    """Write anchors at the fields' means, and priors at the scale that one of K components would have."""
    spread = (*SPREADING, *GAPS)
    gaussian = sum(len(value_columns(kind, own, size)) for kind, own, size, *_ in layout if kind in spread)
    shrinkage = state.n_components ** (2 / max(gaussian, 1))
    for i, (kind, own, size, is_fixed, _) in enumerate(layout):
        if is_fixed:
            continue
        values, prior = state.statistics[i], state.priors[i]
        if kind == "mvn":
            means, pivots = _pooled(np.stack([columns[column] for column in own]))
            values[0, :size] = means[:, None]
            values[0, 2 * size : 3 * size] = pivots[:, None]
            prior[0, :size] = pivots[:, None] / shrinkage
            continue
        cells = [columns[column] for column in own]
        bare = kind.removeprefix(INFLATING)
        if kind != bare:
            fill_shares(kind, size, cells, values, prior)
            cells, values, prior = without_zeros(kind, size, cells), values[:, :-2], prior[:, :-2]
        if bare in GAPS:
            fill_gaps(bare, size, cells, values, prior, shrinkage)
            continue
        if kind == "multinomial":
            for j, cell in enumerate(cells):
                _fill_unit(bare, size, cell[~np.isnan(cell)], values[:, j], prior[:, j], shrinkage)
            continue
        if bare in ("normal", "lognormal"):
            means, variances = means_and_variances(np.stack(cells))
            values[:, 0], values[:, 2] = means[:, None], variances[:, None]
            prior[:, 0] = variances[:, None] / shrinkage
            continue
        for unit, cell in enumerate(cells):
            _fill_unit(bare, size, cell[~np.isnan(cell)], values[unit], prior[unit], shrinkage)


def _fill_unit(kind: str, size: Any, seen: FloatArray, values: FloatArray, prior: FloatArray, shrinkage: float) -> None:
    """Write the statistics of what was seen of one field, and its prior."""
    if kind == "vonmises":
        angle, spread = mean_angle(seen, size)
        values[:] = np.array([math.cos(angle / 2), math.sin(angle / 2), spread, 0.0])[:, None]
        prior[0] = spread / shrinkage
    elif kind == "student":
        mean, variance = _middle(seen)
        values[:] = np.array([mean, 0.0, variance, 1.0, EXCESS])[:, None]
        prior[0] = variance / shrinkage
    elif kind == "categorical":
        values[0] = 1.0
        values[1:] = 1 / max(size, 1)
        prior[0] = PRIOR_WEIGHT
    else:
        mean = float(seen.mean()) if seen.size else 0.0
        least = 0.5 / (seen.size + 1)
        if kind in ("bernoulli", "binomial"):
            top = size if kind == "binomial" else 1
            mean = min(max(mean, least), top - least)
        elif mean <= 0.0:
            mean = least
        values[0] = prior[0] = mean


def shrink_scales(
    layout: Sequence[tuple[str, list[int], int, bool, Any]],
    state: State,
    columns: Sequence[FloatArray],
    labels: NDArray[np.intp],
) -> None:
    """Let priors lie no higher than the spread within a start's clusters: distant ones must not blur one another."""
    for i, (kind, own, size, is_fixed, _) in enumerate(layout):
        bare = kind.removeprefix(INFLATING)
        cells = without_zeros(kind, size, [columns[column] for column in own])
        if not is_fixed and bare in GAPS:
            shrink_gaps(bare, size, cells, labels, state.priors[i] if kind == bare else state.priors[i][:, :-2])
        if is_fixed or bare not in SPREADING:
            continue
        prior = state.priors[i][0] if kind == "mvn" else state.priors[i][:, 0]
        if kind == "vonmises":
            for row, column in zip(prior, own, strict=True):
                np.minimum(row, spread_within(columns[column], size, labels, state.n_components), out=row)
            continue
        centred = _centred(np.stack(cells), labels, state.n_components)
        if kind == "student":
            within = np.array([_middle(row[~np.isnan(row)])[1] for row in centred])
        else:
            within = _pooled(centred)[1] if kind == "mvn" else means_and_variances(centred)[1]
        for row, spread in zip(prior, within.tolist(), strict=True):
            if spread > 1e-14 * row[0]:  # a field that is constant within clusters says nothing of their spread
                np.minimum(row, spread, out=row)


def _centred(cells: FloatArray, labels: NDArray[np.intp], k: int) -> FloatArray:
    """Values less the mean of their cluster, a field a row."""
    if np.isnan(cells).any():
        return np.stack([_centred_where_seen(values, labels, k) for values in cells])
    result: FloatArray = cells - cells[:, :1]
    sizes = np.maximum(np.bincount(labels, minlength=k), 1)
    result -= (np.stack([np.bincount(labels, values, k) for values in result]) / sizes)[:, labels]
    return result


def _centred_where_seen(values: FloatArray, labels: NDArray[np.intp], k: int) -> FloatArray:
    result: FloatArray = values - values[~np.isnan(values)][:1].sum()
    seen = ~np.isnan(result)
    own = labels[seen]
    sizes = np.maximum(np.bincount(own, minlength=k), 1)
    result[seen] -= (np.bincount(own, result[seen], minlength=k) / sizes)[own]
    return result


def mean_variance(seen: FloatArray) -> tuple[float, float]:
    """Mean and variance of a field; a constant one is given a small scale of its own size.

    Variances stay where their products are normal numbers.
    """
    if not seen.size:
        return 0.0, 1.0
    mean = float(seen[0] + (seen - seen[0]).mean())
    variance = float(((seen - mean) ** 2).mean())
    if variance == 0.0:
        variance = (1e-6 * mean) ** 2 if mean else 1e-12
    return mean, max(variance, LEAST_VARIANCE)


def means_and_variances(cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean and the variance of each field, a row each; what is missing does not count."""
    if cells.size and not np.isnan(cells).any():
        means = cells[:, 0] + (cells - cells[:, :1]).mean(axis=1)
        variances = ((cells - means[:, None]) ** 2).mean(axis=1)
        if variances.all():
            return means, np.maximum(variances, LEAST_VARIANCE)
    moments = [mean_variance(row[~np.isnan(row)]) for row in cells]
    return np.array([mean for mean, _ in moments]), np.array([variance for _, variance in moments])


def _middle(seen: FloatArray) -> tuple[float, float]:
    """Median, and the variance of a normal with the same quartiles: what lies far out does not move them."""
    if not seen.size:
        return 0.0, 1.0
    low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75])
    variance = float(((high - low) / 1.349) ** 2)
    return (float(middle), variance) if variance > 0.0 else mean_variance(seen)


def _pooled(cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means, and the variance of each field given those before it."""
    means, variances = means_and_variances(cells)
    whole = cells[:, ~np.isnan(cells).any(axis=0)]
    if whole.shape[1] <= len(cells):
        return means, variances
    scaled = (whole - means[:, None]) / np.sqrt(variances)[:, None]
    correlation = crossed(scaled.T, scaled.T) / whole.shape[1]
    correlation[np.diag_indices(len(cells))] = np.maximum(np.diag(correlation), 1e-6) * (1 + 1e-9)
    pivots = np.diag(np.linalg.cholesky(correlation + 1e-9 * np.eye(len(cells)))) ** 2
    return means, variances * pivots


def standardised(layout: Sequence[tuple[str, list[int], int, bool, Any]], columns: Sequence[FloatArray]) -> FloatArray:
    """Rows as points: numbers over their standard deviation, the commonest levels as indicators, missing as mean."""
    n = len(columns[0])
    points: list[FloatArray] = []
    for kind, own, size, *_ in layout:
        if kind in ("normal", "lognormal", "mvn"):
            cells = np.stack([columns[column] for column in own])
            if np.isfinite(cells).all():
                means, variances = means_and_variances(cells)
                points.extend((cells - means[:, None]) / np.sqrt(variances)[:, None])
                continue
        for column in value_columns(kind, own, size):
            values = columns[column]
            if kind in ("external", "uniform"):
                continue
            if kind == "vonmises":
                points.extend(on_circle(values, size))
                continue
            if kind == "categorical":
                common = np.argsort(-np.bincount(values[~np.isnan(values)].astype(int), minlength=size))[:20]
                points.extend((values == level).astype(np.float64) for level in common)
                continue
            if kind == "multinomial":
                counts = np.stack([columns[other] for other in own])
                values = np.sqrt(values / np.maximum(np.nansum(counts, axis=0), 1.0))
            bare = kind.removeprefix(INFLATING)
            if bare == "gamma":
                values = np.cbrt(values)
            elif bare == "inverse_gaussian":
                values = np.log(values)
            elif bare in ("beta", "dirichlet", "negative_binomial"):
                values = np.sqrt(values)
            finite = np.isfinite(values)
            if bare != kind and not makes_zeros(kind):  # zeros lie at the mean of the others, and say so
                finite &= (values != 0.0) | (bare == "lognormal")
                marks = np.isfinite(values) & ~finite if bare != "lognormal" else np.isneginf(values)
                points.append((marks - marks.mean()) / max(marks.std(), 1e-6))
            if bare in ("exponential", "poisson", "geometric"):
                values = np.sqrt(np.where(finite, values, 0.0))
            if kind == "student":  # what lies far out must not have clusters of its own
                mean, variance = _middle(values[finite])
                values = np.arcsinh((values - mean) / math.sqrt(variance))
            mean, variance = mean_variance(values[finite])
            points.append(np.where(finite, values - mean, 0.0) / np.sqrt(variance))
    return np.stack(points, axis=1) if points else np.zeros((n, 1))
