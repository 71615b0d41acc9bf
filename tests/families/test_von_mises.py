"""Von Mises fields against scipy.stats, decimals, and what angles must obey."""

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import streammix as sm
from streammix.core.engine import Engine
from streammix.em import blank
from streammix.families.von_mises import spread

CONCENTRATIONS = [0.0, 1e-9, 1e-3, 0.5, 2.0, 7.0, 30.0, 49.9, 50.1, 1e3, 1e6]
EVERY = [float(v) for v in 10.0 ** np.arange(-6, 6.01, 0.25)]


def alone(mean: float, concentration: float, period: float = math.tau) -> sm.Mixture:
    return sm.Mixture(components=[{"x": sm.VonMises(mean, concentration, period)}])


def maximized(statistics: Any) -> Any:
    """Theta of the core, (rows, n), at statistics, (rows, n), without a prior."""
    n = np.shape(statistics)[1]
    layout = [("vonmises", [0], math.tau, False, None)]
    state = blank(layout, n, 0.0)
    state.statistics[0][0, :, :n] = statistics
    state.priors[0][:] = 0.0
    return Engine(layout, state, (0, 1.0)).theta[0][0, :, :n]


def exact_spread(concentration: float) -> Decimal:
    """1 - I1 / I0 by the ratios' recurrence from far above, in 50 digits."""
    with localcontext(prec=50):
        kappa, ratio = Decimal(concentration), Decimal(0)
        for n in range(60 + int(12 * math.sqrt(concentration)), 0, -1):
            ratio = 1 / (2 * n / kappa + ratio)
        return 1 - ratio


@pytest.mark.parametrize("period", [math.tau, 24.0, 360.0])
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_log_densities_are_those_of_scipy(concentration: float, period: float) -> None:
    mean = 0.9 * period
    known = stats.vonmises(concentration, loc=mean, scale=period / math.tau)
    near = mean + period / math.tau / math.sqrt(concentration + 1) * np.linspace(-8, 8, 900)
    x = np.concatenate([near, np.linspace(-period, 2 * period, 98), [0.0, period]])
    model = alone(mean, concentration, period)
    ours = model.log_density_many(pa.table({"x": x}).to_pandas())
    np.testing.assert_allclose(ours, known.logpdf(x), rtol=1e-12, atol=1e-12 * (1 + math.sqrt(concentration)))
    one = [model.log_density_one({"x": v}) for v in x[::10].tolist()]
    np.testing.assert_allclose(one, ours[::10], rtol=1e-13, atol=1e-13)


def test_the_concentration_is_the_maximum_of_the_likelihood() -> None:
    spreads = [exact_spread(kappa) for kappa in EVERY]
    high = [i for i, kappa in enumerate(EVERY) if kappa >= 0.1]
    statistics = [[1.0, 0.0, float(spreads[i]), 0.0] for i in high]
    theta = maximized(np.array(statistics).T)
    np.testing.assert_allclose(theta[2], [EVERY[i] for i in high], rtol=1e-13)
    # a quarter turn from the anchor the mean sine is the whole resultant: small ones keep their digits
    statistics = [[1.0, 0.0, 1.0, float(1 - s)] for s in spreads]
    theta = maximized(np.array(statistics).T)
    np.testing.assert_allclose(theta[2, :28], EVERY[:28], rtol=1e-13)
    np.testing.assert_allclose(2 * np.arctan2(theta[1], theta[0]), math.pi / 2, rtol=1e-15)


def test_statistics_are_the_inverse_of_the_m_step() -> None:
    for kappa in [*EVERY, 49.99, 50.01]:
        mean, own = sm.VonMises(1.5, kappa).statistics()
        assert mean == 1.5
        np.testing.assert_allclose(float(own), float(exact_spread(kappa)), rtol=1e-13)
    assert spread(0.0) == 1.0


def test_the_gradient_of_the_log_partition_is_the_mean_statistic() -> None:
    for kappa in (0.3, 2.0, 20.0, 500.0, 1e5):
        h = 1e-4 * kappa
        above, below = (-alone(0.0, kappa + s).log_density_one({"x": 0.0}) for s in (h, -h))
        np.testing.assert_allclose((below - above) / (2 * h), spread(kappa), rtol=1e-6)


def test_bounds() -> None:
    theta = maximized(np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 2.0, 0.0]]).T)
    assert theta[2].tolist() == [1e12, 0.0, 1e12]  # the ends of what VonMises takes back
    np.testing.assert_allclose(np.abs(theta[:2].T), [[1, 0], [1, 0], [0, 1]], atol=1e-15)


@pytest.mark.parametrize("concentration", [0.3, 5.0, 1e6])
@pytest.mark.parametrize("mean", [0.0, 3.0, 6.1])
@pytest.mark.parametrize("start", [0.2, 5.5])
def test_one_component_is_the_maximum_of_the_likelihood(concentration: float, mean: float, start: float) -> None:
    x = np.random.default_rng(3).vonmises(mean, concentration, 2_000)
    center = math.atan2(np.sin(x).sum(), np.cos(x).sum())
    own = 2 * float((np.sin((x - center) / 2) ** 2).mean())
    model = alone(start, 2.0)
    sm.batch.fit(model, pa.table({"x": x}), max_iter=3, tol=0)
    learnt = model.parameters[0]["x"]
    assert abs(math.remainder(learnt.mean - center, math.tau)) < 1e-12
    assert 0 <= learnt.mean < math.tau
    # the likelihood's gradient is 0: the spread at the concentration is the data's
    np.testing.assert_allclose(float(exact_spread(learnt.concentration)), own, rtol=1e-13)


def winds(n: int, seed: int = 1) -> tuple[Any, Any]:
    """Two winds, one from the north: degrees from 0 to 360, and speeds that say little."""
    rng = np.random.default_rng(seed)
    north = rng.random(n) < 0.6
    degrees = np.degrees(np.where(north, rng.vonmises(0.0, 6.0, n), rng.vonmises(3.0, 4.0, n))) % 360
    return degrees, rng.gamma(4.0, 1.0, n)


@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize("turned", [0.0, 180.0])
def test_a_wind_from_the_north_is_not_split(turned: float, batch_size: int) -> None:
    degrees, speed = winds(20_000)
    model = sm.Mixture(
        n_components=2, fields={"wind": sm.VonMises(period=360), "speed": sm.LogNormal()}, batch_size=batch_size, seed=2
    )
    model.learn_many(pa.table({"wind": (degrees + turned) % 360, "speed": speed}))
    north, south = (int(k) for k in np.argsort(-model.weights))
    assert model.weights[north] == pytest.approx(0.6, abs=0.02)
    assert abs(math.remainder(model.parameters[north]["wind"].mean - turned, 360)) < 2
    assert abs(math.remainder(model.parameters[south]["wind"].mean - turned - math.degrees(3.0), 360)) < 3
    assert model.parameters[north]["wind"].concentration == pytest.approx(6.0, rel=0.1)
    assert model.parameters[south]["wind"].concentration == pytest.approx(4.0, rel=0.1)
    just_west, just_east = ({"wind": (v + turned) % 360} for v in (359.9, 0.1))
    assert model.predict_one(just_west) == model.predict_one(just_east) == north
    assert model.score_one(just_west) == pytest.approx(model.score_one(just_east), abs=0.05)


def test_whole_turns_make_no_difference() -> None:
    degrees, speed = winds(3_000)
    turns = np.random.default_rng(5).integers(-3, 4, degrees.size) * 360.0
    models = []
    for wind in (np.round(degrees), np.round(degrees) + turns):
        model = sm.Mixture(n_components=2, fields={"wind": sm.VonMises(period=360), "speed": sm.LogNormal()}, seed=2)
        model.learn_many(pa.table({"wind": wind, "speed": speed}))
        models.append(model)
    a, b = (model.parameters for model in models)
    for k in range(2):
        assert a[k]["wind"].concentration == pytest.approx(b[k]["wind"].concentration, rel=1e-9)
        assert abs(math.remainder(a[k]["wind"].mean - b[k]["wind"].mean, 360)) < 1e-9
    assert alone(1.0, 3.0, 24.0).log_density_one({"x": 1e300}) < 0


def test_batch_em_climbs() -> None:
    degrees, speed = winds(2_000)
    model = sm.Mixture(n_components=3, fields={"wind": sm.VonMises(period=360)}, warm_up=100, seed=1)
    trace = sm.batch.fit(model, pa.table({"wind": degrees, "speed": speed}), max_iter=100, tol=0)
    assert (np.diff(trace.log_likelihood) > -1e-6).all()


def test_samples_are_its_own() -> None:
    family = sm.VonMises(23.0, 2.0, 24.0)
    x = family.sample(20_000, np.random.default_rng(1))
    assert ((x >= 0) & (x <= 24)).all()
    known = stats.vonmises(2.0, loc=23.0, scale=24 / math.tau)
    wrapped = np.where(x > 11.0, x, x + 24.0)  # scipy's lies within half a turn of its mean
    assert stats.kstest(wrapped, known.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: sm.VonMises(0, -1), "VonMises: concentration must be a number from 0 to 1e12, not -1"),
        (lambda: sm.VonMises(0), "VonMises: concentration is missing; give all parameters or none"),
        (lambda: sm.VonMises(math.nan, 1), "VonMises: mean must be a finite number, not nan"),
        (lambda: sm.VonMises(period=0), 'VonMises: period must be a number from 1e-50 to 1e50, "day" or "week", not 0'),
        (
            lambda: sm.VonMises(period=None),
            'VonMises: period must be a number from 1e-50 to 1e50, "day" or "week", not None',
        ),
        (lambda: sm.families.from_json({"family": "VonMises", "unit": 24}), "VonMises has no parameter 'unit'"),
    ],
)
def test_refusals(declare: Any, message: str) -> None:
    with pytest.raises(sm.ConfigError) as refused:
        declare()
    assert message in str(refused.value)


def test_a_record_that_is_no_angle_is_refused() -> None:
    model = alone(0.0, 1.0)
    for value in (math.inf, "north", [1.0]):
        with pytest.raises(sm.RecordError, match="field 'x': expected a finite number"):
            model.learn_one({"x": value})
    assert model.n_seen == 0
