"""A component that never moves beside learnt ones: it takes the outliers, and they stay where they belong."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import streammix as sm

FLAT: dict[str, Any] = {"x": sm.Uniform(-1000, 1000), "y": sm.Uniform(-1000, 1000)}
BACKGROUNDS: dict[str, dict[Any, Any]] = {
    "uniform": FLAT,
    "fixed": {"x": sm.Fixed(sm.Normal(0, 1e5)), "y": sm.Fixed(sm.Normal(0, 1e5))},
    "scipy": {"x": sm.Fixed(stats.cauchy(0, 300)), "y": sm.Fixed(stats.uniform(-1000, 2000))},
    "student": {"x": sm.Fixed(sm.StudentT(1, 0, 300)), "y": sm.Uniform(-1000, 1000)},
    "group": {("x", "y"): sm.Fixed(sm.MultivariateNormal([0, 0], 1e5 * np.eye(2)))},
}


def stream(n: int, share: float) -> tuple[dict[str, Any], Any, Any]:
    """Two narrow clusters, and a share of records from anywhere."""
    rng = np.random.default_rng(1)
    z = rng.integers(2, size=n)
    odd = rng.random(n) < share
    x = np.where(odd, rng.uniform(-1000, 1000, n), rng.normal(10.0 * z, 1.0))
    y = np.where(odd, rng.uniform(-1000, 1000, n), rng.normal(-5.0 * z, 2.0))
    return {"x": x, "y": y}, odd, z


def learnt(background: dict[Any, Any] | None, batch_size: int, columns: dict[str, Any]) -> sm.Mixture:
    joint = background is not None and ("x", "y") in background
    start: list[dict[Any, Any]] = [
        {("x", "y"): sm.MultivariateNormal(mean, 9 * np.eye(2))}
        if joint
        else {"x": sm.Normal(mean[0], 9), "y": sm.Normal(mean[1], 9)}
        for mean in ([-1.0, 1.0], [12.0, -7.0])
    ]
    components = start if background is None else [*start, background]
    model = sm.Mixture(components=components, batch_size=batch_size, seed=1)
    model.learn_many(pa.table(columns))
    return model


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("name", BACKGROUNDS)
def test_it_takes_the_outliers_and_the_others_are_not_pulled(name: str, batch_size: int) -> None:
    columns, odd, z = stream(4_000 if name == "scipy" else 20_000, 0.05)  # scipy.stats is asked value by value
    background = BACKGROUNDS[name]
    model = learnt(background, batch_size, columns)
    assert model.parameters[2] == background
    np.testing.assert_allclose(model.weights, [0.475, 0.475, 0.05], atol=0.02)
    for k in range(2):
        component = model.parameters[k]
        if name == "group":
            family = component["x", "y"]
            means, variances = family.mean, np.diag(family.covariance)
        else:
            means = [component[field].mean for field in "xy"]
            variances = [component[field].variance for field in "xy"]
        np.testing.assert_allclose(means, [10.0 * k, -5.0 * k], atol=0.15)
        np.testing.assert_allclose(variances, [1.0, 4.0], rtol=0.12)
    guess = np.asarray(model.predict_many(pa.table(columns)))
    assert (guess[odd] == 2).mean() > 0.99
    assert (guess[~odd] == z[~odd]).mean() > 0.99


def test_without_one_they_are_pulled() -> None:
    """So the test above says something."""
    model = learnt(None, 1, stream(20_000, 0.05)[0])
    assert max(component["x"].variance for component in model.parameters) > 100


@pytest.mark.parametrize("batch_size", [1, 64])
def test_without_outliers_it_fades_and_costs_nothing(batch_size: int) -> None:
    columns, _, _ = stream(20_000, 0.0)
    model = learnt(FLAT, batch_size, columns)
    assert model.weights[2] < 0.01
    assert model.parameters[0]["x"].variance == pytest.approx(1.0, rel=0.1)
    assert model.predict_one({"x": 500.0, "y": -300.0}) == 2


def test_each_record_beyond_the_background_belongs_to_the_learnt() -> None:
    model = learnt(FLAT, 1, stream(2_000, 0.05)[0])
    assert model.predict_proba_one({"x": 2000.0, "y": 0.0})[2] == 0.0
    everywhere = learnt(BACKGROUNDS["fixed"], 1, stream(2_000, 0.05)[0])
    assert everywhere.predict_one({"x": 2000.0, "y": 0.0}) == 2
