"""One table of all families: log densities, optima of the likelihood, gradients of the log-partition.

What is particular to a family, and the ends of its parameters' ranges, stand in its own file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from laws import table_of
from names import name_of
from scipy import optimize, stats

import streammix as sm
from streammix.families import FAMILIES

Pair = tuple[Any, Any]


def hours(mean: float, concentration: float) -> Pair:
    return sm.VonMises(mean, concentration, 24), stats.vonmises(concentration, loc=mean, scale=24 / math.tau)


DENSITIES: list[tuple[Any, Any, list[float]]] = [  # with the edges of the support
    (sm.Normal(3.0, 4.0), stats.norm(3, 2), [-1e70, 1e70, 0.0, 3.0]),
    (sm.Normal(1e8, 1.0), stats.norm(1e8, 1), [1e8, 0.0]),
    (sm.LogNormal(0.5, 0.25), stats.lognorm(0.5, scale=math.exp(0.5)), [1e-305, 1.0, 1e300]),
    (sm.Exponential(4.0), stats.expon(scale=0.25), [0.0, 5e-324, 1e70]),
    (sm.Poisson(3.5), stats.poisson(3.5), [0, 1, 1000]),
    (sm.Poisson(1e-6), stats.poisson(1e-6), [0, 1, 30]),
    (sm.Geometric(0.2), stats.geom(0.2, loc=-1), [0, 1, 1000]),
    (sm.Geometric(1e-9), stats.geom(1e-9, loc=-1), [0, 1, 10**12]),
    (sm.Geometric(1 - 1e-9), stats.geom(1 - 1e-9, loc=-1), [0, 1, 30]),
    (sm.Bernoulli(0.8), stats.bernoulli(0.8), [0, 1]),
    (sm.Binomial(10, 0.4), stats.binom(10, 0.4), [0, 10]),
    (sm.Binomial(1000, 1e-9), stats.binom(1000, 1e-9), [0, 1, 1000]),
    (sm.Gamma(2.5, 3.0), stats.gamma(2.5, scale=3), [1e-300, 1e-9, 1e6]),
    (sm.InverseGaussian(3.0, 2.0), stats.invgauss(1.5, scale=2), [1e-180, 1e-9, 3.0, 1e6]),
    (sm.InverseGaussian(1e-3, 1e3), stats.invgauss(1e-6, scale=1e3), [1e-180, 1e-3, 1.0]),
    (sm.Beta(2.0, 0.7), stats.beta(2, 0.7), [1e-300, 1e-9, 1 - 2**-53]),
    (sm.NegativeBinomial(3.0, 2.0), stats.nbinom(2, 0.4), [0, 1, 1000]),
    (sm.StudentT(4.0, 1.0, 2.0), stats.t(4, 1, 2), [-1e70, 1e70, 1.0]),
    (sm.Uniform(2.0, 5.0), stats.uniform(2, 3), [2.0, 5.0]),
    (*hours(3.0, 2.0), [0.0, 24.0, 3.0, 15.0, -9.0]),
]


@pytest.mark.parametrize(("family", "known", "edges"), DENSITIES, ids=name_of)
def test_log_densities_are_those_of_scipy(family: Any, known: Any, edges: list[float]) -> None:
    is_discrete = hasattr(known, "pmf")
    drawn = np.asarray(known.rvs(size=1000 - len(edges), random_state=np.random.default_rng(1)))
    x = [*edges, *drawn.tolist()]
    model = sm.Mixture(components=[{"x": family}])
    expected = (known.logpmf if is_discrete else known.logpdf)(np.array(x))
    records = [{"x": value} for value in x]
    ours = np.asarray(model.log_density_many(table_of(records)))
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    if family.parameters[:1] == (1e8,):
        tolerance = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(ours, expected, **tolerance)
    np.testing.assert_allclose([model.log_density_one(record) for record in records], expected, **tolerance)


def test_the_table_has_every_family_but_those_of_other_records() -> None:
    """Those of groups and levels stand below or, as ZeroInflated and Fixed, in files of their own."""
    others = {"MultivariateNormal", "Dirichlet", "Multinomial", "Categorical", "ZeroInflated", "Fixed"}
    assert {type(family).__name__ for family, *_ in DENSITIES} == set(FAMILIES) - others
    assert {type(case.start).__name__ for case in OPTIMA} == set(FAMILIES) - others - {"Uniform"}


def test_log_densities_of_groups_and_levels() -> None:
    rng = np.random.default_rng(2)
    covariance = [[2.0, 0.6], [0.6, 1.0]]
    rows = np.concatenate([rng.multivariate_normal([1, -1], covariance, 998), [[1.0, -1.0], [1e10, -1e10]]])
    model = sm.Mixture(components=[{("x", "y"): sm.MultivariateNormal([1, -1], covariance)}])
    records = [dict(zip("xy", row, strict=True)) for row in rows.tolist()]
    expected = stats.multivariate_normal([1, -1], covariance).logpdf(rows)
    np.testing.assert_allclose(model.log_density_many(table_of(records)), expected, rtol=1e-12, atol=1e-12)
    shares = {"a": 0.5, "b": 0.5 - 1e-9, "c": 1e-9}
    levels = sm.Mixture(components=[{"x": sm.Categorical(shares)}])
    for level, share in shares.items():
        assert levels.log_density_one({"x": level}) == pytest.approx(math.log(share), rel=1e-12)


# --- M-steps: the likelihood, by scipy, is nowhere higher


@dataclass(frozen=True)
class Optimum:
    """A start, how scipy's distribution follows from free numbers, and those numbers of a family."""

    start: Any
    known: Callable[..., Any]
    free: Callable[[Any], list[float]]
    data: Any
    iterations: int = 1


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def expit(v: float) -> float:
    return 1 / (1 + math.exp(-v))


log, exp, RNG = math.log, math.exp, np.random.default_rng(3)
OPTIMA = [
    Optimum(
        sm.Normal(0, 1),
        lambda m, v: stats.norm(m, exp(v)),
        lambda f: [f.mean, log(f.variance) / 2],
        RNG.normal(3, 2, 500),
    ),
    Optimum(
        sm.LogNormal(0, 1),
        lambda m, v: stats.lognorm(exp(v), scale=exp(m)),
        lambda f: [f.mean, log(f.variance) / 2],
        RNG.lognormal(1, 0.5, 500),
    ),
    Optimum(
        sm.Exponential(1), lambda r: stats.expon(scale=exp(-r)), lambda f: [log(f.rate)], RNG.exponential(3.0, 500)
    ),
    Optimum(sm.Poisson(1), lambda r: stats.poisson(exp(r)), lambda f: [log(f.rate)], RNG.poisson(4.0, 500)),
    Optimum(
        sm.Geometric(0.5),
        lambda p: stats.geom(expit(p), loc=-1),
        lambda f: [logit(f.p)],
        RNG.geometric(0.2, 500) - 1,
    ),
    Optimum(sm.Bernoulli(0.5), lambda p: stats.bernoulli(expit(p)), lambda f: [logit(f.p)], RNG.integers(2, size=500)),
    Optimum(sm.Binomial(9, 0.5), lambda p: stats.binom(9, expit(p)), lambda f: [logit(f.p)], RNG.binomial(9, 0.2, 500)),
    Optimum(
        sm.Gamma(1, 1),
        lambda a, s: stats.gamma(exp(a), scale=exp(s)),
        lambda f: [log(f.shape), log(f.scale)],
        RNG.gamma(2.5, 3.0, 500),
    ),
    Optimum(
        sm.InverseGaussian(1, 1),
        lambda m, s: stats.invgauss(exp(m - s), scale=exp(s)),
        lambda f: [log(f.mean), log(f.shape)],
        RNG.wald(3.0, 5.0, 500),
    ),
    Optimum(
        sm.Beta(1, 1), lambda a, b: stats.beta(exp(a), exp(b)), lambda f: [log(f.a), log(f.b)], RNG.beta(2, 0.7, 500)
    ),
    Optimum(
        sm.VonMises(1, 1, 24),
        lambda m, k: hours(m, exp(k))[1],
        lambda f: [f.mean, log(f.concentration)],
        (RNG.vonmises(0.2, 3.0, 500) / math.tau * 24) % 24,
    ),
    Optimum(
        sm.NegativeBinomial(3, 2),
        lambda m, s: stats.nbinom(exp(s), exp(s) / (exp(s) + exp(m))),
        lambda f: [log(f.mean), log(f.size)],
        RNG.negative_binomial(2, 0.4, 500),
        2_000,
    ),
    Optimum(
        sm.StudentT(4, 0, 1),
        lambda d, m, s: stats.t(exp(d), m, exp(s)),
        lambda f: [log(f.df), f.location, log(f.scale)],
        1 + 2 * RNG.standard_t(3, 500),
        2_000,
    ),
]


@pytest.mark.parametrize("case", OPTIMA, ids=lambda case: type(case.start).__name__)
def test_one_component_is_the_numerical_optimum(case: Optimum) -> None:
    def cost(free: Any) -> float:
        known = case.known(*free)
        return -float((known.logpmf if hasattr(known, "pmf") else known.logpdf)(case.data).mean())

    model = sm.Mixture(components=[{"x": case.start}])
    sm.batch.fit(model, table_of([{"x": v} for v in case.data.tolist()]), max_iter=case.iterations, tol=0.0)
    learnt = np.array(case.free(model.parameters[0]["x"]))
    gradient = optimize.approx_fprime(learnt, cost, 1e-6)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-5)
    best = optimize.minimize(cost, learnt + 0.1, method="Nelder-Mead", options={"fatol": 1e-13, "xatol": 1e-7})
    assert cost(learnt) <= best.fun + 1e-11
    np.testing.assert_allclose(learnt, best.x, atol=1e-4)


# --- the gradient of the log-partition A is the mean statistic: log p(x) = eta . T(x) - A(eta) + log h(x)


def normal_of(a: float, b: float) -> Any:
    return sm.Normal(-a / (2 * b), -1 / (2 * b))


def normals_of(*eta: float) -> Any:
    precision = -2 * np.array([[eta[2], eta[3] / 2], [eta[3] / 2, eta[4]]])
    covariance = np.linalg.inv(precision)
    return sm.MultivariateNormal(covariance @ eta[:2], (covariance + covariance.T) / 2)


def levels_of(*eta: float) -> Any:
    weights = np.exp([*eta, 0.0])
    return sm.Categorical(dict(zip("abc", (weights / weights.sum()).tolist(), strict=True)))


def shares_of(*eta: float) -> Any:
    weights = np.exp([*eta, 0.0])
    return sm.Multinomial((weights / weights.sum()).tolist(), 7)


def moments(family: Any) -> list[float]:
    mean, variance = (float(v) for v in family.statistics())
    return [mean, variance + mean**2]


def log_means(family: Any) -> list[float]:
    means, gaps = family.statistics()
    return [float(v) for v in np.ravel(np.log(means) - gaps)]


def first(family: Any) -> list[float]:
    return [float(family.statistics()[0])]


def resultant(family: Any) -> list[float]:
    spread = float(family.statistics()[1])
    angle = math.tau * family.mean / 24
    return [(1 - spread) * math.cos(angle), (1 - spread) * math.sin(angle)]


PARTITIONS: dict[str, tuple[list[float], Callable[..., Any], Any, list[float], Callable[[Any], list[float]]]] = {
    # natural parameters, the family at them, a record, its statistics T, the family's mean statistics
    "Normal": ([0.7, -0.3], normal_of, 1.5, [1.5, 2.25], moments),
    "LogNormal": (
        [0.7, -0.3],
        lambda a, b: sm.LogNormal(*normal_of(a, b).parameters),
        1.5,
        [log(1.5), log(1.5) ** 2],
        moments,
    ),
    "MultivariateNormal": (
        [0.7, -0.2, -0.3, 0.2, -0.5],
        normals_of,
        {"x": 1.5, "y": -0.5},
        [1.5, -0.5, 2.25, -0.75, 0.25],
        lambda f: [*f.mean, *(np.array(f.covariance) + np.outer(f.mean, f.mean))[[0, 0, 1], [0, 1, 1]].tolist()],
    ),
    "Exponential": ([-0.4], lambda r: sm.Exponential(-r), 2.0, [2.0], first),
    "Poisson": ([1.1], lambda r: sm.Poisson(exp(r)), 2, [2.0], first),
    "Geometric": ([-0.4], lambda a: sm.Geometric(-math.expm1(a)), 2, [2.0], first),
    "Bernoulli": ([0.6], lambda p: sm.Bernoulli(expit(p)), 1, [1.0], first),
    "Binomial": ([-0.6], lambda p: sm.Binomial(9, expit(p)), 4, [4.0], first),
    "Categorical": ([0.4, -0.7], levels_of, "a", [1.0, 0.0], lambda f: list(f.probabilities.values())[:2]),
    "Multinomial": (
        [0.4, -0.7],
        shares_of,
        {"x": 4, "y": 1, "z": 2},
        [4.0, 1.0],
        lambda f: f.statistics()[0][:2].tolist(),
    ),
    "Gamma": (
        [1.5, -0.4],
        lambda a, b: sm.Gamma(a + 1, -1 / b),
        2.0,
        [log(2.0), 2.0],
        lambda f: [*log_means(f), f.expectation()],
    ),
    "InverseGaussian": (
        [-0.4, -0.9],
        lambda a, b: sm.InverseGaussian(math.sqrt(b / a), -2 * b),
        2.0,
        [2.0, 0.5],
        lambda f: [f.mean, (1 + float(f.statistics()[1])) / f.mean],
    ),
    "Beta": ([1.0, -0.3], lambda a, b: sm.Beta(a + 1, b + 1), 0.3, [log(0.3), log(0.7)], log_means),
    "Dirichlet": (
        [1.0, -0.3, 3.0],
        lambda *a: sm.Dirichlet([v + 1 for v in a]),
        {"x": 0.3, "y": 0.2, "z": 0.5},
        [log(0.3), log(0.2), log(0.5)],
        log_means,
    ),
    "NegativeBinomial": (
        [log(0.6)],
        lambda a: sm.NegativeBinomial(2 * exp(a) / (1 - exp(a)), 2.0),
        3,
        [3.0],
        lambda f: [f.mean],
    ),
    "VonMises": (
        [1.2, -0.8],
        lambda a, b: sm.VonMises(math.atan2(b, a) / math.tau * 24 % 24, math.hypot(a, b), 24),
        3.0,
        [math.cos(math.tau / 8), math.sin(math.tau / 8)],
        resultant,
    ),
}


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_gradient_of_the_log_partition_is_the_mean_statistic(name: str) -> None:
    eta, family_at, record, statistics, means = PARTITIONS[name]
    field: Any = tuple(record) if isinstance(record, dict) else "x"
    x = record if isinstance(record, dict) else {"x": record}

    def partition(at: Any) -> float:
        model = sm.Mixture(components=[{field: family_at(*at)}])
        return float(np.dot(at, statistics) - model.log_density_one(x))

    slopes = []
    for j in range(len(eta)):
        h = 1e-4 * np.eye(len(eta))[j]
        near, far = ((partition(eta + s * h) - partition(eta - s * h)) / 2e-4 / s for s in (1, 2))
        slopes.append((4 * near - far) / 3)
    np.testing.assert_allclose(slopes, means(family_at(*eta)), rtol=1e-8, atol=1e-8)


def test_every_exponential_family_has_a_partition() -> None:
    """Student's t and the zero-inflated are none; theirs is of the latent records, in their files."""
    assert set(PARTITIONS) == set(FAMILIES) - {"StudentT", "ZeroInflated", "Uniform", "Fixed"}
