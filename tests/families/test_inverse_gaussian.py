"""InverseGaussian: M-steps and running statistics over the whole range, sampling, refusals."""

import math
from typing import Any

import numpy as np
import pytest
from laws import table_of
from mpmath import mp
from scipy import stats

import streammix as sm

mp.dps = 50
RANGE = [(mean, shape) for mean in (1e-3, 1.0, 250.0) for shape in (1e-3, 0.1, 10.0, 1e3, 1e6)]


def relative_error(ours: float, exact: Any) -> float:
    return float(abs(mp.mpf(ours) - exact) / abs(exact))


def exact_parameters(x: list[float], start: sm.InverseGaussian | None = None, counts: int = 0) -> list[Any]:
    """The textbook's M-step of records and of a start that counts as some, to fifty digits."""
    mean, inverse = mp.fsum(map(mp.mpf, x)), mp.fsum(1 / mp.mpf(v) for v in x)
    if start is not None:
        mean += counts * mp.mpf(start.mean)
        inverse += counts * (1 / mp.mpf(start.mean) + 1 / mp.mpf(start.shape))
    mean, inverse = mean / (len(x) + counts), inverse / (len(x) + counts)
    return [mean, 1 / (inverse - 1 / mean)]


@pytest.mark.parametrize(("mean", "shape"), RANGE)
def test_the_m_step_is_the_maximum_of_the_likelihood(mean: float, shape: float) -> None:
    x = sm.InverseGaussian(mean, shape).sample(200, np.random.default_rng(5)).tolist()
    model = sm.Mixture(components=[{"x": sm.InverseGaussian(mean, shape)}])
    sm.batch.fit(model, table_of([{"x": v} for v in x]), max_iter=2, tol=0.0)
    for ours, exact in zip(model.parameters[0]["x"].parameters, exact_parameters(x), strict=True):
        assert relative_error(ours, exact) < 1e-10


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize(("mean", "shape"), RANGE)
def test_the_running_statistics_lose_nothing(mean: float, shape: float, batch_size: int) -> None:
    x = sm.InverseGaussian(mean, shape).sample(160, np.random.default_rng(6)).tolist()
    start = sm.InverseGaussian(mean * (1 + 0.1 * math.sqrt(min(mean / shape, 1.0))), shape * 0.7)
    model = sm.Mixture(components=[{"x": start}], batch_size=batch_size, step_size=sm.RunningMean(), warm_up=20)
    model.learn_many(table_of([{"x": v} for v in x]))
    for ours, exact in zip(model.parameters[0]["x"].parameters, exact_parameters(x, start, 20), strict=True):
        assert relative_error(ours, exact) < 1e-10


@pytest.mark.parametrize("mean", [1e-3, 1e5])
def test_a_start_far_away_is_forgotten(mean: float) -> None:
    x = sm.InverseGaussian(mean, 2.0 * mean).sample(300, np.random.default_rng(7)).tolist()
    model = sm.Mixture(components=[{"x": sm.InverseGaussian(10.0, 1e4)}])
    sm.batch.fit(model, table_of([{"x": v} for v in x]), max_iter=3, tol=0.0)
    for ours, exact in zip(model.parameters[0]["x"].parameters, exact_parameters(x), strict=True):
        assert relative_error(ours, exact) < 1e-10


@pytest.mark.parametrize(("mean", "shape"), [(3.0, 2.0), (1.0, 1e6), (1e4, 1.0)])
def test_samples_are_of_the_distribution(mean: float, shape: float) -> None:
    sample = sm.InverseGaussian(mean, shape).sample(4_000, np.random.default_rng(8))
    assert stats.kstest(sample, stats.invgauss(mean / shape, scale=shape).cdf).pvalue > 0.01


def test_a_stream_of_two_components() -> None:
    rng = np.random.default_rng(9)
    true = [sm.InverseGaussian(1.0, 5.0), sm.InverseGaussian(20.0, 60.0)]
    labels = rng.integers(2, size=20_000)
    x = np.where(labels == 0, true[0].sample(20_000, rng), true[1].sample(20_000, rng))
    model = sm.Mixture(
        n_components=2, fields={"x": sm.InverseGaussian()}, step_size=sm.RunningMean(), warm_up=500, seed=1
    )
    model.learn_many(table_of([{"x": v} for v in x.tolist()]))
    found = sorted((c["x"] for c in model.parameters), key=lambda family: family.mean)
    for ours, expected in zip(found, true, strict=True):
        np.testing.assert_allclose(ours.parameters, expected.parameters, rtol=0.05)


def test_a_shape_beyond_the_range_is_refused() -> None:
    with pytest.raises(sm.ConfigError, match="a shape over the mean must lie between 1e-12 and 1e\\+12"):
        sm.Mixture(components=[{"x": sm.InverseGaussian(1.0, 1e13)}])
    model = sm.Mixture(components=[{"x": sm.InverseGaussian(1.0, 1.0)}])
    with pytest.raises(sm.RecordError, match="field 'x': expected a positive number, got 0"):
        model.learn_one({"x": 0})
