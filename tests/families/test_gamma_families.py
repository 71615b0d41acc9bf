"""Gamma, Beta, Dirichlet and NegativeBinomial: densities, M-steps over the whole range, streams, refusals."""

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pyarrow as pa
import pytest
from names import name_of
from scipy import stats

import streammix as sm
from streammix.core.engine import digamma_gap

mp.mp.dps = 40

SHAPES = [1e-3, 0.03, 0.4, 1.0, 2.5, 8.99, 9.0, 40.0, 1e3, 1e5, 1e6]
PAIRS = [
    (1e-3, 1e-3),
    (1e-3, 1e6),
    (0.02, 3.0),
    (0.5, 0.5),
    (1.0, 1.0),
    (2.0, 30.0),
    (9.0, 8.9),
    (1e4, 0.1),
    (1e6, 3e5),
]
NAMES = ("a", "b", "c", "d")


def table(x: Any) -> pa.Table:
    return pa.table({"x": x})


def fitted(start: Any, x: Any, max_iter: int = 60) -> Any:
    """The maximum-likelihood estimate, by batch EM with one component."""
    model = sm.Mixture(components=[{"x": start}])
    sm.batch.fit(model, table(x), max_iter=max_iter, tol=0.0)
    return model.parameters[0]["x"]


def shares(rows: Any) -> pa.Table:
    return pa.table(
        {name: np.ascontiguousarray(column) for name, column in zip(NAMES, np.asarray(rows).T, strict=False)}
    )


def exact_mean(values: list[Any]) -> Any:
    return mp.fsum(values) / len(values)


# --- log densities


def gamma_exactly(x: float, shape: float, scale: float) -> Any:
    x, a, s = mp.mpf(x), mp.mpf(shape), mp.mpf(scale)
    return (a - 1) * mp.log(x) - x / s - mp.loggamma(a) - a * mp.log(s)


def beta_exactly(x: float, a: float, b: float) -> Any:
    x, a, b = mp.mpf(x), mp.mpf(a), mp.mpf(b)
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) + mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)


def negative_binomial_exactly(x: int, mean: float, size: float) -> Any:
    x, m, r = mp.mpf(x), mp.mpf(mean), mp.mpf(size)
    choices = mp.loggamma(x + r) - mp.loggamma(r) - mp.loggamma(x + 1)
    return choices + r * mp.log(r / (r + m)) + x * mp.log(m / (r + m))


def densities(family: Any, x: list[Any]) -> list[float]:
    """Of records one by one, and, as a check, of all in a table."""
    model = sm.Mixture(components=[{"x": family}])
    one_by_one = [model.log_density_one({"x": value}) for value in x]
    np.testing.assert_allclose(np.asarray(model.log_density_many(table(x))), one_by_one, rtol=1e-14, atol=1e-14)
    return one_by_one


@pytest.mark.parametrize(
    ("family", "known"),
    [
        (sm.Gamma(2.5, 3.0), stats.gamma(2.5, scale=3.0)),
        (sm.Gamma(0.3, 1e-5), stats.gamma(0.3, scale=1e-5)),
        (sm.Beta(0.5, 3.0), stats.beta(0.5, 3.0)),
        (sm.Beta(12.0, 7.0), stats.beta(12.0, 7.0)),
        (sm.NegativeBinomial(3.0, 2.0), stats.nbinom(2.0, 2.0 / 5.0)),
        (sm.NegativeBinomial(40.0, 0.2), stats.nbinom(0.2, 0.2 / 40.2)),
    ],
    ids=name_of,
)
def test_log_densities_are_scipys(family: Any, known: Any) -> None:
    x = known.rvs(size=1000, random_state=np.random.default_rng(1))
    expected = known.logpmf(x) if isinstance(family, sm.NegativeBinomial) else known.logpdf(x)
    np.testing.assert_allclose(densities(family, x.tolist()), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("family", "exactly", "x"),
    [
        *(
            (sm.Gamma(s, 2.0 / s), gamma_exactly, [1e-300, 1e-9, 0.5, 2.0, 2.0 + 2 / math.sqrt(s), 1e3, 1e70])
            for s in SHAPES
        ),
        (sm.Gamma(3.0, 1e-100), gamma_exactly, [1e-300, 1e-101, 3e-100, 1.0]),
        *((sm.Beta(*p), beta_exactly, [5e-324, 1e-300, 1e-9, 0.1, 0.5, 0.9, 1 - 2**-53]) for p in PAIRS),
        *(
            (sm.NegativeBinomial(m, s), negative_binomial_exactly, [0, 1, 2, 10, 1000, 10**6, 10**12])
            for s in SHAPES
            for m in (1e-9, 0.1, 7.0, 1e5)
        ),
    ],
    ids=name_of,
)
def test_log_densities_at_the_edges(family: Any, exactly: Callable[..., Any], x: list[Any]) -> None:
    """By forty digits: scipy loses some of its own where shapes are large."""
    p = family.parameters
    for value, ours in zip(x, densities(family, x), strict=True):
        expected = float(exactly(value, *p))
        assert abs(ours - expected) <= 3e-12 * max(1.0, abs(expected))


def test_log_densities_of_compositions_are_scipys() -> None:
    concentration = [0.5, 2.0, 30.0, 1.0]
    rows = np.random.default_rng(2).dirichlet(concentration, 1000)
    model = sm.Mixture(components=[{NAMES: sm.Dirichlet(concentration)}])
    expected = [stats.dirichlet.logpdf(row / row.sum(), concentration) for row in rows]
    np.testing.assert_allclose(np.asarray(model.log_density_many(shares(rows))), expected, rtol=1e-12, atol=1e-12)
    ours = [model.log_density_one(dict(zip(NAMES, row, strict=True))) for row in rows.tolist()]
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_a_composition_known_in_part_is_a_marginal() -> None:
    concentration = [0.5, 2.0, 30.0, 1.0]
    model = sm.Mixture(components=[{NAMES: sm.Dirichlet(concentration)}])
    assert model.log_density_one({"a": 0.2}) == pytest.approx(stats.beta.logpdf(0.2, 0.5, 33.0), rel=1e-12)
    two = stats.dirichlet.logpdf([0.2, 0.1, 0.7], [0.5, 1.0, 32.0])
    assert model.log_density_one({"a": 0.2, "d": 0.1}) == pytest.approx(two, rel=1e-12)
    whole = {"a": 0.2, "b": 0.1, "c": 0.6, "d": 0.1}
    most = {name: share for name, share in whole.items() if name != "b"}
    assert model.log_density_one(most) == pytest.approx(model.log_density_one(whole), rel=1e-12)


def test_the_gap_of_the_digamma_function() -> None:
    for a in [1e-6, *SHAPES, 8.0, 1e9, 1e12]:
        exact = mp.log(mp.mpf(a)) - mp.digamma(mp.mpf(a))
        assert abs(digamma_gap(a) / exact - 1) < 1e-14


# --- M-steps: the parameters are the optimum of the likelihood, found in forty digits


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shape", SHAPES)
def test_gamma_m_step(shape: float, scale: float) -> None:
    x = np.maximum(np.random.default_rng(3).gamma(shape, scale, 100), 1e-200).tolist()
    exact = [mp.mpf(value) for value in x]
    mean = exact_mean(exact)
    gap = mp.log(mean) - exact_mean([mp.log(value) for value in exact])
    found = fitted(sm.Gamma(1.0, float(mean)), x)
    optimum = mp.findroot(lambda a: mp.log(a) - mp.digamma(a) - gap, mp.mpf(found.shape))
    assert abs(found.shape / optimum - 1) < 1e-10
    assert abs(found.scale * optimum / mean - 1) < 1e-10


def dirichlet_optimum(mean_logs: list[Any], near: list[float]) -> list[Any]:
    """The unique root of the likelihood's gradient, in logarithms."""

    def gradient(*logs: Any) -> list[Any]:
        values = [mp.exp(v) for v in logs]
        total = mp.digamma(mp.fsum(values))
        return [mp.digamma(v) - total - g for v, g in zip(values, mean_logs, strict=True)]

    return [mp.exp(v) for v in mp.findroot(gradient, [mp.log(mp.mpf(value)) for value in near])]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_beta_m_step(pair: tuple[float, float]) -> None:
    x = np.clip(np.random.default_rng(4).beta(max(pair[0], 0.02), pair[1], 300), 1e-200, 1 - 2**-53).tolist()
    mean_logs = [exact_mean([mp.log(v) for v in x]), exact_mean([mp.log1p(-mp.mpf(v)) for v in x])]
    found = fitted(sm.Beta(1.0, 1.0), x)
    optimum = dirichlet_optimum(mean_logs, [found.a, found.b])
    assert abs(found.a / optimum[0] - 1) < 1e-10
    assert abs(found.b / optimum[1] - 1) < 1e-10


@pytest.mark.parametrize(
    "concentration",
    [[0.01, 0.02, 0.5], [1.0, 1.0, 1.0, 1.0], [0.1, 5.0, 200.0], [1e6, 2e5, 3e5], [1e-2, 1e4, 3.0, 1.0]],
    ids=str,
)
def test_dirichlet_m_step(concentration: list[float]) -> None:
    rows = np.clip(np.random.default_rng(5).dirichlet(concentration, 100), 1e-250, 1 - 2**-53)
    names = NAMES[: len(concentration)]
    model = sm.Mixture(components=[{names: sm.Dirichlet(np.ones(len(names)))}])
    sm.batch.fit(model, shares(rows), max_iter=60, tol=0.0)
    [found] = model.parameters[0][names].parameters
    optimum = dirichlet_optimum([exact_mean([mp.log(mp.mpf(v)) for v in column]) for column in rows.T.tolist()], found)
    for ours, exact in zip(found, optimum, strict=True):
        assert abs(ours / exact - 1) < 1e-10


@pytest.mark.parametrize("mean", [0.1, 9.0, 1e4])
@pytest.mark.parametrize("size", [1e-3, 2.0, 1e4, 1e6])
def test_negative_binomial_m_step_over_the_whole_range(size: float, mean: float) -> None:
    x = np.random.default_rng(6).negative_binomial(size, size / (size + mean), 200).tolist()
    start = sm.NegativeBinomial(1.1 * mean, 0.9 * size)
    own, rate = mp.mpf(start.size), mp.mpf(start.size) / mp.mpf(start.mean) + 1
    mean_rate = exact_mean([(own + mp.mpf(v)) / rate for v in x])
    digammas = {v: mp.digamma(own + mp.mpf(v)) for v in set(x)}
    gap = mp.log(mean_rate) - exact_mean([digammas[v] - mp.log(rate) for v in x])
    found = fitted(start, x, max_iter=1)
    optimum = mp.findroot(lambda a: mp.log(a) - mp.digamma(a) - gap, mp.mpf(found.size))
    assert abs(found.size / optimum - 1) < 1e-10
    assert abs(found.mean / mean_rate - 1) < 1e-12


@pytest.mark.parametrize("size", [0.05, 0.7, 3.0, 50.0])
def test_negative_binomial_m_step(size: float) -> None:
    """One iteration of EM on the latent rate; many lead to the optimum of the likelihood."""
    x = np.random.default_rng(6).negative_binomial(size, size / (size + 9.0), 300).tolist()
    start = sm.NegativeBinomial(5.0, 2.0)
    rate = mp.mpf(2.0) / 5 + 1
    mean = exact_mean([(2 + mp.mpf(v)) / rate for v in x])
    gap = mp.log(mean) - exact_mean([mp.digamma(2 + mp.mpf(v)) - mp.log(rate) for v in x])
    once = fitted(start, x, max_iter=1)
    optimum = mp.findroot(lambda a: mp.log(a) - mp.digamma(a) - gap, mp.mpf(once.size))
    assert abs(once.size / optimum - 1) < 1e-10
    assert abs(once.mean / mean - 1) < 1e-12
    best = fitted(sm.NegativeBinomial(float(np.mean(x)), size), x, max_iter=5000)
    assert best.mean == pytest.approx(np.mean(x), rel=1e-9)
    gradient = np.sum([float(mp.digamma(v + best.size) - mp.digamma(best.size)) for v in x]) - len(x) * math.log1p(
        best.mean / best.size
    )
    assert abs(gradient) < 1e-5 * len(x)


@pytest.mark.parametrize(
    "family",
    [
        *(sm.Gamma(s, 3.0) for s in (*SHAPES, 1e-6, 1e9)),
        *(sm.Beta(*p) for p in PAIRS),
        *(sm.NegativeBinomial(7.0, s) for s in SHAPES),
    ],
    ids=name_of,
)
def test_statistics_are_the_inverse_of_the_m_step(family: Any) -> None:
    shown = sm.Mixture(components=[{"x": family}]).parameters[0]["x"]
    np.testing.assert_allclose(shown.parameters, family.parameters, rtol=2e-12)


def test_the_gradient_of_the_log_partition_is_the_mean_statistic() -> None:
    mean, gap = sm.Gamma(2.5, 3.0).statistics()
    np.testing.assert_allclose(math.log(mean) - gap, stats.gamma(2.5, scale=3.0).expect(np.log), rtol=1e-9)
    means, gaps = sm.Beta(2.0, 5.0).statistics()
    expected = [stats.beta(2.0, 5.0).expect(np.log), stats.beta(2.0, 5.0).expect(lambda x: np.log1p(-x))]
    np.testing.assert_allclose(np.log(means) - gaps, expected, rtol=1e-9)
    means, gaps = sm.Dirichlet([2.0, 1.0, 4.0]).statistics()
    marginals = [stats.beta(a, 7.0 - a).expect(np.log) for a in (2.0, 1.0, 4.0)]
    np.testing.assert_allclose(np.log(means) - gaps, marginals, rtol=1e-9)
    mean, gap = sm.NegativeBinomial(6.0, 1.5).statistics()
    np.testing.assert_allclose(math.log(mean) - gap, stats.gamma(1.5, scale=4.0).expect(np.log), rtol=1e-9)


# --- learning


GROUPS: dict[str, tuple[Any, list[Any], Callable[..., Any]]] = {
    "gamma": (sm.Gamma(), [sm.Gamma(2.0, 1.0), sm.Gamma(50.0, 0.3)], lambda rng, f, n: rng.gamma(*f.parameters, n)),
    "beta": (sm.Beta(), [sm.Beta(2.0, 20.0), sm.Beta(30.0, 10.0)], lambda rng, f, n: rng.beta(*f.parameters, n)),
    "negative_binomial": (
        sm.NegativeBinomial(),
        [sm.NegativeBinomial(4.0, 3.0), sm.NegativeBinomial(80.0, 10.0)],
        lambda rng, f, n: rng.poisson(rng.gamma(f.size, f.mean / f.size, n)),
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_stream_of_two_groups(name: str) -> None:
    unlearnt, true, draw = GROUPS[name]
    rng = np.random.default_rng(7)
    n = 20_000
    z = rng.random(n) < 0.4
    x = np.where(z, draw(rng, true[1], n), draw(rng, true[0], n))
    model = sm.Mixture(n_components=2, fields={"x": unlearnt}, step_size=sm.RunningMean(), warm_up=1000, seed=1)
    model.learn_many(table(x))
    order = np.argsort([c["x"].expectation() for c in model.parameters])
    np.testing.assert_allclose(model.weights[order], [0.6, 0.4], atol=0.03)
    for k, family in zip(order, true, strict=True):
        np.testing.assert_allclose(model.parameters[k]["x"].parameters, family.parameters, rtol=0.2)


def test_a_stream_of_compositions() -> None:
    rng = np.random.default_rng(8)
    true = [[2.0, 3.0, 1.0], [20.0, 2.0, 6.0]]
    z = rng.integers(2, size=10_000)
    rows = np.where(z[:, None] == 1, rng.dirichlet(true[1], len(z)), rng.dirichlet(true[0], len(z)))
    model = sm.Mixture(
        n_components=2, fields={NAMES[:3]: sm.Dirichlet()}, step_size=sm.RunningMean(), warm_up=500, seed=1
    )
    model.learn_many(shares(rows))
    found = sorted(c[NAMES[:3]].concentration for c in model.parameters)
    np.testing.assert_allclose(found, true, rtol=0.2)
    assert len(model.centers[0]) == 3
    drawn = model.sample(5)
    assert all(sum(record.values()) == pytest.approx(1.0) for record in drawn)


@pytest.mark.parametrize("name", GROUPS)
def test_batch_em_never_loses(name: str) -> None:
    _, true, draw = GROUPS[name]
    rng = np.random.default_rng(9)
    x = np.concatenate([draw(rng, family, 300) for family in true])
    model = sm.Mixture(
        components=[{"x": family.with_parameters(*(1.7 * p for p in family.parameters))} for family in true]
    )
    trace = sm.batch.fit(model, table(x), max_iter=40, tol=0.0).log_likelihood
    assert len(trace) > 2
    assert np.diff(trace).min() > -1e-8 * abs(trace[-1])


@pytest.mark.parametrize("batch_size", [1, 50])
def test_gamma_follows_its_scale(batch_size: int) -> None:
    """x -> a x changes nothing but the scale."""
    rng = np.random.default_rng(10)
    x = np.where(rng.random(2000) < 0.5, rng.gamma(2.0, 1.0, 2000), rng.gamma(100.0, 0.2, 2000))
    found = []
    for factor in (1.0, 1e-20, 3e25):
        model = sm.Mixture(n_components=2, fields={"x": sm.Gamma()}, warm_up=200, batch_size=batch_size, seed=2)
        model.learn_many(table(factor * x))
        found.append([(c["x"].shape, c["x"].scale / factor) for c in model.parameters])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-9)


@pytest.mark.parametrize("shape", [1e2, 1e6, 1e9])
@pytest.mark.parametrize("batch_size", [1, 64])
def test_concentrated_streams_lose_nothing(shape: float, batch_size: int) -> None:
    """The running gap against the same in forty digits, at any distance from 1."""
    x = np.random.default_rng(11).gamma(shape, 1e30 / shape, 640)
    model = sm.Mixture(
        components=[{"x": sm.Gamma(shape, 1e30 / shape)}], warm_up=1, step_size=sm.RunningMean(), batch_size=batch_size
    )
    model.learn_many(table(x))
    exact = [mp.mpf(1e30), *(mp.mpf(v) for v in x.tolist())]
    logs = [mp.log(exact[0]) - (mp.log(mp.mpf(shape)) - mp.digamma(mp.mpf(shape))), *(mp.log(v) for v in exact[1:])]
    gap = mp.log(exact_mean(exact)) - exact_mean(logs)
    found = model.parameters[0]["x"]
    optimum = mp.findroot(lambda a: mp.log(a) - mp.digamma(a) - gap, mp.mpf(found.shape))
    assert abs(found.shape / optimum - 1) < 1e-10


@pytest.mark.parametrize(
    ("family", "value"), [(sm.Gamma(), 3.5), (sm.Beta(), 0.25), (sm.NegativeBinomial(), 0), (sm.NegativeBinomial(), 7)]
)
def test_equal_values_have_bounded_parameters(family: Any, value: float) -> None:
    model = sm.Mixture(n_components=2, fields={"x": family}, warm_up=20, seed=0)
    for _ in range(500):
        model.learn_one({"x": value})
    for component in model.parameters:
        assert all(0.0 < p < 1e11 for p in component["x"].parameters)
        assert component["x"].expectation() == pytest.approx(value, abs=0.1)
    assert math.isfinite(model.log_density_one({"x": value}))


@pytest.mark.parametrize("batch_size", [1, 64])
def test_shares_that_are_missing_are_integrated_out(batch_size: int) -> None:
    """A third of all shares hidden at random: the estimate stays near, and a hidden last share costs nothing."""
    rng = np.random.default_rng(12)
    true = np.array([4.0, 2.0, 6.0])
    rows = rng.dirichlet(true, 6000)
    declared: dict[str, Any] = {"step_size": sm.RunningMean(), "batch_size": batch_size}
    start = [{NAMES[:3]: sm.Dirichlet([1.0, 1.0, 1.0])}]
    hidden, last = sm.Mixture(components=start, **declared), sm.Mixture(components=start, **declared)
    whole = sm.Mixture(components=start, **declared)
    for row in rows.tolist():
        record = dict(zip(NAMES, row, strict=False))
        hidden.learn_one({name: share for name, share in record.items() if rng.random() < 0.67} | {"a": row[0]})
        last.learn_one({"a": row[0], "b": row[1]})
        whole.learn_one(record)
    np.testing.assert_allclose(hidden.parameters[0][NAMES[:3]].concentration, true, rtol=0.15)
    np.testing.assert_allclose(
        last.parameters[0][NAMES[:3]].concentration, whole.parameters[0][NAMES[:3]].concentration, rtol=1e-9
    )


def test_components_of_different_families() -> None:
    """A gamma beside a normal: a negative value is the normal's alone."""
    model = sm.Mixture(components=[{"x": sm.Gamma(2.0, 1.0)}, {"x": sm.Normal(0.0, 4.0)}])
    for value in (1.0, -1.0, 3.0, 2.5):
        model.learn_one({"x": value})
    assert model.predict_proba_one({"x": -1.0}) == {0: 0.0, 1: 1.0}
    fixed = sm.Mixture(components=[{"x": sm.Fixed(sm.Gamma(2.0, 1.0))}, {"x": sm.Gamma(3.0, 1.0)}])
    before = fixed.parameters[0]
    for value in (1.0, 3.0, 2.5):
        fixed.learn_one({"x": value})
    assert fixed.parameters[0] == before
    assert fixed.parameters[1]["x"] != sm.Gamma(3.0, 1.0)


# --- refusals


@pytest.mark.parametrize(
    ("family", "value", "expected"),
    [
        (sm.Gamma(2, 1), 0.0, "a positive number"),
        (sm.Gamma(2, 1), -1, "a positive number"),
        (sm.Gamma(2, 1), "1", "a positive number"),
        (sm.Beta(2, 1), 0.0, "a number between 0 and 1, without either"),
        (sm.Beta(2, 1), 1, "a number between 0 and 1, without either"),
        (sm.NegativeBinomial(2, 1), -1, "a whole number, 0 or more"),
        (sm.NegativeBinomial(2, 1), 1.5, "a whole number, 0 or more"),
    ],
)
def test_values_outside_the_support_are_refused(family: Any, value: Any, expected: str) -> None:
    model = sm.Mixture(components=[{"x": family}])
    with pytest.raises(sm.RecordError) as refused:
        model.learn_one({"x": value})
    assert str(refused.value) == f"field 'x': expected {expected}, got {value!r}"
    with pytest.raises(sm.RecordError):
        model.learn_many(table([value]))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"a": 0.5, "b": 0.4, "c": 0.2},
            "fields 'a', 'b', 'c': expected positive shares that sum to 1 within 1e-06, got 1.1",
        ),
        ({"a": 0.5, "b": 0.5}, "expected positive shares that sum to less than 1 where some are missing, got 1.0"),
        ({"a": 0.0, "b": 0.5, "c": 0.5}, "field 'a': expected a share between 0 and 1, without either, got 0.0"),
        ({"a": 0.5, "b": 0.5, "c": "0"}, "field 'c': expected a share between 0 and 1"),
    ],
)
def test_records_that_are_no_compositions_are_refused(record: dict[str, Any], message: str) -> None:
    model = sm.Mixture(components=[{NAMES[:3]: sm.Dirichlet([1, 2, 3])}])
    with pytest.raises(sm.RecordError) as refused:
        model.learn_one(record)
    assert message in str(refused.value)
    columns = {name: [1 / 3, record.get(name)] for name in NAMES[:3]}
    if not any(isinstance(value, str) for value in record.values()):
        with pytest.raises(sm.RecordError) as refused:
            model.learn_many(pa.table(columns))
        assert refused.value.row == 1
    assert model.n_seen == 0
    model.learn_one({"a": 0.3, "b": 0.3, "c": 0.4000005})


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: sm.Gamma(0, 1), "Gamma: shape must be a positive number, not 0"),
        (lambda: sm.Gamma(2), "Gamma: scale is missing; give all parameters or none"),
        (lambda: sm.Beta(1, -1), "Beta: b must be a positive number, not -1"),
        (lambda: sm.NegativeBinomial(1, 0), "NegativeBinomial: size must be a positive number, not 0"),
        (lambda: sm.Dirichlet([1]), "Dirichlet: concentration must be a list of two positive numbers or more, not [1]"),
        (lambda: sm.Dirichlet([1, 0]), "Dirichlet: concentration must be a list of two positive numbers or more"),
        (
            lambda: sm.Dirichlet("ab"),
            "Dirichlet: concentration must be a list of two positive numbers or more, not 'ab'",
        ),
        (
            lambda: sm.Mixture(components=[{"x": sm.Gamma(1e12, 1)}]),
            "field x: a shape must lie between 1e-06 and 1e+10",
        ),
        (lambda: sm.Mixture(components=[{"x": sm.NegativeBinomial(1e200, 1)}]), "field x: a mean must lie between"),
        (
            lambda: sm.Mixture(components=[{("a", "b"): sm.Dirichlet([1e11, 1])}]),
            "field a, b: a concentration must lie between 1e-06 and 1e+10",
        ),
        (lambda: sm.Mixture(fields={"a": sm.Dirichlet()}), "Dirichlet() spans two fields or more, but 'a' names 1"),
        (
            lambda: sm.Mixture(
                components=[
                    {("a", "b"): sm.Dirichlet([1, 1])},
                    {("a", "b"): sm.MultivariateNormal([0, 0], [[1, 0], [0, 1]])},
                ]
            ),
            "these families can't stand side by side",
        ),
    ],
)
def test_wrong_declarations_are_refused(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(sm.ConfigError) as refused:
        declare()
    assert message in str(refused.value)
