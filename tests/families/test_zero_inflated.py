"""Zero-inflated fields against scipy.stats, a numerical optimum, and a textbook's EM."""

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from names import name_of
from scipy import optimize, special, stats

import streammix as sm

COUNTS: list[tuple[Any, Any]] = [
    (sm.Poisson(0.01), stats.poisson(0.01)),
    (sm.Poisson(3.0), stats.poisson(3.0)),
    (sm.Poisson(900.0), stats.poisson(900.0)),
    (sm.Binomial(7, 0.3), stats.binom(7, 0.3)),
    (sm.NegativeBinomial(0.2, 3.0), stats.nbinom(3.0, 3.0 / 3.2)),
    (sm.NegativeBinomial(20.0, 0.5), stats.nbinom(0.5, 0.5 / 20.5)),
]
NUMBERS: list[tuple[Any, Any]] = [
    (sm.Exponential(0.5), stats.expon(scale=2)),
    (sm.LogNormal(1.0, 0.49), stats.lognorm(0.7, scale=math.e)),
    (sm.Normal(1.0, 4.0), stats.norm(1, 2)),
    (sm.Gamma(0.4, 3.0), stats.gamma(0.4, scale=3.0)),
    (sm.Gamma(60.0, 0.1), stats.gamma(60.0, scale=0.1)),
]


@pytest.mark.parametrize("zero", [1e-9, 0.2, 0.999])
@pytest.mark.parametrize(("family", "known"), COUNTS, ids=name_of)
def test_probabilities_are_those_of_scipy(family: Any, known: Any, zero: float) -> None:
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(zero, family)}])
    x = np.arange(8) if isinstance(family, sm.Binomial) else np.arange(1000)
    expected = np.log1p(-zero) + known.logpmf(x)
    expected[0] = np.logaddexp(math.log(zero), expected[0])
    ours = model.log_density_many(pa.table({"x": x}).to_pandas())
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        [model.log_density_one({"x": v}) for v in x[:50].tolist()], ours[:50], rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("zero", [1e-9, 0.2, 0.999])
@pytest.mark.parametrize(("family", "known"), NUMBERS, ids=name_of)
def test_densities_are_those_of_scipy(family: Any, known: Any, zero: float) -> None:
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(zero, family)}])
    x = np.concatenate([[0.0], np.geomspace(1e-6, 1e3, 999)])
    expected = np.log1p(-zero) + known.logpdf(np.maximum(x, 1e-6))
    expected[0] = math.log(zero)
    ours = model.log_density_many(pa.table({"x": x}).to_pandas())
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        [model.log_density_one({"x": v}) for v in x[::20].tolist()], ours[::20], rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize(("rate", "zero"), [(0.5, 0.3), (4.0, 0.6), (30.0, 0.1)])
def test_one_component_is_the_maximum_of_the_likelihood(rate: float, zero: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.poisson(rate, 3_000) * (rng.random(3_000) >= zero)
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(0.5, sm.Poisson(1.0))}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=5_000, tol=1e-16)
    learnt = model.parameters[0]["x"]
    # the likelihood's gradient is 0 where rate / (1 - exp(-rate)) is the mean of what is not 0
    found = optimize.brentq(lambda v: v / -math.expm1(-v) - x[x > 0].mean(), 1e-9, 1e3, xtol=1e-14)
    assert learnt.family.rate == pytest.approx(found, rel=1e-5)
    assert learnt.zero == pytest.approx(1 - (x > 0).mean() / -math.expm1(-found), abs=1e-5)


def test_one_step_of_em_is_the_textbooks() -> None:
    x = np.array([0, 0, 0, 1, 4, 0, 2, 7])
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(0.3, sm.Poisson(2.0))}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=1)
    structural = 4 * 0.3 / (0.3 + 0.7 * math.exp(-2.0))
    learnt = model.parameters[0]["x"]
    assert learnt.zero == pytest.approx(structural / 8, rel=1e-13)
    assert learnt.family.rate == pytest.approx(14 / (8 - structural), rel=1e-13)


def test_a_hurdle_is_read_off() -> None:
    x = np.array([0.0, 1.5, 0.0, 2.5, 8.0, 0.0])
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(0.3, sm.LogNormal(0.0, 1.0))}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=1)
    learnt = model.parameters[0]["x"]
    logs = np.log(x[x > 0])
    np.testing.assert_allclose(
        [learnt.zero, learnt.family.mean, learnt.family.variance], [0.5, logs.mean(), logs.var()]
    )


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_a_hurdle_of_a_gamma_is_the_gammas_own_maximum(scale: float) -> None:
    """Each way of reading records, whatever the zeros among them: their infinite logarithm touches nothing."""
    x = scale * np.array([0.0, 1.5, 0.0, 2.5, 8.0, 0.0, 0.3])
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(0.3, sm.Gamma(1.0, scale))}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=1)
    learnt = model.parameters[0]["x"]
    some = x[x > 0] / scale
    gap = math.log(some.mean()) - np.log(some).mean()
    shape = optimize.brentq(lambda a: math.log(a) - special.digamma(a) - gap, 1e-3, 1e3, xtol=1e-15, rtol=1e-14)
    np.testing.assert_allclose(
        [learnt.zero, learnt.family.shape, learnt.family.scale], [3 / 7, shape, scale * some.mean() / shape], rtol=1e-12
    )
    online = sm.Mixture(components=[{"x": learnt}], step_size=sm.RunningMean(), seed=1)
    for value in [*x.tolist(), *x.tolist()]:  # the running mean comes back to where it was
        online.learn_one({"x": value})
    again = online.parameters[0]["x"]
    np.testing.assert_allclose([again.zero, *again.family.parameters], [learnt.zero, *learnt.family.parameters])


def test_one_step_of_em_with_a_negative_binomial_is_the_textbooks() -> None:
    x = np.array([0, 0, 0, 1, 4, 0, 2, 7])
    zero, mean, size = 0.3, 2.0, 1.5
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(zero, sm.NegativeBinomial(mean, size))}])
    sm.batch.fit(model, pa.table({"x": x}), max_iter=1)
    none = (1 - zero) * (size / (size + mean)) ** size
    kept = np.where(x == 0, none / (zero + none), 1.0)
    rate, log_rate = (size + x) / (size / mean + 1), special.digamma(size + x) - math.log(size / mean + 1)
    new_mean = kept @ rate / kept.sum()
    gap = math.log(new_mean) - kept @ log_rate / kept.sum()
    new_size = optimize.brentq(lambda a: math.log(a) - special.digamma(a) - gap, 1e-3, 1e3, xtol=1e-15, rtol=1e-14)
    learnt = model.parameters[0]["x"]
    np.testing.assert_allclose(
        [learnt.zero, learnt.family.mean, learnt.family.size], [1 - kept.mean(), new_mean, new_size], rtol=1e-12
    )


@pytest.mark.parametrize(("mean", "size", "zero"), [(4.0, 2.0, 0.4), (30.0, 5.0, 0.1)])
def test_a_negative_binomial_is_the_maximum_of_the_likelihood(mean: float, size: float, zero: float) -> None:
    rng = np.random.default_rng(9)
    x = rng.poisson(rng.gamma(size, mean / size, 4_000)) * (rng.random(4_000) >= zero)

    def cost(theta: Any) -> float:
        share, m, s = 1 / (1 + math.exp(-theta[0])), math.exp(theta[1]), math.exp(theta[2])
        log_p = math.log1p(-share) + stats.nbinom.logpmf(x, s, s / (s + m))
        return -float(np.where(x == 0, np.logaddexp(math.log(share), log_p), log_p).sum())

    best = optimize.minimize(cost, [math.log(zero / (1 - zero)), math.log(mean), math.log(size)], method="BFGS")
    share = 1 / (1 + math.exp(-best.x[0]))
    start = sm.ZeroInflated(share, sm.NegativeBinomial(math.exp(best.x[1]), math.exp(best.x[2])))
    model = sm.Mixture(components=[{"x": start}])
    trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=200, tol=0)
    assert (np.diff(trace.log_likelihood) > -1e-9).all()
    assert trace.log_likelihood[-1] - -best.fun < 1e-4  # EM has nothing to gain from the optimum
    learnt = model.parameters[0]["x"]
    np.testing.assert_allclose(
        [learnt.zero, *learnt.family.parameters], [start.zero, *start.family.parameters], rtol=1e-3
    )


@pytest.mark.parametrize("batch_size", [1, 50])
def test_a_stream_is_learnt(batch_size: int) -> None:
    rng = np.random.default_rng(5)
    z = rng.integers(2, size=30_000)
    some = rng.random(z.size) >= np.array([0.6, 0.1])[z]
    spends = rng.random(z.size) >= np.array([0.2, 0.7])[z]
    records = {
        "visits": rng.poisson(np.array([3.0, 8.0])[z]) * some,
        "spent": rng.lognormal(2.0 * z, 0.5) * spends,
        "rain": rng.gamma(2.0, 1.0 + 4.0 * z) * spends[::-1],
        "claims": rng.negative_binomial(3.0, 3.0 / np.array([7.0, 15.0])[z]) * some[::-1],
    }
    fields = {
        "visits": sm.ZeroInflated(family=sm.Poisson()),
        "spent": sm.ZeroInflated(family=sm.LogNormal()),
        "rain": sm.ZeroInflated(family=sm.Gamma()),
        "claims": sm.ZeroInflated(family=sm.NegativeBinomial()),
    }
    model = sm.Mixture(n_components=2, fields=fields, batch_size=batch_size, seed=1)
    model.learn_many(pa.table(records))
    low, high = sorted(model.parameters, key=lambda component: component["spent"].family.mean)
    for component, zero, rate, skipped, mean in ((low, 0.6, 3.0, 0.2, 0.0), (high, 0.1, 8.0, 0.7, 2.0)):
        assert component["visits"].zero == pytest.approx(zero, abs=0.04)
        assert component["visits"].family.rate == pytest.approx(rate, rel=0.05)
        assert component["spent"].zero == pytest.approx(skipped, abs=0.04)
        assert component["spent"].family.mean == pytest.approx(mean, abs=0.06)
        assert component["spent"].family.variance == pytest.approx(0.25, rel=0.1)
        wet, claims = component["rain"].family, component["claims"].family
        assert wet.shape == pytest.approx(2.0, rel=0.15)
        assert wet.expectation() == pytest.approx(2.0 if mean == 0.0 else 10.0, rel=0.05)
        assert claims.mean == pytest.approx(4.0 if mean == 0.0 else 12.0, rel=0.08)
        assert claims.size == pytest.approx(3.0, rel=0.3)


@pytest.mark.parametrize(
    "inner",
    [sm.Poisson(), sm.NegativeBinomial(), sm.Binomial(10), sm.Exponential(), sm.Gamma(), sm.LogNormal()],
    ids=repr,
)
def test_batch_em_climbs(inner: Any) -> None:
    rng = np.random.default_rng(6)
    x = np.minimum(rng.poisson(1 + 5 * rng.integers(2, size=600)) * (rng.random(600) < 0.6), 10)
    model = sm.Mixture(n_components=2, fields={"x": sm.ZeroInflated(family=inner)}, warm_up=100, seed=1)
    trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=100, tol=0)
    assert (np.diff(trace.log_likelihood) > -1e-4).all()  # the prior's hundredth of an observation may cost as much


@pytest.mark.parametrize("inner", [sm.Poisson(), sm.NegativeBinomial(), sm.Gamma(), sm.LogNormal()], ids=repr)
def test_only_zeros_and_no_zeros(inner: Any) -> None:
    for value, likely in ((0, True), (3, False)):
        model = sm.Mixture(n_components=1, fields={"x": sm.ZeroInflated(family=inner)}, warm_up=20, seed=1)
        model.learn_many(pa.table({"x": [value] * 2_000}))
        family = model.parameters[0]["x"]
        assert 0 <= family.zero <= 1
        assert np.isfinite(family.family.parameters).all()
        assert (model.log_density_one({"x": 0}) > -0.1) == likely
        assert -math.inf < model.log_density_one({"x": 3 - value}) < 0


def test_values() -> None:
    family = sm.ZeroInflated(0.25, sm.Poisson(4))
    assert family.expectation() == 3.0
    assert [float(v) for v in family.statistics()] == [0.25, 4.0]
    assert repr(family) == "ZeroInflated(zero=0.25, family=Poisson(rate=4.0))"
    assert sm.families.from_json(family.to_json()) == family
    assert sm.families.from_json({"family": "ZeroInflated", "of": "LogNormal"}) == sm.ZeroInflated(
        family=sm.LogNormal()
    )
    assert sm.ZeroInflated(family=sm.Poisson()).with_parameters(0.25, sm.Poisson(4)) == family
    assert sm.ZeroInflated(family=sm.LogNormal()).support.contains(0)
    sample = family.sample(20_000, np.random.default_rng(1))
    assert (sample == 0).mean() == pytest.approx(0.25 + 0.75 * math.exp(-4), abs=0.01)
    assert sample.mean() == pytest.approx(3.0, abs=0.06)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: sm.ZeroInflated(), "ZeroInflated: family must be Poisson, NegativeBinomial"),
        (lambda: sm.ZeroInflated(family=sm.Categorical()), "ZeroInflated: family must be Poisson, NegativeBinomial"),
        (lambda: sm.ZeroInflated(family=sm.StudentT()), "with or without parameters, not StudentT()"),
        (lambda: sm.ZeroInflated(family=sm.Beta()), "with or without parameters, not Beta()"),
        (lambda: sm.ZeroInflated(family=sm.ZeroInflated(family=sm.Poisson())), "with or without parameters, not"),
        (
            lambda: sm.Mixture(components=[{"x": sm.ZeroInflated(0.5, sm.Gamma(1e12, 1))}]),
            "field x: a shape must lie between 1e-06 and 1e+10",
        ),
        (
            lambda: sm.ZeroInflated(0.5, sm.Poisson()),
            "zero is 0.5, but family is Poisson(); give all parameters or none",
        ),
        (lambda: sm.ZeroInflated(family=sm.Poisson(3)), "zero is None, but family is Poisson(rate=3.0)"),
        (lambda: sm.ZeroInflated(1.5, sm.Poisson(3)), "ZeroInflated: zero must be a number from 0 to 1, not 1.5"),
        (lambda: sm.families.from_json({"family": "ZeroInflated", "in": 3}), "ZeroInflated has no parameter 'in'"),
    ],
)
def test_refusals(declare: Any, message: str) -> None:
    with pytest.raises(sm.ConfigError) as refused:
        declare()
    assert message in str(refused.value)


def test_a_record_outside_the_support_is_refused() -> None:
    model = sm.Mixture(components=[{"x": sm.ZeroInflated(0.5, sm.LogNormal(0, 1))}])
    with pytest.raises(sm.RecordError, match="field 'x': expected a number, 0 or more, got -1"):
        model.learn_one({"x": -1})
    assert model.n_seen == 0


def test_a_family_where_the_share_stands_is_told_of() -> None:
    with pytest.raises(sm.ConfigError, match=re.escape("give the family by name, family=Gamma()")):
        sm.ZeroInflated(sm.Gamma())  # type: ignore[arg-type]
    with pytest.raises(sm.ConfigError, match="not None"):
        sm.ZeroInflated(0.5)
