"""Families of one field side by side in one model, and held still."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.special import logsumexp

import streammix as sm

Part = tuple[Any, Any]
T: Part = (sm.StudentT(4, 0, 1), stats.t(4))
NORMAL: Part = (sm.Normal(3, 4), stats.norm(3, 2))
WIDE: Part = (sm.Uniform(-50, 50), stats.uniform(-50, 100))
ANGLE: Part = (sm.VonMises(1.0, 2.0, 24.0), stats.vonmises(2.0, loc=1.0, scale=24 / math.tau))
EVENING: Part = (sm.VonMises(20.0, 0.5, 24.0), stats.vonmises(0.5, loc=20.0, scale=24 / math.tau))


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "parts", [[T, NORMAL], [T, WIDE, NORMAL], [ANGLE, NORMAL], [ANGLE, EVENING, WIDE], [EVENING, ANGLE, T]], ids=len
)
def test_log_densities_are_those_of_scipy(parts: list[Part], held: bool) -> None:
    components = [{"x": sm.Fixed(family) if held else family} for family, _ in parts]
    model = sm.Mixture(components=components, seed=0)
    x = np.linspace(-60, 60, 501)
    expected = logsumexp([known.logpdf(x) - math.log(len(parts)) for _, known in parts], axis=0)
    frame = pa.table({"x": x}).to_pandas()
    np.testing.assert_allclose(model.log_density_many(frame), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose([model.log_density_one({"x": v}) for v in x.tolist()], expected, rtol=1e-12, atol=1e-12)
    rng = np.random.default_rng(1)
    model.learn_many(pa.table({"x": rng.normal(2, 3, 300)}))
    assert not held or [c["x"] for c in model.parameters] == [c["x"] for c in components]
    assert abs(model.weights.sum() - 1) < 1e-12


@pytest.mark.parametrize("batch_size", [1, 9])
def test_with_and_without_structural_zeros(batch_size: int) -> None:
    parts = [{"x": sm.ZeroInflated(0.4, sm.Poisson(6))}, {"x": sm.Poisson(20)}, {"x": sm.Fixed(sm.Binomial(60, 0.7))}]
    model = sm.Mixture(components=parts, batch_size=batch_size, seed=0)
    first = stats.poisson(6).logpmf(np.arange(40)) + math.log(0.6)
    first[0] = math.log(0.4 + 0.6 * math.exp(-6))
    known = [first, stats.poisson(20).logpmf(np.arange(40)), stats.binom(60, 0.7).logpmf(np.arange(40))]
    expected = logsumexp(known, axis=0) - math.log(3)
    np.testing.assert_allclose([model.log_density_one({"x": v}) for v in range(40)], expected, rtol=1e-12)
    rng = np.random.default_rng(2)
    z = rng.integers(2, size=8_000)
    x = np.where(z == 0, rng.poisson(5, z.size) * (rng.random(z.size) < 0.5), rng.poisson(25, z.size))
    model.learn_many(pa.table({"x": x}))
    assert model.parameters[0]["x"].zero == pytest.approx(0.5, abs=0.05)
    assert model.parameters[0]["x"].family.rate == pytest.approx(5, rel=0.05)
    assert model.parameters[1]["x"].rate == pytest.approx(25, rel=0.05)
    assert model.parameters[2]["x"] == parts[2]["x"]


def test_a_held_zero_inflated_family() -> None:
    held = sm.Fixed(sm.ZeroInflated(0.2, sm.LogNormal(0.0, 1.0)))
    model = sm.Mixture(components=[{"x": held}, {"x": sm.Exponential(0.1)}])
    model.learn_many(pa.table({"x": [0.0, 1.0, 30.0] * 20}))
    assert model.parameters[0]["x"] == held
    assert model.predict_proba_one({"x": 0.0})[0] > 0.5
