"""Zero-inflated fields against scipy.stats, a numerical optimum, and a textbook's EM."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from names import name_of
from scipy import optimize, stats

import streammix as sm

COUNTS: list[tuple[Any, Any]] = [
    (sm.Poisson(0.01), stats.poisson(0.01)),
    (sm.Poisson(3.0), stats.poisson(3.0)),
    (sm.Poisson(900.0), stats.poisson(900.0)),
    (sm.Binomial(7, 0.3), stats.binom(7, 0.3)),
]
NUMBERS: list[tuple[Any, Any]] = [
    (sm.Exponential(0.5), stats.expon(scale=2)),
    (sm.LogNormal(1.0, 0.49), stats.lognorm(0.7, scale=math.e)),
    (sm.Normal(1.0, 4.0), stats.norm(1, 2)),
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


@pytest.mark.parametrize("batch_size", [1, 50])
def test_a_stream_is_learnt(batch_size: int) -> None:
    rng = np.random.default_rng(5)
    z = rng.integers(2, size=30_000)
    some = rng.random(z.size) >= np.array([0.6, 0.1])[z]
    spends = rng.random(z.size) >= np.array([0.2, 0.7])[z]
    records = {"visits": rng.poisson(np.array([3.0, 8.0])[z]) * some, "spent": rng.lognormal(2.0 * z, 0.5) * spends}
    fields = {"visits": sm.ZeroInflated(family=sm.Poisson()), "spent": sm.ZeroInflated(family=sm.LogNormal())}
    model = sm.Mixture(n_components=2, fields=fields, batch_size=batch_size, seed=1)
    model.learn_many(pa.table(records))
    low, high = sorted(model.parameters, key=lambda component: component["spent"].family.mean)
    for component, zero, rate, skipped, mean in ((low, 0.6, 3.0, 0.2, 0.0), (high, 0.1, 8.0, 0.7, 2.0)):
        assert component["visits"].zero == pytest.approx(zero, abs=0.04)
        assert component["visits"].family.rate == pytest.approx(rate, rel=0.05)
        assert component["spent"].zero == pytest.approx(skipped, abs=0.04)
        assert component["spent"].family.mean == pytest.approx(mean, abs=0.06)
        assert component["spent"].family.variance == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("inner", [sm.Poisson(), sm.Binomial(10), sm.Exponential(), sm.LogNormal()], ids=repr)
def test_batch_em_climbs(inner: Any) -> None:
    rng = np.random.default_rng(6)
    x = np.minimum(rng.poisson(1 + 5 * rng.integers(2, size=600)) * (rng.random(600) < 0.6), 10)
    model = sm.Mixture(n_components=2, fields={"x": sm.ZeroInflated(family=inner)}, warm_up=100, seed=1)
    trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=100, tol=0)
    assert (np.diff(trace.log_likelihood) > -1e-4).all()  # the prior's hundredth of an observation may cost as much


def test_only_zeros_and_no_zeros() -> None:
    for value, likely in ((0, True), (3, False)):
        model = sm.Mixture(n_components=1, fields={"x": sm.ZeroInflated(family=sm.Poisson())}, warm_up=20, seed=1)
        model.learn_many(pa.table({"x": [value] * 2_000}))
        family = model.parameters[0]["x"]
        assert 0 <= family.zero <= 1
        assert family.family.rate > 0
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
        (lambda: sm.ZeroInflated(), "ZeroInflated: family must be Poisson, Binomial"),
        (lambda: sm.ZeroInflated(family=sm.Categorical()), "ZeroInflated: family must be Poisson, Binomial"),
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
