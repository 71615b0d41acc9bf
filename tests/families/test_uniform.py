"""A uniform background beside learnt components."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import streammix as sm


def test_log_densities_are_those_of_scipy() -> None:
    model = sm.Mixture(components=[{"x": sm.Uniform(-2, 3)}, {"x": sm.Normal(0, 1)}], weights=[0.25, 0.75])
    x = np.concatenate([np.linspace(-10, 10, 997), [-2.0, 3.0, 3.0001]])
    inside = np.log(0.25 * stats.uniform(-2, 5).pdf(x) + 0.75 * stats.norm.pdf(x))
    np.testing.assert_allclose(model.log_density_many(pa.table({"x": x}).to_pandas()), inside, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose([model.log_density_one({"x": v}) for v in x.tolist()], inside, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_background_takes_the_outliers(fixed: bool, batch_size: int) -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    odd = rng.random(n) < 0.1
    x = np.where(odd, rng.uniform(-100, 100, n), rng.normal(5 + 20 * rng.integers(2, size=n), 1.0))
    background: Any = sm.Fixed(sm.Uniform(-100, 100)) if fixed else sm.Uniform(-100, 100)
    model = sm.Mixture(
        components=[{"x": background}, {"x": sm.Normal(0, 9)}, {"x": sm.Normal(30, 9)}], batch_size=batch_size
    )
    model.learn_many(pa.table({"x": x}))
    np.testing.assert_allclose(model.weights, [0.1, 0.45, 0.45], atol=0.02)
    assert model.parameters[0]["x"] == background
    for k, mean in ((1, 5.0), (2, 25.0)):
        assert model.parameters[k]["x"].mean == pytest.approx(mean, abs=0.1)
        assert model.parameters[k]["x"].variance == pytest.approx(1.0, rel=0.1)
    assert model.predict_one({"x": 60.0}) == 0


@pytest.mark.parametrize("batch_size", [1, 7])
def test_outside_its_interval_the_background_is_out_of_the_question(batch_size: int) -> None:
    parts = [{"x": sm.Uniform(0, 1)}, {"x": sm.Uniform(0, 4)}, {"x": sm.Normal(2, 1)}]
    model = sm.Mixture(components=parts, batch_size=batch_size)
    assert model.predict_proba_one({"x": 2.0})[0] == 0.0
    assert model.predict_proba_one({"x": 5.0}) == {0: 0.0, 1: 0.0, 2: 1.0}
    for v in np.random.default_rng(3).uniform(2, 4, 50).tolist():
        model.learn_one({"x": v})
    assert model.weights[0] < model.weights[1]
    only = sm.Mixture(components=[{"x": sm.Uniform(0, 1)}, {"x": sm.Uniform(2, 3)}])
    with pytest.raises(sm.RecordError, match=r"field 'x': expected a number from 0 to 1, got 1\.5"):
        only.learn_one({"x": 1.5})
    assert only.predict_one({"x": 2.5}) == 1


def test_batch_em_climbs() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(0, 50, 100), rng.normal(20, 1, 400)])
    model = sm.Mixture(components=[{"x": sm.Uniform(0, 50)}, {"x": sm.Normal(10, 25)}])
    trace = sm.batch.fit(model, pa.table({"x": x}), max_iter=100, tol=0)
    assert (np.diff(trace.log_likelihood) > -1e-8).all()
    assert model.weights[0] == pytest.approx(0.2, abs=0.03)


def test_it_may_stand_among_fields() -> None:
    model = sm.Mixture(n_components=2, fields={"x": sm.Normal(), "phase": sm.Uniform(0, 1)}, warm_up=30, seed=1)
    rng = np.random.default_rng(4)
    model.learn_many(pa.table({"x": rng.normal(size=100), "phase": rng.random(100)}))
    assert [component["phase"] for component in model.parameters] == [sm.Uniform(0, 1)] * 2
    assert all(0 <= record["phase"] <= 1 for record in model.sample(20))


def test_values() -> None:
    family = sm.Uniform(2, 5)
    assert (family.expectation(), family.is_given, family.parameters) == (3.5, True, ())
    assert family.support.contains(2)
    assert not family.support.contains(5.1)
    assert sm.families.from_json(family.to_json()) == family
    assert stats.kstest(family.sample(5_000, np.random.default_rng(1)), stats.uniform(2, 3).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: sm.Uniform(1, 1), "Uniform: high must be more than low = 1.0, not 1.0"),
        (lambda: sm.Uniform(2, 1), "Uniform: high must be more than low = 2.0, not 1.0"),
        (lambda: sm.Uniform(-math.inf, 1), "Uniform: low must be a number from -1e70 to 1e70, not -inf"),
        (lambda: sm.Uniform(0, "1"), "Uniform: high must be a number from -1e70 to 1e70, not '1'"),
        (lambda: sm.families.from_json("Uniform"), "Uniform needs low, high"),
        (lambda: sm.families.from_json({"family": "Uniform", "low": 1}), "Uniform needs high"),
    ],
)
def test_refusals(declare: Any, message: str) -> None:
    with pytest.raises(sm.ConfigError) as refused:
        declare()
    assert message in str(refused.value)


@pytest.mark.parametrize("family", [sm.Uniform(0, 2), sm.Fixed(sm.Uniform(0, 2))])
def test_it_stands_beside_a_background(family: Any) -> None:
    model = sm.AutoMixture(n_components=1, fields={"x": family, "y": sm.Normal()}, seed=1)
    rng = np.random.default_rng(1)
    for _ in range(500):
        model.learn_one({"x": rng.uniform(0, 2), "y": rng.normal()})
    expected = -math.log(0.5 / math.sqrt(2 * math.pi))
    assert model.score_one({"x": 1.0, "y": 0.0}) == pytest.approx(expected, abs=0.2)
    assert model.outlier_one({"x": 1.0, "y": 50.0}) > 0.99 > 0.1 > model.outlier_one({"x": 1.0, "y": 0.0})
