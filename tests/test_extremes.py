"""Far from zero and far from one another nothing is lost: against exact arithmetic, and no NaN anywhere.

The reference is stepwise and batch EM for Normals in 60-digit decimals. It is fed the very doubles that the
model gets, so its answers are those that exact arithmetic gives. Public parameters are doubles: a mean 1e8
standard deviations from zero can be shown to within 1e-8 standard deviations only, so means are held to about
a unit in the last place, and it is the log densities that tell whether the model itself lost anything.
"""

import math
from collections.abc import Sequence
from typing import Any

import exact
import numpy as np
import pyarrow as pa
import pytest
from exact import ExactNormals, relative_error
from laws import BLOCKS, draw_records, families, start, table_of

import streammix as sm


def far_rows(
    center: float, apart: float, size: int, gaps: float, n: int, rng: np.random.Generator
) -> list[list[float]]:
    """n points of two groups, unit sd, `apart` from one another, both about `center`; a gap is NaN."""
    z = rng.integers(2, size=n)
    noise = rng.normal(size=(n, size))
    if size == 2:
        noise[:, 1] = 0.6 * noise[:, 0] + 0.8 * noise[:, 1]
    rows = center + apart * z[:, None] + noise
    lost = rng.random(n) < gaps
    rows[lost, rng.integers(size, size=n)[lost]] = np.nan
    return rows.tolist()


def two_normals(center: float, apart: float, size: int) -> tuple[ExactNormals, sm.Mixture]:
    """The same start twice: in decimals, and ours."""
    means = [[center + 0.25] * size, [center + apart - 0.25] * size]
    matrix = [[1.5]] if size == 1 else [[1.5, 0.25], [0.25, 1.25]]
    reference = ExactNormals([0.5, 0.5], means, [matrix, matrix])
    if size == 1:
        components: list[Any] = [{"x0": sm.Normal(mean[0], 1.5)} for mean in means]
    else:
        components = [{("x0", "x1"): sm.MultivariateNormal(mean, matrix)} for mean in means]
    return reference, sm.Mixture(components=components, step_size=sm.PowerDecay(1.0), warm_up=16)


def record(row: Sequence[float]) -> dict[str, float]:
    return {f"x{j}": value for j, value in enumerate(row)}


def variances(model: sm.Mixture, k: int) -> np.ndarray:
    [family] = model.parameters[k].values()
    return np.atleast_2d(family.covariance if isinstance(family, sm.MultivariateNormal) else family.variance)


def means(model: sm.Mixture, k: int) -> np.ndarray:
    [family] = model.parameters[k].values()
    return np.atleast_1d(np.asarray(family.mean, float))


def assert_is_exact(model: sm.Mixture, reference: ExactNormals, rows: Sequence[Sequence[float]]) -> None:
    np.testing.assert_allclose(model.weights, [float(w) for w in reference.weights], rtol=1e-9)
    for k in range(2):
        expected = [float(m) for m in reference.means[k]]
        np.testing.assert_allclose(means(model, k), expected, rtol=2.5e-16, atol=1e-9)
        matrix = [[float(v) for v in line] for line in reference.covariances[k]]
        np.testing.assert_allclose(variances(model, k), matrix, rtol=1e-9, atol=1e-9)
    for row in rows:
        expected_log_p = reference.log_density(row)
        assert relative_error(model.log_density_one(record(row)), expected_log_p) <= 1e-9
    frame = pa.table({f"x{j}": [row[j] for row in rows] for j in range(len(rows[0]))}).to_pandas()
    for ours, row in zip(model.log_density_many(frame), rows, strict=True):
        assert relative_error(float(ours), reference.log_density(row)) <= 1e-9


PLACES = [(0.0, 4.0), (1e8, 4.0), (-1e8, 4.0), (0.0, 1e6), (1e8, 1e6), (-3e8, 1e6)]


@pytest.mark.parametrize(("size", "gaps"), [(1, 0.0), (2, 0.0), (2, 0.4)])
@pytest.mark.parametrize(("center", "apart"), PLACES)
def test_online_em_far_from_zero_is_exact(center: float, apart: float, size: int, gaps: float) -> None:
    rows = far_rows(center, apart, size, gaps, 150, np.random.default_rng(0))
    reference, model = two_normals(center, apart, size)
    for n, row in enumerate(rows, start=1):
        reference.learn(row, 1 / (16 + n))
        model.learn_one(record(row))
    assert_is_exact(model, reference, rows[:25])


@pytest.mark.parametrize(("size", "gaps"), [(1, 0.0), (2, 0.0), (2, 0.4)])
@pytest.mark.parametrize(("center", "apart"), PLACES)
def test_batch_em_far_from_zero_is_exact(center: float, apart: float, size: int, gaps: float) -> None:
    rows = far_rows(center, apart, size, gaps, 120, np.random.default_rng(1))
    reference, model = two_normals(center, apart, size)
    expected = [reference.iterate(rows) for _ in range(3)]
    trace = sm.batch.fit(model, table_of([record(row) for row in rows]), max_iter=3, tol=0.0)
    for ours, value in zip(trace.log_likelihood, expected, strict=True):
        assert relative_error(ours, value) <= 1e-9
    assert_is_exact(model, reference, rows[:25])


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("family", ["Normal", "MultivariateNormal"])
def test_a_shifted_stream_gives_a_shifted_model(family: str, batch_size: int) -> None:
    """A stream on a grid of 2**-20, and the same 2**27 (1.3e8 sd) further: the same problem twice."""
    rng = np.random.default_rng(2)
    z = rng.integers(2, size=1200)
    grid = np.round((rng.normal(size=(1200, 2)) + 5.0 * z[:, None]) * 2**20) / 2**20
    fields: dict[Any, Any] = {"x0": sm.Normal(), "x1": sm.Normal()}
    if family == "MultivariateNormal":
        fields = {("x0", "x1"): sm.MultivariateNormal()}
    shift = 2.0**27
    near = sm.Mixture(n_components=2, fields=fields, warm_up=300, batch_size=batch_size, seed=1)
    far = near.clone()
    for row in grid.tolist():
        near.learn_one(record(row))
        far.learn_one(record([v + shift for v in row]))
    np.testing.assert_allclose(far.weights, near.weights, rtol=1e-9)
    for row in grid[:50].tolist():
        moved = record([v + shift for v in row])
        np.testing.assert_allclose(far.log_density_one(moved), near.log_density_one(record(row)), rtol=1e-9)


def test_a_distant_record_has_the_right_log_density() -> None:
    """1e6 and 1e70 standard deviations away: -5e11 and -5e139, no underflow, and the wide one is responsible."""
    model = sm.Mixture(components=[{"x": sm.Normal(0.0, 1.0)}, {"x": sm.Normal(3.0, 4.0)}], weights=[0.25, 0.75])
    reference = ExactNormals([0.25, 0.75], [[0.0], [3.0]], [[[1.0]], [[4.0]]])
    for x in (-1e6, 1e6, 1e70, -1e69):
        assert relative_error(model.log_density_one({"x": x}), reference.log_density([x])) <= 1e-9
        assert model.predict_proba_one({"x": x}) == {0: 0.0, 1: 1.0}


# --- the other families against exact formulas ---


LIMITS: list[tuple[tuple[Any, ...], Any]] = [
    (("lognormal", 0.0, 1.0), 1e-300),
    (("lognormal", 0.0, 1.0), 1e300),
    (("lognormal", 0.0, 1.0), 5e-324),
    (("lognormal", -650.0, 0.01), 1e-282),
    (("lognormal", 500.0, 100.0), 1e200),
    (("exponential", 1e-9), 1e12),
    (("exponential", 1e9), 1e-12),
    (("exponential", 2.0), 0.0),
    (("exponential", 3.0), 1e70),
    (("poisson", 1e-9), 0),
    (("poisson", 1e-9), 3),
    (("poisson", 3.0), 0),
    (("poisson", 3.0), 500),
    (("poisson", 1000.0), 1000),
    (("poisson", 1e4), 10_100),
    (("geometric", 1e-12), 10**13),
    (("geometric", 1e-12), 0),
    (("geometric", 1 - 1e-12), 0),
    (("geometric", 1 - 1e-12), 3),
    (("geometric", 0.5), 1),
    (("binomial", 10, 0.25), 0),
    (("binomial", 10, 0.25), 10),
    (("binomial", 1000, 1e-9), 3),
    (("binomial", 1000, 1 - 1e-9), 1000),
    (("binomial", 10_000, 0.5), 5_000),
    (("binomial", 10**9, 1e-9), 2),
    (("binomial", 10**12, 3e-12), 4),
    (("binomial", 10**6, 0.25), 250_100),
    (("poisson", 1e6), 1_000_500),
    (("bernoulli", 1e-12), True),
    (("bernoulli", 1e-12), False),
    (("bernoulli", 1 - 1e-12), True),
]


@pytest.mark.parametrize(("distribution", "x"), LIMITS, ids=repr)
def test_log_densities_at_the_limits(distribution: tuple[Any, ...], x: Any) -> None:
    """To 1e-9 of the log density or, where the density is nearly 1, to the rounding of a density of 1."""
    model = sm.Mixture(components=families([{"x": distribution}]))
    expected = exact.log_density(distribution, x)
    allowed = max(1e-9 * abs(float(expected)), 1e-15)
    assert abs(model.log_density_one({"x": x}) - float(expected)) <= allowed
    frame = pa.table({"x": [x, x, x]}).to_pandas()
    for ours in model.log_density_many(frame):
        assert abs(float(ours) - float(expected)) <= allowed


# --- nothing becomes NaN, infinite or dead ---


def assert_sane(model: sm.Mixture) -> None:
    """Weights are positive and sum to 1; the families' own checks refuse any parameter outside its domain."""
    assert np.isfinite(model.weights).all()
    assert (model.weights > 0).all()
    np.testing.assert_allclose(model.weights.sum(), 1.0, rtol=1e-12)
    for component in model.parameters:
        for family in component.values():
            for value in family.statistics() if not isinstance(family, sm.Fixed) else ():
                assert np.isfinite(value).all(), family


STEPS = [sm.PowerDecay(0.6), sm.RunningMean(), sm.HalfLife(1), sm.HalfLife(0.001), sm.HalfLife(1e6)]
CONSTANTS: dict[str, Any] = {
    "normal": 7.25,
    "lognormal": 3.5,
    "exponential": 0.0,
    "poisson": 0,
    "geometric": 0,
    "bernoulli": False,
    "binomial": 10,
    "categorical": "de",
    "gamma": 3.5,
    "inverse_gaussian": 3.5,
    "beta": 0.25,
    "negative_binomial": 0,
    "vonmises": 6.0,
    "student": -2.5,
    "inflated": 0,
    "hurdle": 0.0,
}


@pytest.mark.parametrize("warm_up", [None, 50])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_field(name: str, batch_size: int, warm_up: int | None) -> None:
    """Beside a field that varies: 3,000 times the same value, then another one."""
    rng = np.random.default_rng(3)
    [field] = BLOCKS[name].fields
    if warm_up is None:
        parts = [{"v": sm.Normal(3.0 * k, 1.0)} | families(start([name], 2))[k] for k in range(2)]
        model = sm.Mixture(components=parts, batch_size=batch_size)
    else:
        declared = {"v": sm.Normal(), field: BLOCKS[name].unlearnt}
        model = sm.Mixture(n_components=2, fields=declared, warm_up=warm_up, batch_size=batch_size, seed=1)
    values = rng.normal(3.0 * rng.integers(2, size=3000), 1.0).tolist()
    model.learn_many(pa.table({"v": values, field: [CONSTANTS[name]] * 3000}))
    assert_sane(model)
    other = draw_records([name], 100, rng)
    for x in other:
        log_p = model.log_density_one({"v": 0.0} | x)
        assert not math.isnan(log_p)
        assert log_p < math.inf
        model.learn_one({"v": 0.0} | x)
    assert_sane(model)


def test_two_fields_that_are_one_field() -> None:
    """A singular covariance: y = 2 x in every record, and a third field that never moves."""
    rng = np.random.default_rng(4)
    for center in (0.0, 1e8):
        x = center + rng.normal(size=2000)
        columns = {"x": x, "y": 2 * x, "z": np.full(2000, 5.0)}
        model = sm.Mixture(n_components=3, fields={("x", "y", "z"): sm.MultivariateNormal()}, warm_up=100, seed=0)
        model.learn_many(pa.table(columns))
        assert_sane(model)
        log_p = model.log_density_many(pa.table(columns).to_pandas())
        assert np.isfinite(log_p).all()
        by_batch = sm.Mixture(
            components=[{("x", "y", "z"): sm.MultivariateNormal([center, 2 * center, 5.0], np.eye(3))}]
        )
        sm.batch.fit(by_batch, pa.table(columns), max_iter=20)
        assert_sane(by_batch)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_the_same_record_for_ever(batch_size: int) -> None:
    """All families, one record 3,000 times: variances stop at their floor."""
    names = [name for name in sorted(BLOCKS) if name != "fixed"]
    [x] = draw_records(names, 1, np.random.default_rng(5))
    for model in (
        sm.Mixture(components=families(start(names, 3)), batch_size=batch_size),
        sm.Mixture(
            n_components=3,
            fields={BLOCKS[n].key: BLOCKS[n].unlearnt for n in names},
            warm_up=30,
            batch_size=batch_size,
            seed=0,
        ),
    ):
        model.learn_many(table_of([x] * 3000))
        assert_sane(model)
        assert math.isfinite(model.log_density_one(x))


@pytest.mark.parametrize("step_size", [sm.HalfLife(1), sm.HalfLife(10), sm.PowerDecay(0.51)], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_component_that_nobody_needs_stays_alive(step_size: Any, batch_size: int) -> None:
    """Its mass decays by (1 - gamma) a record, to 2**-20000: no NaN, and the first record of its own is still its."""
    near, far = {"x": sm.Normal(0.0, 1.0)}, {"x": sm.Normal(1000.0, 1.0)}
    model = sm.Mixture(components=[near, far], step_size=step_size, batch_size=batch_size, warm_up=10)
    rng = np.random.default_rng(6)
    model.learn_many(pa.table({"x": rng.normal(size=20_000)}))
    assert_sane(model)
    assert model.weights[0] > 0.9
    assert model.predict_one({"x": 1000.0}) == 1
    model.learn_many(pa.table({"x": 1000.0 + rng.normal(size=20_000)}))
    assert_sane(model)
    assert abs(float(np.average([c["x"].mean for c in model.parameters], weights=model.weights)) - 1000) < 10


@pytest.mark.parametrize("x", [1e150, -1e200, 1e300, 1.7976931348623157e308, 5e-324])
@pytest.mark.parametrize(
    "name",
    [
        "normal",
        "mvn",
        "lognormal",
        "exponential",
        "poisson",
        "geometric",
        "gamma",
        "inverse_gaussian",
        "negative_binomial",
        "vonmises",
        "student",
    ],
)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_huge_value_breaks_nothing(name: str, x: float, batch_size: int) -> None:
    """Finite values of any size: learnt without NaN, or refused like any other value outside the support."""
    block = BLOCKS[name]
    model = sm.Mixture(components=families(start([name], 2)), batch_size=batch_size)
    rng = np.random.default_rng(7)
    for i, good in enumerate(draw_records([name], 40, rng)):
        model.learn_one(good)
        if i % 10 == 5:
            try:
                model.learn_one(dict.fromkeys(block.fields, x))
            except sm.RecordError as error:
                assert error.field in block.fields  # noqa: PT017
    assert_sane(model)
    for good in draw_records([name], 10, rng):
        assert not math.isnan(model.log_density_one(good))
        assert not any(math.isnan(r) for r in model.predict_proba_one(good).values())


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("w", [1e-300, 1e-20, 1e100])
@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_weights_of_any_size(name: str, w: float, batch_size: int) -> None:
    model = sm.Mixture(components=families(start([name], 2)), batch_size=batch_size)
    for x in draw_records([name], 50, np.random.default_rng(8)):
        model.learn_one(x, w=w)
    assert_sane(model)


#: Ordinary values, the ends of each support, and values that are absurd but allowed.
ENDS: dict[str, list[Any]] = {
    "normal": [0.0, 1.0, -1.0, 1e8, 1e8 + 1.0, 1e70, -1e70, 1e-300, 5e-324, -1e50],
    "mvn": [0.0, 1.0, -1.0, 1e8, 1e8 + 1.0, 1e50, -1e50, 1e-300, 5e-324, -1e30],
    "lognormal": [1.0, 2.0, 1e-10, 5e-324, 1e308, 1e-300, 1e100],
    "exponential": [0.0, 1.0, 3.0, 1e70, 5e-324, 1e-300],
    "poisson": [0, 1, 3, 10**9, 10**15, 2**53],
    "geometric": [0, 1, 3, 10**9, 10**15, 2**53],
    "bernoulli": [True, False],
    "binomial": [0, 10, 5],
    "categorical": ["de", "fr", "it"],
    "gamma": [1.0, 2.0, 1e-10, 5e-324, 1e70, 1e-300],
    "inverse_gaussian": [1.0, 2.0, 1e-10, 5e-324, 1e70, 1e-300],
    "beta": [0.5, 1e-10, 5e-324, 1 - 2**-53, 0.25],
    "negative_binomial": [0, 1, 3, 10**9, 10**15, 2**53],
    "vonmises": [0.0, 24.0, -12.0, 12.0, 1e308, -1e70, 5e-324, 1e16],
    "student": [0.0, 1.0, -1.0, 1e8, 1e8 + 1.0, 1e70, -1e70, 1e-300, 5e-324, -1e50],
    "uniform": [0.0, 10.0, 5e-324, 3.0],
    "inflated": [0, 0, 1, 3, 10**9, 10**15, 2**53],
    "hurdle": [0.0, -0.0, 1.0, 1e-10, 5e-324, 1e308, 1e100],
}


@pytest.mark.parametrize("seed", range(150))
def test_no_stream_of_extremes_makes_a_nan(seed: int) -> None:
    """Families, K, warm-up, mini-batch, step, gaps and weights at random; half of all values are from the ends."""
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.choice(sorted(ENDS), size=rng.integers(1, 4), replace=False)]
    n_components, warm_up = int(rng.integers(1, 4)), int(rng.choice([0, 5, 20]))
    declared: dict[str, Any] = {
        "batch_size": int(rng.choice([1, 3, 8])),
        "step_size": STEPS[rng.integers(len(STEPS))],
        "averaging": bool(rng.integers(2)),
    }
    if warm_up:
        fields = {BLOCKS[name].key: BLOCKS[name].unlearnt for name in names}
        model = sm.Mixture(n_components=n_components, fields=fields, warm_up=warm_up, seed=0, **declared)
    else:
        model = sm.Mixture(components=families(start(names, n_components)), **declared)
    for i, ordinary in enumerate(draw_records(names, 60, rng)):
        x = dict(ordinary)
        for name in names:
            ends = ENDS[name]
            for field in BLOCKS[name].fields:
                if rng.random() < 0.5:
                    x[field] = ends[rng.integers(len(ends))]
                if rng.random() < 0.2 and sum(value is not None for value in x.values()) > 1:
                    x[field] = None
        model.learn_one(x, w=float(rng.choice([1.0, 1.0, 1e-100, 1e100, 3.5])))
        if i % 10 == 9 and model.is_warm:
            assert_sane(model)
            assert -math.inf < model.log_density_one(x) < math.inf
            np.testing.assert_allclose(sum(model.predict_proba_one(x).values()), 1.0, rtol=1e-12)


def test_weights_at_their_edge_stay_there() -> None:
    """A component that starts with weight 0 is no NaN."""
    model = sm.Mixture(components=families(start(["normal"], 2)), weights=[1.0, 0.0])
    for x in draw_records(["normal"], 50, np.random.default_rng(9)):
        assert math.isfinite(model.log_density_one(x))
        model.learn_one(x)
    assert np.isfinite(model.weights).all()


def test_probabilities_of_zero_and_one() -> None:
    """A Bernoulli that has never seen a 0 and then does: log 0 is -inf or so, and nothing turns to NaN."""
    model = sm.Mixture(components=[{"x": sm.Bernoulli(1.0)}, {"x": sm.Bernoulli(0.5)}])
    assert model.predict_proba_one({"x": False})[0] < 1e-290
    for x in [True, False, False, True] * 25:
        model.learn_one({"x": x})
    assert_sane(model)
    alone = sm.Mixture(components=[{"x": sm.Bernoulli(1.0)}])
    assert not math.isnan(alone.log_density_one({"x": False}))
    alone.learn_one({"x": False})
    assert_sane(alone)


def assert_finite(model: sm.Mixture) -> None:
    """Not even what no record has shown yet: the statistics and theta of every component."""
    k = model.n_components
    running = model._learner.running
    for values in (*running.state.statistics, *running.state.counts, *running.engine.theta):
        assert np.isfinite(values[..., :k]).all()


@pytest.mark.parametrize("step_size", [None, *STEPS], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize(("heavy", "light"), [(1e100, 1e-300), (1e47, 1e-289), (1e100, 1e-212), (1e-300, 1e-300)])
def test_a_light_record_after_a_heavy_one(heavy: float, light: float, batch_size: int, step_size: Any) -> None:
    """Its step is 0 in doubles: so many records stand against it that their number has to be asked of the limit."""
    parts = [{"f": sm.Categorical({"a": 0.5, "b": 0.5}), "x": sm.Normal(3.0 * k, 1.0)} for k in range(2)]
    options = {} if step_size is None else {"step_size": step_size}
    model = sm.Mixture(components=parts, batch_size=batch_size, **options)
    for w in (heavy, light, heavy, light):
        for level in "aba":
            model.learn_one({"f": level, "x": 1.0}, w=w)
            model.learn_one({"f": level, "x": -8.0}, w=w)
            assert_finite(model)
            assert_sane(model)
    assert all(0.0 < sum(part["f"].probabilities.values()) < 1.01 for part in model.parameters)


@pytest.mark.parametrize("w", [1.0, 1e10, 1e32, 1e100])
@pytest.mark.parametrize("constant", [1e-20, 1e-80, 1e-160, 1e-300])
@pytest.mark.parametrize("size", [2, 6])
def test_a_warm_up_on_tiny_constants(size: int, constant: float, w: float) -> None:
    """Two records, of which one has a gap, for two components: one of them keeps the scale that it was made with."""
    names = tuple(f"x{j}" for j in range(size))
    model = sm.Mixture(2, fields={names: sm.MultivariateNormal()}, warm_up=2, seed=1)
    whole = dict.fromkeys(names, constant)
    model.learn_one({**whole, "x0": None})
    model.learn_one(whole, w=w)
    assert_finite(model)
    assert_sane(model)
    assert math.isfinite(model.log_density_one(whole))
