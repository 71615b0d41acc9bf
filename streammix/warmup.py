"""The first records → the first state: several starts of batch EM, the likeliest is taken.

Starts are k-means++ partitions in standardised space, with one or ten Lloyd steps. Each runs a few iterations of EM,
the best few run to convergence, and the best of those by likelihood is the state that the stream goes on from.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.angles import mean_angle, on_circle, spread_within
from streammix.core.engine import INFLATING, Engine
from streammix.core.table import Table
from streammix.core.values import level_key
from streammix.em import EXCESS, blank, collect, iterate, reanchor
from streammix.errors import ConfigError
from streammix.families import (
    Categorical,
    Dirichlet,
    Family,
    Fixed,
    Multinomial,
    MultivariateNormal,
    ZeroInflated,
)
from streammix.gaps import GAPS, check_given, fill_gaps, gap_priors, shrink_gaps, value_columns
from streammix.inference import MOST_RECORDS, RECORDS_PER_PARAMETER
from streammix.kmeans import kmeans
from streammix.schema import Names, Schema
from streammix.state import State
from streammix.zeros import fill_inflated, fill_shares, makes_zeros, without_zeros

__all__ = ["free_parameters", "given_state", "needed_records", "newcomer_state", "warm_state"]

FloatArray = NDArray[np.float64]

STARTS = 10
SHORT = 15  # iterations of each start
FINALISTS = 3
LONG = 200  # iterations of a finalist at the most
SPREADING = ("normal", "lognormal", "mvn", "vonmises", "student")  # families whose prior is a scale
LEAST_VARIANCE = 1e-130
PRIOR_WEIGHT = 0.01  # pseudo-observations a component and unit
LEAST_RECORDS = 1_000


def free_parameters(fields: Mapping[Names, Family], n_components: int, levels: Mapping[str, int]) -> int:
    """Return the number of free parameters of a mixture."""
    each = 0
    for names, family in fields.items():
        if isinstance(family, Fixed):
            continue
        if isinstance(family, MultivariateNormal):
            each += len(names) * (len(names) + 3) // 2
        elif isinstance(family, Dirichlet):
            each += len(names)
        elif isinstance(family, Multinomial):
            each += len(names) - 1
        elif isinstance(family, Categorical):
            each += max(levels.get(names[0], 2) - 1, 1)
        else:
            inner = family.family if isinstance(family, ZeroInflated) else family
            each += len(inner.parameter_names) + isinstance(family, ZeroInflated)
    return n_components * each + n_components - 1


def needed_records(fields: Mapping[Names, Family], n_components: int, levels: Mapping[str, int]) -> int:
    """Return how many records a warm-up takes by default: five a free parameter, from 1,000 to 4,000."""
    wanted = RECORDS_PER_PARAMETER * free_parameters(fields, n_components, levels)
    return min(max(wanted, LEAST_RECORDS), MOST_RECORDS)


def given_state(schema: Schema, weights: Sequence[float], start: float) -> State:
    """Return the state of explicit parameters, counted as `start` records, without a prior."""
    layout = schema.layout()
    n_components = len(weights)
    state = blank(layout, n_components, 0.0)
    state.masses[0, :n_components] = np.maximum(weights, 1e-300)
    state.starts[:] = start
    _fill_given(schema, state)
    _settle(state)
    state.counts[0] = np.maximum(state.masses[0] * start, 1e-300)
    return state


def warm_state(
    schema: Schema,
    columns: Sequence[FloatArray],
    weights: FloatArray | None,
    n_components: int,
    rng: np.random.Generator,
) -> State:
    """Return the state that the warm-up's rows, as columns, lead to; the rows then count as the start."""
    layout = schema.layout()
    table = Table(list(columns))
    state = blank(layout, n_components, PRIOR_WEIGHT)
    _fill_given(schema, state)
    _fill_scales(layout, state, columns, weights)
    for block, unit in Engine(layout, state, (0, 1.0)).forks_needed(table, 0, table.n_rows):
        state.fork(block, unit)
    _settle(state)
    engine = Engine(layout, state, (0, 1.0))
    totals = engine.compounded(table, 0, table.n_rows, weights)[1]
    space = _standardised(layout, columns)
    candidates = []
    first = state.copy()
    for start in range(STARTS):
        state.assign(first)
        labels = kmeans(space, n_components, 1 if start % 2 else 10, rng)
        _shrink_scales(layout, state, columns, labels)
        acc = engine.accumulator()
        engine.accumulate(table, 0, table.n_rows, weights, np.eye(n_components)[labels], acc)
        iterate(engine, state, acc, totals)
        candidates.append((_climb(engine, state, table, weights, totals, SHORT), state.copy()))
        if n_components == 1:
            break
    finals = []
    for candidate in _ranked(candidates, totals)[:FINALISTS]:
        state.assign(candidate)
        engine.maximize()
        finals.append((_climb(engine, state, table, weights, totals, LONG), state.copy()))
    best = _ranked(finals, totals)[0]
    reanchor(layout, best)
    return best


def newcomer_state(
    schema: Schema, columns: Sequence[FloatArray], weights: FloatArray, responsibilities: FloatArray
) -> State:
    """Return the state of a field alone whose records' responsibilities are known: one M-step."""
    layout = schema.layout()
    table = Table(list(columns))
    state = blank(layout, responsibilities.shape[1], PRIOR_WEIGHT)
    _fill_scales(layout, state, columns, weights)
    _settle(state)
    engine = Engine(layout, state, (0, 1.0))
    totals = engine.compounded(table, 0, table.n_rows, weights)[1]
    acc = engine.accumulator()
    engine.accumulate(table, 0, table.n_rows, weights, responsibilities, acc)
    iterate(engine, state, acc, totals)
    reanchor(layout, state)
    return state


def _ranked(candidates: Sequence[tuple[float, State]], totals: FloatArray) -> list[State]:
    """States by their log-likelihood: those less than a ten-thousandth of a nat a record apart are ties, in order.

    What counts is how far each is from the best: the likelihoods themselves depend on the fields' units.
    """
    best = max(log_likelihood for log_likelihood, _ in candidates)
    ranks = [round((best - log_likelihood) / float(totals[0]) * 1e4) for log_likelihood, _ in candidates]
    return [candidates[i][1] for i in sorted(range(len(candidates)), key=ranks.__getitem__)]


def _climb(
    engine: Engine, state: State, table: Table, weights: FloatArray | None, totals: FloatArray, iterations: int
) -> float:
    """Run EM until it gains less than 1e-6 nats a record; return the last log-likelihood seen."""
    before = -np.inf
    for _ in range(iterations):
        acc, log_likelihood, _ = collect(engine, table, 0, table.n_rows, weights)
        if log_likelihood - before < 1e-6 * totals[0]:
            break
        before = log_likelihood
        iterate(engine, state, acc, totals)
    return float(log_likelihood)


def _settle(state: State) -> None:
    """Keep scales where products of variances are normal numbers; padding lanes hold what component 0 holds."""
    k = state.n_components
    for prior in state.priors:
        np.maximum(prior, LEAST_VARIANCE, out=prior)
    for array in (state.counts, *state.statistics, *state.priors):
        array[..., k:] = array[..., :1]


def _fill_given(schema: Schema, state: State) -> None:
    """Write the statistics of the families that have parameters; the scale of a floor is the start's own."""
    for i, block in enumerate(schema.blocks):
        values, prior = state.statistics[i], state.priors[i]
        for unit, families in enumerate(block.families):
            for k, family in enumerate(families):
                if block.kind == "external" or family is None or not family.is_given:
                    continue
                given = family.statistics()
                _check_scale(block.kind, given, block.names[unit])
                inner: Any = family.distribution if isinstance(family, Fixed) else family
                if block.kind.startswith(INFLATING):
                    check_given(block.kind, inner.family.parameters, given[1], block.names[unit])
                    fill_inflated(block.kind, given, values[unit, :, k], prior[unit, :, k])
                elif block.kind in ("normal", "lognormal"):
                    values[unit, 0, k], values[unit, 2, k] = given[0], given[1]
                    prior[unit, 0, k] = given[1]
                elif block.kind == "mvn":
                    _fill_factor(values[unit, :, k], prior[unit, :, k], given[0], given[1])
                elif block.kind == "vonmises":
                    half = math.pi * float(given[0]) / block.size
                    values[unit, :, k] = math.cos(half), math.sin(half), given[1], 0.0
                    prior[unit, 0, k] = given[1]
                elif block.kind == "student":
                    values[unit, :, k] = given[0], 0.0, given[1], 1.0, given[2]
                    prior[unit, 0, k] = given[1]
                elif block.kind == "categorical":
                    codes = schema.codes[block.names[unit][0]]
                    values[unit, 1:, k] = 0.0
                    for level, p in inner.probabilities.items():
                        values[unit, 1 + codes[level_key(level)], k] = p
                    prior[unit, 0, k] = 0.0
                elif block.kind in GAPS:
                    check_given(block.kind, inner.parameters, given[0], block.names[unit])
                    values[unit, :, k] = np.concatenate([np.ravel(part) for part in given])
                    prior[unit, :, k] = gap_priors(block.kind, *given)
                else:
                    values[unit, :, k] = prior[unit, :, k] = given[0]
            served = [k for k, family in enumerate(families) if family is not None and family.is_given]
            for k in range(state.n_components):
                if served and k not in served:
                    values[unit, :, k] = values[unit, :, served[0]]
                    prior[unit, :, k] = prior[unit, :, served[0]]


def _check_scale(kind: str, given: tuple[FloatArray, ...], names: Names) -> None:
    if kind.startswith(INFLATING):
        _check_scale(kind.removeprefix(INFLATING), given[1:], names)
    if kind in ("normal", "lognormal", "mvn", "student"):
        variances = np.diag(given[1]) if kind == "mvn" else given[1]
        if not ((variances > 1e-120) & (variances < 1e140)).all():
            raise ConfigError(f"field {', '.join(names)}: a variance must lie between 1e-120 and 1e140, not {given[1]}")


def _fill_factor(values: FloatArray, prior: FloatArray, mean: FloatArray, covariance: FloatArray) -> None:
    """Write anchor, offset, pivots and the unit triangle of one component."""
    size = len(mean)
    root = np.linalg.cholesky(covariance)
    scale = np.diag(root)
    values[:size] = mean
    values[size : 2 * size] = 0.0
    values[2 * size : 3 * size] = scale**2
    values[3 * size :] = (root / scale)[np.tril_indices(size, -1)]
    prior[:size] = scale**2


def _fill_scales(
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
    elif kind in ("normal", "lognormal"):
        mean, variance = _mean_variance(seen)
        values[0] = mean
        values[2] = variance
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


def _shrink_scales(
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
        centred = np.stack([_centred(values, labels, state.n_components) for values in cells])
        moments = _middle if kind == "student" else _mean_variance
        within = _pooled(centred)[1] if kind == "mvn" else [moments(row[~np.isnan(row)])[1] for row in centred]
        for row, spread in zip(prior, within, strict=True):
            if spread > 1e-14 * row[0]:  # a field that is constant within clusters says nothing of their spread
                np.minimum(row, spread, out=row)


def _centred(values: FloatArray, labels: NDArray[np.intp], k: int) -> FloatArray:
    """Values less the mean of their cluster."""
    result: FloatArray = values - values[~np.isnan(values)][:1].sum()
    seen = ~np.isnan(result)
    own = labels[seen]
    sizes = np.maximum(np.bincount(own, minlength=k), 1)
    result[seen] -= (np.bincount(own, result[seen], minlength=k) / sizes)[own]
    return result


def _mean_variance(seen: FloatArray) -> tuple[float, float]:
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


def _middle(seen: FloatArray) -> tuple[float, float]:
    """Median, and the variance of a normal with the same quartiles: what lies far out does not move them."""
    if not seen.size:
        return 0.0, 1.0
    low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75])
    variance = float(((high - low) / 1.349) ** 2)
    return (float(middle), variance) if variance > 0.0 else _mean_variance(seen)


def _pooled(cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means, and the variance of each field given those before it."""
    moments = [_mean_variance(row[~np.isnan(row)]) for row in cells]
    means = np.array([mean for mean, _ in moments])
    variances = np.array([variance for _, variance in moments])
    whole = cells[:, ~np.isnan(cells).any(axis=0)]
    if whole.shape[1] <= len(cells):
        return means, variances
    scaled = (whole - means[:, None]) / np.sqrt(variances)[:, None]
    correlation = scaled @ scaled.T / whole.shape[1]
    correlation[np.diag_indices(len(cells))] = np.maximum(np.diag(correlation), 1e-6) * (1 + 1e-9)
    pivots = np.diag(np.linalg.cholesky(correlation + 1e-9 * np.eye(len(cells)))) ** 2
    return means, variances * pivots


def _standardised(layout: Sequence[tuple[str, list[int], int, bool, Any]], columns: Sequence[FloatArray]) -> FloatArray:
    """Rows as points: numbers over their standard deviation, the commonest levels as indicators, missing as mean."""
    n = len(columns[0])
    points: list[FloatArray] = []
    for kind, own, size, *_ in layout:
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
            mean, variance = _mean_variance(values[finite])
            points.append(np.where(finite, values - mean, 0.0) / np.sqrt(variance))
    return np.stack(points, axis=1) if points else np.zeros((n, 1))
