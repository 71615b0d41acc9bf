"""Textbook EM for mixtures in plain NumPy and scipy.stats: what the package is held against.

It shares nothing with the package and is written to be checked against a textbook, not to be fast.

A *component* is a dict from a field, or a tuple of fields, to its distribution as a plain tuple:

    ("normal", mean, variance)      ("mvn", mean, covariance)       ("lognormal", mean, variance)
    ("exponential", rate)           ("poisson", rate)               ("bernoulli", p)
    ("binomial", n, p)              ("categorical", {level: p})     ("fixed", frozen scipy distribution)
    ("geometric", p)                ("inverse_gaussian", mean, shape)
    ("vonmises", mean, concentration, period)                       ("student", df, location, scale)
    ("uniform", low, high)         ("inflated", zero, distribution of the others)
    and those of oracle_gamma and oracle_counts

A *record* is a dict from field to value; one that is absent, None or NaN is missing and is integrated out.
Statistics are raw sums (``sum r``, ``sum r x``, ``sum r x x'``): nothing is centred, nothing is regularised.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import oracle_counts
import oracle_gamma
from numpy.typing import NDArray
from scipy import optimize, special, stats
from scipy.special import logsumexp

Field = str | tuple[str, ...]
Component = Mapping[Field, tuple[Any, ...]]
Record = Mapping[str, Any]
Array = NDArray[np.float64]

__all__ = [
    "conditional_expectation",
    "em",
    "em_iteration",
    "log_density",
    "log_joint",
    "log_likelihood",
    "responsibilities",
    "stepwise",
]


MAKING_ZEROS = ("poisson", "binomial", "negative_binomial")


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def column(records: Sequence[Record], field: str) -> list[Any]:
    """One value a record, None where it is missing."""
    values = (record.get(field) for record in records)
    return [None if is_missing(value) else value for value in values]


def number_column(records: Sequence[Record], field: str) -> Array:
    """One number a record, NaN where it is missing."""
    return np.array([np.nan if value is None else float(value) for value in column(records, field)])


def matrix(records: Sequence[Record], fields: tuple[str, ...]) -> Array:
    return np.column_stack([number_column(records, field) for field in fields])


def is_observed(records: Sequence[Record], field: Field) -> NDArray[np.bool_]:
    """Whether a record says anything about a field (about any of them, for a tuple)."""
    fields = field if isinstance(field, tuple) else (field,)
    return np.array([any(not is_missing(record.get(name)) for name in fields) for record in records], dtype=bool)


# --- E-step ---


def scipy_log_density(distribution: tuple[Any, ...], x: Array) -> Any:
    """log p(x) of a one-field block, by scipy.stats."""
    match distribution:
        case ("normal", mean, variance):
            return stats.norm.logpdf(x, mean, math.sqrt(variance))
        case ("lognormal", mean, variance):
            return stats.lognorm.logpdf(x, math.sqrt(variance), scale=math.exp(mean))
        case ("exponential", rate):
            return stats.expon.logpdf(x, scale=1 / rate)
        case ("poisson", rate):
            return stats.poisson.logpmf(x, rate)
        case ("inverse_gaussian", mean, shape):
            return stats.invgauss.logpdf(x, mean / shape, scale=shape)
        case ("geometric", p):
            return stats.geom.logpmf(x, p, loc=-1)
        case ("bernoulli", p):
            return stats.bernoulli.logpmf(x, p)
        case ("binomial", n, p):
            return stats.binom.logpmf(x, n, p)
        case ("vonmises", mean, concentration, period):
            return stats.vonmises.logpdf(x, concentration, loc=mean, scale=period / (2 * math.pi))
        case ("student", df, location, scale):
            return stats.t.logpdf(x, df, location, scale)
        case ("uniform", low, high):
            return stats.uniform.logpdf(x, low, high - low)
        case ("inflated", zero, inner):
            with np.errstate(divide="ignore"):
                others = math.log1p(-zero) + scipy_log_density(inner, x)
                if inner[0] in MAKING_ZEROS:
                    return np.where(x == 0, np.logaddexp(math.log(zero), others), others)
                return np.where(x == 0, math.log(zero), others)
        case ("fixed", other):
            return other.logpdf(x) if hasattr(other, "logpdf") else other.logpmf(x)
    if distribution[0] in oracle_gamma.KINDS:
        return oracle_gamma.log_density(distribution, x)
    raise ValueError(f"no such distribution: {distribution!r}")


def block_log_density(field: Field, distribution: tuple[Any, ...], records: Sequence[Record]) -> Array:
    """log p(x_f | theta_f) of each record; 0 where the field is missing."""
    if distribution[0] == "mvn":
        assert isinstance(field, tuple)
        return mvn_log_density(matrix(records, field), *distribution[1:])
    if distribution[0] == "dirichlet":
        assert isinstance(field, tuple)
        return np.asarray(oracle_gamma.log_density(distribution, matrix(records, field)))
    if distribution[0] == "multinomial":
        assert isinstance(field, tuple)
        return oracle_counts.log_density(distribution, matrix(records, field))
    assert isinstance(field, str)
    result = np.zeros(len(records))
    seen = is_observed(records, field)
    if distribution[0] == "categorical":
        probabilities = distribution[1]
        levels = column(records, field)
        result[seen] = [math.log(probabilities[level]) for level in levels if level is not None]
    elif seen.any():
        result[seen] = scipy_log_density(distribution, number_column(records, field)[seen])
    return result


def mvn_log_density(rows: Array, mean: Any, covariance: Any) -> Array:
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    result = np.zeros(len(rows))
    seen = ~np.isnan(rows)
    for pattern in np.unique(seen, axis=0):
        if pattern.any():
            here = (seen == pattern).all(axis=1)
            marginal = stats.multivariate_normal(mean[pattern], covariance[np.ix_(pattern, pattern)])
            result[here] = marginal.logpdf(rows[here][:, pattern])
    return result


def log_joint(weights: Any, components: Sequence[Component], records: Sequence[Record]) -> Array:
    """log(pi_k p(x | theta_k)), shape (n, K)."""
    columns = [
        math.log(weight) + sum(block_log_density(field, block, records) for field, block in component.items())
        for weight, component in zip(weights, components, strict=True)
    ]
    return np.column_stack(columns)


def log_density(weights: Any, components: Sequence[Component], records: Sequence[Record]) -> Array:
    """log p(x) of each record."""
    return np.asarray(logsumexp(log_joint(weights, components, records), axis=1))


def responsibilities(weights: Any, components: Sequence[Component], records: Sequence[Record]) -> Array:
    """p(k | x), shape (n, K)."""
    joint = log_joint(weights, components, records)
    return np.asarray(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))


def log_likelihood(weights: Any, components: Sequence[Component], records: Sequence[Record], w: Any = None) -> float:
    """sum_i w_i log p(x_i)."""
    w = np.ones(len(records)) if w is None else np.asarray(w, float)
    return float(w @ log_density(weights, components, records))


# --- statistics: weight, weighted sum of T(x) ---


def conditional_moments(row: Array, mean: Any, covariance: Any) -> tuple[Array, Array]:
    """E[x | observed part] and E[x x' | observed part] of a multivariate normal."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    seen = ~np.isnan(row)
    filled, spread = mean.copy(), covariance.copy()
    if seen.any():
        gain = covariance[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        filled = mean + gain @ (row[seen] - mean[seen])
        filled[seen] = row[seen]
        spread = covariance - gain @ covariance[seen]
        spread[seen] = 0.0
        spread[:, seen] = 0.0
    return filled, spread + np.outer(filled, filled)


def sums(field: Field, distribution: tuple[Any, ...], records: Sequence[Record], r: Array) -> list[Any]:
    """[sum r, sum r E[T(x)]...] over the records that say something about the field."""
    seen = is_observed(records, field)
    mass = float(r[seen].sum())
    kind = distribution[0]
    if kind in ("fixed", "uniform"):
        return [mass]
    if kind == "mvn":
        assert isinstance(field, tuple)
        moments = [conditional_moments(row, *distribution[1:]) for row in matrix(records, field)[seen]]
        first = sum((r_i * m for r_i, (m, _) in zip(r[seen], moments, strict=True)), np.zeros(len(field)))
        second = sum((r_i * s for r_i, (_, s) in zip(r[seen], moments, strict=True)), np.zeros((len(field),) * 2))
        return [mass, first, second]
    if kind == "dirichlet":
        assert isinstance(field, tuple)
        return [mass, *oracle_gamma.sums(distribution, matrix(records, field)[seen], r[seen])]
    if kind == "multinomial":
        assert isinstance(field, tuple)
        return [mass, oracle_counts.sums(distribution, matrix(records, field)[seen], r[seen])]
    assert isinstance(field, str)
    if kind == "categorical":
        levels = np.array([str(level) for level in column(records, field)])
        return [mass, *(float(r[seen & (levels == level)].sum()) for level in distribution[1])]
    x = number_column(records, field)[seen]
    if kind in oracle_gamma.KINDS:
        return [mass, *oracle_gamma.sums(distribution, x, r[seen])]
    if kind == "inflated":  # some zeros are not the inner distribution's
        zero, inner = distribution[1:]
        kept = np.where(x == 0, 0.0, 1.0)
        if inner[0] in MAKING_ZEROS:
            structural = zero / np.exp(scipy_log_density(distribution, np.zeros(1)))[0]
            kept = np.where(x == 0, 1 - structural, 1.0)
        whose = np.flatnonzero(seen)[kept > 0]
        return [mass, *sums(field, inner, [records[i] for i in whose], r[whose] * kept[kept > 0])]
    if kind == "vonmises":
        angle = 2 * math.pi * x / distribution[3]
        return [mass, float(r[seen] @ np.cos(angle)), float(r[seen] @ np.sin(angle))]
    if kind == "student":  # the latent scale u of the precision, given x, is a gamma
        df, location, scale = distribution[1:]
        rate = (df + ((x - location) / scale) ** 2) / 2
        u, log_u = (df + 1) / 2 / rate, special.digamma((df + 1) / 2) - np.log(rate)
        return [mass, *(float(r[seen] @ moment) for moment in (u, u * x, u * x * x, log_u))]
    if kind == "inverse_gaussian":
        return [mass, float(r[seen] @ x), float(r[seen] @ (1 / x))]
    if kind == "lognormal":
        x = np.log(x)
    powers = [x, x * x] if kind in ("normal", "lognormal") else [x]
    return [mass, *(float(r[seen] @ power) for power in powers)]


def statistics_of(distribution: tuple[Any, ...], mass: float) -> list[Any]:
    """What `sums` would give for `mass` records of this very distribution: where stepwise EM starts."""
    match distribution:
        case ("normal" | "lognormal", mean, variance):
            return [mass, mass * mean, mass * (variance + mean**2)]
        case ("mvn", mean, covariance):
            mean = np.asarray(mean, float)
            return [mass, mass * mean, mass * (np.asarray(covariance, float) + np.outer(mean, mean))]
        case ("exponential", rate):
            return [mass, mass / rate]
        case ("inverse_gaussian", mean, shape):
            return [mass, mass * mean, mass * (1 / mean + 1 / shape)]
        case ("geometric", p):
            return [mass, mass * (1 - p) / p]
        case ("poisson" | "bernoulli", expectation):
            return [mass, mass * expectation]
        case ("binomial", n, p):
            return [mass, mass * n * p]
        case ("categorical", probabilities):
            return [mass, *(mass * p for p in probabilities.values())]
        case ("fixed", _) | ("uniform", _, _):
            return [mass]
        case ("multinomial", *_):
            return [mass, mass * oracle_counts.statistics_of(distribution)]
        case ("inflated", zero, inner):
            return [mass, *statistics_of(inner, mass * (1 - zero))]
        case ("vonmises", mean, concentration, period):
            length = mass * special.i1e(concentration) / special.i0e(concentration)
            angle = 2 * math.pi * mean / period
            return [mass, length * math.cos(angle), length * math.sin(angle)]
        case ("student", df, location, scale):
            log_u = special.digamma(df / 2) - math.log(df / 2)
            return [mass, mass, mass * location, mass * (location**2 + scale**2), mass * log_u]
    if distribution[0] in oracle_gamma.KINDS:
        return [mass, *(mass * value for value in oracle_gamma.statistics_of(distribution))]
    raise ValueError(f"no such distribution: {distribution!r}")


def maximize(distribution: tuple[Any, ...], statistics: Sequence[Any]) -> tuple[Any, ...]:
    """The M-step of one block; a block without mass stays as it is."""
    mass, *totals = statistics
    if mass == 0:
        return distribution
    means = [total / mass for total in totals]
    match distribution[0]:
        case "normal" | "lognormal":
            return (distribution[0], means[0], means[1] - means[0] ** 2)
        case "mvn":
            return ("mvn", means[0], means[1] - np.outer(means[0], means[0]))
        case "exponential":
            return ("exponential", 1 / means[0])
        case "inverse_gaussian":
            return ("inverse_gaussian", means[0], 1 / (means[1] - 1 / means[0]))
        case "geometric":
            return ("geometric", 1 / (1 + means[0]))
        case "poisson" | "bernoulli":
            return (distribution[0], means[0])
        case "binomial":
            return ("binomial", distribution[1], means[0] / distribution[1])
        case "categorical":
            return ("categorical", dict(zip(distribution[1], means, strict=True)))
        case "multinomial":
            return oracle_counts.maximize(means)
        case "inflated":
            return ("inflated", 1 - means[0], maximize(distribution[2], totals))
        case "vonmises":
            period, length = distribution[3], math.hypot(*means)
            mean = math.atan2(means[1], means[0]) / (2 * math.pi) * period % period

            def excess_length(k: float) -> float:
                return float(special.i1e(k) / special.i0e(k)) - length

            return ("vonmises", mean, optimize.brentq(excess_length, 0.0, 1e6, xtol=1e-15, rtol=1e-14), period)
        case "student":
            u, ux, uxx, log_u = means

            def slope(df: float) -> float:
                return math.log(df / 2) + 1 - float(special.digamma(df / 2)) + log_u - u

            df = optimize.brentq(slope, 0.1, 1e6, xtol=1e-15, rtol=1e-14)
            return ("student", df, ux / u, math.sqrt(uxx - ux * ux / u))
    if distribution[0] in oracle_gamma.KINDS:
        return oracle_gamma.maximize(distribution[0], means)
    return distribution


# --- batch EM ---


def em_iteration(
    weights: Any, components: Sequence[Component], records: Sequence[Record], w: Any = None
) -> tuple[Array, list[Component], float, Array]:
    """One E-step and one M-step: weights, components, and the E-step's log-likelihood and expected counts."""
    w = np.ones(len(records)) if w is None else np.asarray(w, float)
    r = responsibilities(weights, components, records) * w[:, None]
    counts = r.sum(axis=0)
    moved: list[Component] = [
        {field: maximize(block, sums(field, block, records, r[:, k])) for field, block in component.items()}
        for k, component in enumerate(components)
    ]
    return counts / counts.sum(), moved, log_likelihood(weights, components, records, w), counts


def em(
    weights: Any, components: Sequence[Component], records: Sequence[Record], n_iter: int, w: Any = None
) -> tuple[Array, list[Component], list[float], Array]:
    """Iterate: weights, components, the log-likelihood of each E-step, the last expected counts."""
    trace, counts = [], np.asarray(weights, float)
    for _ in range(n_iter):
        weights, components, value, counts = em_iteration(weights, components, records, w)
        trace.append(value)
    return np.asarray(weights, float), list(components), trace, counts


# --- stepwise (online) EM ---


class Clock:
    """Counts records (their weights) and gives each the step of its turn."""

    def __init__(self, gamma: Callable[[float], float]) -> None:
        self.gamma = gamma
        self.n = 0.0

    def batch_step(self, w: Array) -> float:
        """1 - prod(1 - gamma_i) over the batch; w records at once move as far as one record of weight w."""
        kept = 1.0
        for w_i in w:
            g = self.gamma(self.n + 1)
            kept *= 1 - w_i * g / (1 + (w_i - 1) * g)
            self.n += w_i
        return 1 - kept


def stepwise(
    weights: Any,
    components: Sequence[Component],
    records: Sequence[Record],
    gamma: Callable[[float], float],
    batch_size: int = 1,
    w: Any = None,
) -> tuple[Array, Sequence[Component]]:
    """Stepwise EM, s <- (1 - gamma) s + gamma E[s | x, theta], from an explicit start.

    `gamma(n)` is the step of the n-th record, n = 1 for the first. A block of fields has a clock of its own,
    which stands still for a record that says nothing about it. A last mini-batch that isn't full waits.
    """
    w = np.ones(len(records)) if w is None else np.asarray(w, float)
    s0 = np.asarray(weights, float)
    theta = [dict(component) for component in components]
    clock = Clock(gamma)
    clocks = {field: Clock(gamma) for field in theta[0]}
    statistics = [
        {field: statistics_of(block, float(s0[k])) for field, block in component.items()}
        for k, component in enumerate(theta)
    ]
    for start in range(0, len(records) - batch_size + 1, batch_size):
        batch, w_batch = records[start : start + batch_size], w[start : start + batch_size]
        r = responsibilities(s0 / s0.sum(), theta, batch) * w_batch[:, None]
        step = clock.batch_step(w_batch)
        s0 = (1 - step) * s0 + step * r.sum(axis=0) / w_batch.sum()
        for field in theta[0]:
            seen = is_observed(batch, field)
            if not seen.any():
                continue
            step = clocks[field].batch_step(w_batch[seen])
            for k, component in enumerate(theta):
                new = sums(field, component[field], batch, r[:, k])
                old = statistics[k][field]
                statistics[k][field] = [
                    (1 - step) * a + step * b / w_batch[seen].sum() for a, b in zip(old, new, strict=True)
                ]
        theta = [
            {field: maximize(block, statistics[k][field]) for field, block in component.items()}
            for k, component in enumerate(theta)
        ]
    return s0 / s0.sum(), theta


# --- conditional expectations ---


def expectation(distribution: tuple[Any, ...]) -> Any:
    """E[x]; of levels their probabilities; of an angle its mean resultant, a complex number."""
    match distribution:
        case ("normal" | "student", *_):
            return distribution[-2]
        case ("lognormal", mean, variance):
            return stats.lognorm.mean(math.sqrt(variance), scale=math.exp(mean))
        case ("exponential", rate):
            return 1 / rate
        case ("inverse_gaussian", mean, _):
            return mean
        case ("geometric", p):
            return (1 - p) / p
        case ("poisson" | "bernoulli", value):
            return value
        case ("binomial", n, p):
            return n * p
        case ("categorical", probabilities):
            return np.array(list(probabilities.values()))
        case ("vonmises", mean, concentration, period):
            return special.ive(1, concentration) / special.ive(0, concentration) * np.exp(2j * math.pi * mean / period)
        case ("uniform", low, high):
            return (low + high) / 2
        case ("inflated", zero, inner):
            return (1 - zero) * expectation(inner)
        case ("fixed", other):
            return other.mean()
        case ("gamma", shape, scale):
            return shape * scale
        case ("beta", a, b):
            return a / (a + b)
        case ("negative_binomial", mean, _):
            return mean
    raise ValueError(f"no such distribution: {distribution!r}")


def group_expectation(distribution: tuple[Any, ...], row: Array) -> Array:
    """E[x | what is known of x] of a group of fields."""
    if distribution[0] == "mvn":
        mean, covariance = (np.asarray(value, float) for value in distribution[1:])
        seen = ~np.isnan(row)
        slope = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen]).T
        return np.asarray(mean + slope @ (row[seen] - mean[seen]))
    if distribution[0] == "multinomial":
        return oracle_counts.expectation(distribution, row)
    assert distribution[0] == "dirichlet"
    concentration = np.where(np.isnan(row), np.asarray(distribution[1], float), 0.0)
    return np.where(np.isnan(row), (1 - np.nansum(row)) * concentration / max(concentration.sum(), 1e-300), row)


def conditional_expectation(weights: Any, components: Sequence[Component], record: Record, name: str) -> Any:
    """E[x_name | the record's other fields] under the mixture."""
    others = {field: value for field, value in record.items() if field != name}
    [r] = responsibilities(weights, components, [others])
    field = next(key for key in components[0] if key == name or (isinstance(key, tuple) and name in key))
    if isinstance(field, tuple):
        [row] = matrix([others], field)
        each = [group_expectation(component[field], row)[field.index(name)] for component in components]
        return float(r @ np.array(each))
    mixed = sum(r_k * expectation(component[field]) for r_k, component in zip(r, components, strict=True))
    if components[0][field][0] == "vonmises":
        return float(np.angle(mixed) / (2 * math.pi) * components[0][field][3]) % components[0][field][3]
    return mixed
