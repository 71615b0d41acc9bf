"""Student's t fields against scipy.stats, digamma's own series, and what location and scale must obey."""

import math
from typing import Any

import mpmath as mp
import numpy as np
import pyarrow as pa
import pytest
from scipy import optimize, special, stats

import streammix as sm
from streammix.core.engine import Engine
from streammix.em import blank
from streammix.families.student_t import log_less_digamma

DFS = [0.1, 0.3, 1.0, 2.5, 4.0, 30.0, 1e3, 1e6]
EVERY = [float(v) for v in 10.0 ** np.arange(-1, 6.01, 0.1)]


def maximized(statistics: Any, held: float = 0.0) -> Any:
    """Theta of the core, (rows, n), at statistics, (rows, n), without a prior."""
    n = np.shape(statistics)[1]
    layout = [("student", [0], held, False, None)]
    state = blank(layout, n, 0.0)
    state.statistics[0][0, :, :n] = statistics
    state.priors[0][:] = 0.0
    return Engine(layout, state, (0, 1.0)).theta[0][0, :, :n]


def expected_excess(df: float) -> float:
    """Mean of u - 1 - log u where u is a gamma of mean 1: log y - digamma(y) at y = df / 2."""
    y = df / 2
    if y < 50:
        return math.log(y) - float(special.digamma(y))
    return 1 / (2 * y) + 1 / (12 * y**2) - 1 / (120 * y**4) + 1 / (252 * y**6)


@pytest.mark.parametrize("df", DFS)
def test_log_densities_are_those_of_scipy(df: float) -> None:
    location, scale = 3.0, 0.5
    x = np.concatenate([location + scale * np.linspace(-30, 30, 960), [location], location + 10.0 ** np.arange(1, 40)])
    model = sm.Mixture(components=[{"x": sm.StudentT(df, location, scale)}])
    ours = model.log_density_many(pa.table({"x": x}).to_pandas())
    # scipy's own formula takes log(1 + z**2 / df) from loggammas that cancel where df is large
    allowed = 1e-13 * max(1.0, df * math.log(df + 2))
    np.testing.assert_allclose(ours, stats.t.logpdf(x, df, location, scale), rtol=1e-12, atol=allowed)
    one = [model.log_density_one({"x": v}) for v in x[::10].tolist()]
    np.testing.assert_allclose(one, ours[::10], rtol=1e-13, atol=1e-13)


def test_many_degrees_of_freedom_are_nearly_normal() -> None:
    x = np.linspace(-6, 6, 1000)
    ours = sm.Mixture(components=[{"x": sm.StudentT(1e6, 0.0, 1.0)}]).log_density_many(pa.table({"x": x}).to_pandas())
    # the t's expansion in 1 / df: log p = log normal + (z**4 - 2 z**2 - 1) / (4 df) + O(1 / df**2)
    expansion = stats.norm.logpdf(x) + (x**4 - 2 * x**2 - 1) / 4e6
    np.testing.assert_allclose(ours, expansion, atol=1e-7 * 0.2)


def test_the_degrees_of_freedom_are_the_maximum_of_the_expected_likelihood() -> None:
    statistics = [[0.0, 0.0, 1.0, 1.0, expected_excess(df)] for df in EVERY]
    np.testing.assert_allclose(maximized(np.array(statistics).T)[0], EVERY, rtol=1e-12)
    np.testing.assert_allclose([log_less_digamma(df / 2) for df in EVERY], [s[4] for s in statistics], rtol=1e-11)


def test_bounds() -> None:
    statistics = [[0.0, 0.0, 1.0, 1.0, excess] for excess in (0.0, 1e-9, 50.0)]
    np.testing.assert_allclose(maximized(np.array(statistics).T)[0], [1e6, 1e6, 0.1])
    np.testing.assert_allclose(maximized(np.array(statistics).T, held=4.0)[0], 4.0)


def test_statistics_are_the_inverse_of_the_m_step() -> None:
    location, square, excess = sm.StudentT(5, 3, 2).statistics()
    assert (location, square) == (3.0, 4.0)
    assert float(excess) == pytest.approx(expected_excess(5), rel=1e-13)
    model = sm.Mixture(components=[{"x": sm.StudentT(5, 3, 2)}])
    assert model.parameters[0]["x"].df == pytest.approx(5, rel=1e-14)


def test_the_gradient_of_the_log_partition_is_the_mean_statistic() -> None:
    """Of the latent gamma, whose natural parameter df / 2 goes with log u - u."""
    for df in (0.3, 2.0, 20.0, 500.0):
        y, h = df / 2, 1e-5 * df
        partition = [special.gammaln(v) - v * math.log(v) for v in (y - h, y + h)]
        slope = (partition[1] - partition[0]) / (2 * h)
        np.testing.assert_allclose(-slope - 1, float(sm.StudentT(df, 0, 1).statistics()[2]), rtol=1e-5)


@pytest.mark.parametrize("df", [0.8, 1.5, 4.0])
def test_one_component_is_the_maximum_of_the_likelihood(df: float) -> None:
    x = 10 + 3 * np.random.default_rng(3).standard_t(df, 1_500)
    model = sm.Mixture(components=[{"x": sm.StudentT(5, 9, 2)}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=4_000, tol=1e-15)
    learnt = model.parameters[0]["x"]

    def cost(theta: Any) -> float:
        return -float(stats.t.logpdf(x, math.exp(theta[0]), theta[1], math.exp(theta[2])).sum())

    best = optimize.minimize(cost, [math.log(df), 10, math.log(3)], method="Nelder-Mead", options={"fatol": 1e-9})
    found = [math.exp(best.x[0]), best.x[1], math.exp(best.x[2])]
    np.testing.assert_allclose([learnt.df, learnt.location, learnt.scale], found, rtol=2e-3)
    assert cost([math.log(learnt.df), learnt.location, math.log(learnt.scale)]) <= best.fun + 1e-4


@pytest.mark.parametrize("df", [2.0, 8.0, 25.0])
def test_the_optimum_of_the_likelihood_is_where_em_stays(df: float) -> None:
    """EM gains ever less where the tails say little, a thousandth of the way an iteration at df = 25: but it climbs at
    each step, and has nowhere to go from the optimum."""
    x = 10 + 3 * np.random.default_rng(3).standard_t(df, 1_500)

    def cost(theta: Any) -> float:
        return -float(stats.t.logpdf(x, math.exp(theta[0]), theta[1], math.exp(theta[2])).sum())

    options = {"fatol": 1e-11, "xatol": 1e-9, "maxiter": 5_000}
    best = optimize.minimize(cost, [math.log(df), 10, math.log(3)], method="Nelder-Mead", options=options)
    optimum = [math.exp(best.x[0]), float(best.x[1]), math.exp(best.x[2])]
    model = sm.Mixture(components=[{"x": sm.StudentT(*optimum)}])
    trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=500, tol=0)
    assert trace.log_likelihood[0] == pytest.approx(-best.fun, rel=1e-12)
    assert trace.log_likelihood[-1] - trace.log_likelihood[0] < 1e-7
    np.testing.assert_allclose(model.parameters[0]["x"].parameters, optimum, rtol=1e-4)
    for start in (optimum[0] / 5, optimum[0] * 5):
        model = sm.Mixture(components=[{"x": sm.StudentT(start, *optimum[1:])}])
        trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=300, tol=0)
        assert (np.diff(trace.log_likelihood) > -1e-9).all()
        learnt = model.parameters[0]["x"].df
        assert min(start, optimum[0]) < learnt < max(start, optimum[0]) or learnt == pytest.approx(optimum[0], rel=1e-3)


@pytest.mark.parametrize("df", [0.1, 0.5, 4.0, 300.0, 1e5])
def test_one_iteration_is_the_maximum_of_the_expected_likelihood(df: float) -> None:
    """The M-step's own optimum, from statistics in forty digits."""
    x = np.random.default_rng(8).standard_t(df, 200)
    location, scale = 0.3, 1.7
    model = sm.Mixture(components=[{"x": sm.StudentT(df, location, scale)}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=1)
    with mp.workdps(40):
        shape, values = (mp.mpf(df) + 1) / 2, [mp.mpf(v) for v in x.tolist()]
        rates = [(df + ((v - mp.mpf(location)) / mp.mpf(scale)) ** 2) / 2 for v in values]
        u = [shape / rate for rate in rates]
        mean_u = mp.fsum(u) / len(u)
        centre = mp.fsum(a * v for a, v in zip(u, values, strict=True)) / mp.fsum(u)
        square = mp.fsum(a * (v - centre) ** 2 for a, v in zip(u, values, strict=True)) / len(u)
        mean_log = mp.fsum(mp.digamma(shape) - mp.log(rate) for rate in rates) / len(u)
        excess = mean_u - 1 - mean_log
        learnt = model.parameters[0]["x"]
        root = mp.findroot(lambda a: mp.log(a) - mp.digamma(a) - excess, mp.mpf(learnt.df) / 2)
        expected = [float(2 * root), float(centre), float(mp.sqrt(square))]
    np.testing.assert_allclose(learnt.parameters, expected, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize("held", [True, False])
def test_a_stream_is_learnt_outliers_and_all(held: bool, batch_size: int) -> None:
    rng = np.random.default_rng(4)
    z = rng.integers(2, size=40_000)
    x = np.where(z == 0, 0.0, 30.0) + np.where(z == 0, 1.0, 2.0) * rng.standard_t(4, z.size)
    x[rng.integers(x.size, size=20)] = 1e7
    declared = sm.StudentT(df=4) if held else sm.StudentT()
    model = sm.Mixture(n_components=2, fields={"x": declared}, seed=1, batch_size=batch_size)
    model.learn_many(pa.table({"x": x}))
    low, high = sorted((component["x"] for component in model.parameters), key=lambda family: family.location)
    assert low.location == pytest.approx(0, abs=0.1)
    assert high.location == pytest.approx(30, abs=0.2)
    assert low.scale == pytest.approx(1, rel=0.1)
    assert high.scale == pytest.approx(2, rel=0.1)
    assert np.abs(model.weights - 0.5).max() < 0.03
    for family in (low, high):
        assert family.df == 4.0 if held else 2.5 < family.df < 6


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize(("factor", "shift"), [(1.0, 1e8), (1e-6, 0.0), (2.0**40, 2.0**66)])
def test_location_and_scale_make_no_difference(factor: float, shift: float, batch_size: int) -> None:
    rng = np.random.default_rng(2)
    x = np.round((rng.standard_t(4, 1200) + 8.0 * rng.integers(2, size=1200)) * 2**10) / 2**10
    models = [
        sm.Mixture(n_components=2, fields={"x": sm.StudentT()}, warm_up=300, batch_size=batch_size, seed=1)
        for _ in range(2)
    ]
    moved = x * factor + shift
    for model, values in zip(models, (x, moved), strict=True):
        for v in values.tolist():
            model.learn_one({"x": v})
    np.testing.assert_allclose(models[1].weights, models[0].weights, rtol=1e-9)
    for a, b in zip(models[0].parameters, models[1].parameters, strict=True):
        assert b["x"].df == pytest.approx(a["x"].df, rel=1e-9)
        assert b["x"].scale == pytest.approx(a["x"].scale * factor, rel=1e-9)
        assert b["x"].location == pytest.approx(a["x"].location * factor + shift, rel=1e-9)


def test_batch_em_climbs() -> None:
    x = np.random.default_rng(6).standard_cauchy(1_000)
    model = sm.Mixture(n_components=2, fields={"x": sm.StudentT()}, warm_up=100, seed=1)
    trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=200, tol=0)
    assert (np.diff(trace.log_likelihood) > -1e-6).all()


def test_degrees_of_freedom_that_are_held_stay_in_the_declaration() -> None:
    held = sm.StudentT(df=4)
    assert (held.parameter_names, held.is_given, held.held_df) == (("location", "scale"), False, 4.0)
    assert sm.StudentT().parameter_names == ("df", "location", "scale")
    assert held.with_parameters(1.0, 2.0) == sm.StudentT(4, 1, 2)
    assert sm.families.from_json(held.to_json()) == held
    with pytest.raises(sm.ConfigError, match="needs parameters to start from"):
        sm.Mixture(components=[{"x": held}])


def test_samples_are_its_own() -> None:
    family = sm.StudentT(3, 1, 2)
    assert stats.kstest(family.sample(20_000, np.random.default_rng(1)), stats.t(3, 1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: sm.StudentT(0.01), "StudentT: df must be a number from 0.1 to 1e6, not 0.01"),
        (lambda: sm.StudentT(2e6, 0, 1), "StudentT: df must be a number from 0.1 to 1e6"),
        (lambda: sm.StudentT(4, 0, 0), "StudentT: scale must be a positive number, not 0"),
        (lambda: sm.StudentT(4, 0), "StudentT: scale is missing; give all parameters or none"),
        (lambda: sm.StudentT(location=0, scale=1), "StudentT: df is missing; give all parameters or none"),
        (lambda: sm.Mixture(components=[{"x": sm.StudentT(4, 0, 1e-80)}]), "a variance must lie between"),
    ],
)
def test_refusals(declare: Any, message: str) -> None:
    with pytest.raises(sm.ConfigError) as refused:
        declare()
    assert message in str(refused.value)
