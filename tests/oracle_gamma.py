"""The oracle's families of gamma functions: Gamma, Beta, Dirichlet, NegativeBinomial. Raw sums, textbook formulas.

    ("gamma", shape, scale)    ("beta", a, b)    ("dirichlet", concentration)    ("negative_binomial", mean, size)

A Beta is a Dirichlet of x and 1 - x. Of a composition that is there in part, the missing shares are what is left times
a Dirichlet of their own.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, gammaln, zeta

Array = NDArray[np.float64]

__all__ = ["KINDS", "log_density", "maximize", "statistics_of", "sums"]

KINDS = ("gamma", "beta", "dirichlet", "negative_binomial")


def log_density(distribution: tuple[Any, ...], x: Array) -> Any:
    """log p(x); for a Dirichlet x has a row a record, NaN where a share is missing."""
    match distribution:
        case ("gamma", shape, scale):
            return stats.gamma.logpdf(x, shape, scale=scale)
        case ("beta", a, b):
            return stats.beta.logpdf(x, a, b)
        case ("negative_binomial", mean, size):
            return stats.nbinom.logpmf(x, size, size / (size + mean))
        case ("dirichlet", concentration):
            return np.array([share_log_density(row, np.asarray(concentration, float)) for row in x])
    raise ValueError(f"no such distribution: {distribution!r}")


def share_log_density(row: Array, concentration: Array) -> float:
    gone = np.isnan(row)
    if gone.all():
        return 0.0
    if gone.any():  # aggregation: the shares that are missing count as one
        row = np.append(row[~gone], 1.0 - row[~gone].sum())
        concentration = np.append(concentration[~gone], concentration[gone].sum())
    constant = gammaln(concentration.sum()) - gammaln(concentration).sum()
    return float(constant + ((concentration - 1) * np.log(row)).sum())


def share_log_means(row: Array, concentration: Array) -> Array:
    """E[log x_j] given the shares that are there."""
    gone = np.isnan(row)
    result = np.log(np.where(gone, 1.0, row))
    if gone.any():
        rest = 1.0 - row[~gone].sum()
        result[gone] = np.log(rest) + digamma(concentration[gone]) - digamma(concentration[gone].sum())
    return np.asarray(result)


def sums(distribution: tuple[Any, ...], x: Array, r: Array) -> list[Any]:
    """Weighted sums of the statistics."""
    match distribution:
        case ("gamma", _, _):
            return [r @ x, r @ np.log(x)]
        case ("beta", _, _):
            return [np.array([r @ np.log(x), r @ np.log1p(-x)])]
        case ("dirichlet", concentration):
            each = [share_log_means(row, np.asarray(concentration, float)) for row in x]
            return [sum((r_i * e for r_i, e in zip(r, each, strict=True)), np.zeros(x.shape[1]))]
        case ("negative_binomial", mean, size):
            rate = size / mean + 1
            return [r @ ((size + x) / rate), r @ (digamma(size + x) - np.log(rate))]
    raise ValueError(f"no such distribution: {distribution!r}")


def statistics_of(distribution: tuple[Any, ...]) -> list[Any]:
    """The expected statistics of one record."""
    match distribution:
        case ("gamma", shape, scale):
            return [shape * scale, digamma(shape) + np.log(scale)]
        case ("beta", *concentration) | ("dirichlet", concentration):
            values = np.asarray(concentration, float)
            return [digamma(values) - digamma(values.sum())]
        case ("negative_binomial", mean, size):
            return [mean, digamma(size) + np.log(mean / size)]
    raise ValueError(f"no such distribution: {distribution!r}")


def maximize(kind: str, means: list[Any]) -> tuple[Any, ...]:
    """The parameters under which the statistics' expectations are these."""
    if kind in ("beta", "dirichlet"):
        concentration = concentration_of(np.asarray(means[0]))
        return (kind, *concentration) if kind == "beta" else (kind, concentration)
    mean, mean_log = means
    gap = np.log(mean) - mean_log
    shape = np.exp(brentq(lambda v: v - digamma(np.exp(v)) - gap, -20, 20, xtol=1e-15, rtol=1e-15))
    return (kind, shape, mean / shape) if kind == "gamma" else (kind, mean, shape)


def concentration_of(mean_logs: Array) -> Array:
    """Minka's Newton for the Dirichlet, from a method of its own that can't leave the domain: fixed points."""
    values = np.ones(len(mean_logs))
    for _ in range(50):
        values = inverse_digamma(digamma(values.sum()) + mean_logs)
    for _ in range(60):
        gradient = digamma(values.sum()) - digamma(values) + mean_logs
        own, common = -trigamma(values), trigamma(values.sum())
        b = (gradient / own).sum() / (1 / common + (1 / own).sum())
        step = (gradient - b) / own
        while (values - step <= 0).any():
            step /= 2
        values = values - step
        if (abs(step) < 1e-15 * values).all():
            break
    return values


def trigamma(x: Any) -> Any:
    return zeta(2, x)


def inverse_digamma(y: Array) -> Array:
    """Minka's: five Newton steps from a start that is near everywhere."""
    x = np.where(y >= -2.22, np.exp(y) + 0.5, -1 / (y - digamma(1)))
    for _ in range(5):
        x = x - (digamma(x) - y) / trigamma(x)
    return np.asarray(x)
