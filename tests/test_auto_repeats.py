"""Values that come again: rounded numbers, exact zeros, a few values for ever; K, scales, signs, and the laws."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from laws import reloaded, state_of

import streammix as sm
from streammix.auto.resolution import LOOKED_AT, Resolution
from streammix.core.engine import Engine
from streammix.em import blank
from streammix.schema import Schema

X: dict[Any, Any] = {"x": sm.Normal()}
XY: dict[Any, Any] = {("x", "y"): sm.MultivariateNormal()}
LEAST = 1 / (2 * np.pi)  # the variance of a component on one value, of the squared step


def learnt(columns: dict[str, np.ndarray], fields: Any = None, n_components: Any = (1, 5), **more: Any) -> Any:
    model = sm.AutoMixture(n_components, fields=fields or X, seed=1, **({"warm_up": 1_000} | more))
    model.learn_many(pa.table(columns))
    return model


def signs(model: Any) -> set[str]:
    return {doubt["sign"] for doubt in model.warnings}


@pytest.mark.parametrize("sd", [1.0, 2.0, 5.0])
def test_a_rounded_normal_is_one_component(sd: float) -> None:
    x = np.round(np.random.default_rng(1).normal(20.3, sd, 20_000))
    model = learnt({"x": x})
    assert model.warnings == []
    [component] = model.parameters
    assert component["x"].variance == pytest.approx(sd**2 + 1 / 12, rel=0.05)


@pytest.mark.parametrize("fields", [XY, {"x": sm.Normal(), "y": sm.Normal()}], ids=["joint", "apart"])
@pytest.mark.parametrize("n_components", [3, (1, 6)])
def test_rounded_clusters_are_found_as_they_are(fields: Any, n_components: Any) -> None:
    rng = np.random.default_rng(2)
    z = rng.choice(3, p=[0.3, 0.4, 0.3], size=16_000)
    rows = np.array([[0.0, 0.0], [8.0, 3.0], [2.0, 12.0]])[z]
    rows = np.round(rows + rng.normal(size=rows.shape) * np.array([1.0, 1.5, 2.0])[z, None])
    model = learnt({"x": rows[:, 0], "y": rows[:, 1]}, fields, n_components)
    assert model.warnings == []
    assert sorted(tuple(map(round, center.values())) for center in model.centers.values()) == [(0, 0), (2, 12), (8, 3)]
    assert model.background_weight < 0.01


def test_a_field_that_is_rounded_stands_beside_one_that_is_not() -> None:
    rng = np.random.default_rng(3)
    z = rng.integers(3, size=16_000)
    x = np.round(np.array([0.0, 6.0, 12.0])[z] + 1.5 * rng.normal(size=len(z)))
    y = np.array([0.0, 5.0, 1.0])[z] + rng.normal(size=len(z))
    model = learnt({"x": x, "y": y}, {"x": sm.Normal(), "y": sm.Normal()})
    assert sorted(round(center["x"]) for center in model.centers.values()) == [0, 6, 12]
    assert model.warnings == []


def test_whole_numbers_of_a_log_normal_are_one_component() -> None:
    x = np.maximum(np.round(np.exp(np.random.default_rng(4).normal(2.0, 0.5, size=20_000))), 1.0)
    model = learnt({"x": x}, {"x": sm.LogNormal()}, (1, 6))
    [component] = model.parameters
    assert component["x"].variance == pytest.approx(0.25, rel=0.05)


def test_exact_zeros_are_one_component_and_said() -> None:
    rng = np.random.default_rng(5)
    x = np.where(rng.random(20_000) < 0.3, 0.0, rng.normal(10.0, 2.0, size=20_000))
    model = learnt({"x": x})
    np.testing.assert_allclose(sorted(model.weights), [0.3, 0.7], atol=0.01)
    [doubt] = model.warnings
    assert doubt["sign"] == "repeated values"
    assert (doubt["field"], doubt["value"]) == ("x", 0.0)
    assert doubt["share"] == pytest.approx(0.3, abs=0.04)
    assert "30% of 'x' are 0 exactly" in doubt["text"].replace("29%", "30%").replace("31%", "30%")
    assert "ZeroInflated" in doubt["text"]
    assert learnt({"x": x}, {"x": sm.ZeroInflated(family=sm.Normal())}).warnings == []


def test_an_atom_that_comes_late_is_seen() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(10.0, 2.0, size=24_000)
    x[8_000:][rng.random(16_000) < 0.3] = 0.0
    model = learnt({"x": x})
    np.testing.assert_allclose(sorted(model.weights), [0.3, 0.7], atol=0.02)
    assert signs(model) == {"repeated values"}


@pytest.mark.parametrize("n_components", [3, None])
@pytest.mark.parametrize("n_records", [1, 2, 3, 5])
def test_a_few_records_for_ever(n_records: int, n_components: Any) -> None:
    rng = np.random.default_rng(7)
    rows = (5 * rng.normal(size=(n_records, 2)))[rng.integers(n_records, size=12_000)]
    model = learnt({"x": rows[:, 0], "y": rows[:, 1]}, XY, n_components)
    assert "repeated values" in signs(model)
    assert np.isfinite(np.asarray(model.log_density_many(pa.table({"x": rows[:9, 0], "y": rows[:9, 1]})))).all()
    if n_components is None:
        assert len(model.weights) <= n_records
        assert model.background_weight < 0.01


def test_one_value_may_change() -> None:
    rng = np.random.default_rng(8)
    for then in (np.full(8_000, 9.0), np.round(rng.normal(30.0, 3.0, size=8_000)), rng.normal(3.0, 1.0, size=8_000)):
        model = learnt({"x": np.concatenate([np.full(4_000, 4.0), then])})
        [center] = model.centers.values()
        assert center["x"] == pytest.approx(then.mean(), abs=0.1)
        assert model.background_weight < 0.02


def test_a_field_that_joins_may_be_rounded() -> None:
    rng = np.random.default_rng(9)
    z = rng.integers(3, size=16_000)
    x = np.round(np.array([0.0, 6.0, 12.0])[z] + 1.2 * rng.normal(size=len(z)))
    x[:4_000] = 7.0
    y = np.array([0.0, 5.0, 10.0])[z] + rng.normal(size=len(z))
    model = learnt({"x": x, "y": y}, {"x": sm.Normal(), "y": sm.Normal()})
    assert sorted((round(center["x"]), round(center["y"])) for center in model.centers.values()) == [
        (0, 0),
        (6, 5),
        (12, 10),
    ]
    assert min(component["x"].variance for component in model.parameters) > 1.0


def test_scales_that_are_too_small_are_said() -> None:
    x = np.random.default_rng(10).normal(size=6_000)
    model = learnt({"x": 1e-80 * x})
    assert model.background_weight < 0.01
    assert "too fine" in signs(model)
    assert learnt({"x": 1e-60 * x}).warnings == []


def test_a_step_is_that_of_most_rows() -> None:
    layout, rng = Schema([X]).layout(), np.random.default_rng(11)

    def step(values: Any) -> float:
        resolution = Resolution(1)
        resolution.look(np.asarray(values, dtype=float).reshape(-1, 1), layout)
        return float(resolution.steps[0])

    whole = np.round(rng.normal(0.0, 3.0, size=LOOKED_AT))
    assert step(whole) == 1.0
    assert step(1.7e9 + 60.0 * whole) == 60.0
    assert step(0.1 * whole + 0.2) == pytest.approx(0.1)
    assert step(np.where(rng.random(LOOKED_AT) < 0.05, rng.uniform(-50, 50, size=LOOKED_AT), whole)) == 1.0
    assert step(rng.normal(size=LOOKED_AT)) == 0.0
    assert step(np.round(rng.normal(100.0, 20.0, size=LOOKED_AT), 2)) == 0.0
    zeros = step(np.where(rng.random(LOOKED_AT) < 0.6, 0.0, rng.normal(size=LOOKED_AT)))
    assert 0.0 < zeros < 0.05


@pytest.mark.parametrize("mean", [0.0, 0.37, 0.5])
@pytest.mark.parametrize("variance", [LEAST, 0.4, 2.0])
def test_narrow_components_are_charged_what_they_overstate(mean: float, variance: float) -> None:
    model = learnt({"x": np.round(np.random.default_rng(12).normal(size=3_000))}, n_components=1, background=False)
    running = model._supervisor
    state = running.published_state
    state.statistics[0][0, :3, 0] = mean, 0.0, variance
    running.published.maximize()
    grid = np.arange(-40.0, 40.0)
    total = np.exp(np.asarray(model.log_density_many(pa.table({"x": grid})))).sum()
    charge = running.resolution.surplus(running.schema.layout(), running.line.published, running.rows)
    assert charge >= np.log(total) - 1e-3
    if mean == 0.0:
        assert charge == pytest.approx(np.log(total), abs=1e-3)


@pytest.mark.parametrize("gaps", [False, True])
def test_no_variance_is_below_the_least(gaps: bool) -> None:
    """Of a joint Normal it holds for each field given those before it."""
    rng = np.random.default_rng(13)
    x = np.round(rng.normal(0.0, 2.0, size=4_000))
    y = 3.0 * x
    y[:: 4 if gaps else 10**9] = np.nan
    model = learnt({"x": x, "y": y}, XY, 1, background=False)
    [component] = model.parameters
    given = np.linalg.cholesky(np.array(component["x", "y"].covariance))[1, 1] ** 2
    assert given == pytest.approx(9 * LEAST, rel=1e-6)


def test_the_least_variance_is_the_priors_share() -> None:
    layout = Schema([{"x": sm.Normal(), "y": sm.Normal()}]).layout()
    state = blank(layout, 1, 0.01)
    state.statistics[0][:, 2] = 1e-30
    state.priors[0][:] = 4.0
    for least, variances in ((None, [0.01 / 1.01 * 4.0] * 2), (np.array([1.0, 1e-10]), [4.0, 0.01 / 1.01 * 4.0])):
        state.least = least
        np.testing.assert_allclose(Engine(layout, state, (0, 1.0)).theta[0][:, 0, 0], variances, rtol=1e-12)


# --- the laws ---

N = 6_000


def late() -> pa.Table:
    """Numbers of which some are exactly 0 from the middle on, and whole numbers with gaps."""
    rng = np.random.default_rng(14)
    x, y = rng.normal(3.0, 1.0, size=N), np.round(rng.normal(0.0, 2.0, size=N))
    x[N // 2 :][rng.random(N - N // 2) < 0.4] = 0.0
    y[::7] = np.nan
    return pa.table({"x": x, "y": pa.array(y, from_pandas=True)})


@pytest.mark.parametrize("fields", [XY, {"x": sm.Normal(), "y": sm.Normal()}], ids=["joint", "apart"])
def test_neither_cuts_nor_resumes_matter(fields: Any) -> None:
    table = late()
    expected = sm.AutoMixture((1, 3), fields=fields, warm_up=300, seed=1)
    expected.learn_many(table)
    assert expected._supervisor.resolution.steps.all()
    model = sm.AutoMixture((1, 3), fields=fields, warm_up=300, seed=1)
    for begin, end in itertools.pairwise([0, 310, 351, 777, 2_999, 3_301, 3_777, 4_000, 4_211, 5_003, N]):
        model.learn_many(table[begin:end])
        model = reloaded(model)
    assert state_of(model) == state_of(expected)


def test_a_checkpoint_without_steps_goes_on_and_finds_them() -> None:
    table = pa.table({"x": np.round(np.random.default_rng(15).normal(0.0, 2.0, size=12_000))})
    model = sm.AutoMixture((1, 4), fields=X, warm_up=300, seed=1)
    model.learn_many(table[:2_000])
    snapshot = model._snapshot()
    assert snapshot.supervision is not None
    del snapshot.supervision.document["resolution"]
    old: Any = sm.AutoMixture._restore(snapshot)
    assert not old._supervisor.resolution.steps.any()
    old.learn_many(table[2_000:])
    assert old._supervisor.resolution.steps.tolist() == [1.0]
    assert min(component["x"].variance for component in old.parameters) >= LEAST


def test_a_rare_atom_is_found_where_components_are_few() -> None:
    """A component is tried on what many records have exactly: it lies amid the others, and explains no bad ones."""
    rng = np.random.default_rng(16)
    x = np.where(rng.random(16_000) < 0.03, 0.0, rng.normal(1.0, 2.0, size=16_000))
    model = learnt({"x": x}, n_components=(1, 6))
    np.testing.assert_allclose(sorted(model.weights), [0.03, 0.97], atol=0.01)
    [doubt] = model.warnings
    assert (doubt["field"], doubt["value"]) == ("x", 0.0)


def test_a_component_that_is_one_value_alone_is_said() -> None:
    """Zeros among whole numbers: many more than beside them, but not so many that the numbers alone say it."""
    rng = np.random.default_rng(17)
    x = np.where(rng.random(12_000) < 0.25, 0.0, np.round(rng.normal(1.0, 2.0, size=12_000)))
    model = learnt({"x": x, "y": rng.normal(size=12_000)}, XY, 2)
    assert min(model.weights) > 0.15
    [doubt] = [one for one in model.warnings if one["sign"] == "repeated values"]
    assert doubt["field"] == "x"
    assert abs(doubt["value"]) < 0.2


@pytest.mark.parametrize("is_rounded", [False, True])
def test_a_field_that_follows_from_others_does_not_choose_k(is_rounded: bool) -> None:
    rng = np.random.default_rng(12)
    z = rng.integers(3, size=8_000)
    a = np.array([0.0, 8.0, 4.0])[z] + rng.normal(size=len(z))
    b = np.array([0.0, 0.0, 9.0])[z] + rng.normal(size=len(z))
    a, b = (np.round(a, 3), np.round(b, 3)) if is_rounded else (a, b)
    fields = {("a", "b", "c"): sm.MultivariateNormal()}
    model = learnt({"a": a, "b": b, "c": a + b}, fields, None, warm_up=None)
    assert len(model.weights) == 3
    [doubt] = [doubt for doubt in model.warnings if doubt["sign"] == "dependent"]
    assert doubt["field"] == "c"
    freed = np.concatenate([a, a]), np.concatenate([b, b]), np.concatenate([a + b, a + b + rng.normal(size=len(z))])
    again = reloaded(model)
    for one in (model, again):
        one.learn_many(pa.table(dict(zip("abc", (part[8_000:] for part in freed), strict=True))))
    assert "dependent" not in signs(model)
    assert state_of(model) == state_of(again)
    assert len(model.weights) == 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_field_that_follows_from_others_does_not_divide_the_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=15_000)
    celsius = np.array([20.0, 25.0])[z] + rng.normal(size=len(z))
    columns = {"celsius": celsius, "fahrenheit": celsius * 1.8 + 32, "load": rng.normal(size=len(z))}
    model = learnt(columns, {tuple(columns): sm.MultivariateNormal()}, 2)
    found = np.asarray(model.predict_many(pa.table({name: column[13_000:] for name, column in columns.items()})))
    agreed = float(np.mean(found == z[13_000:]))
    assert max(agreed, 1 - agreed) > 0.98
    assert [doubt["field"] for doubt in model.warnings if doubt["sign"] == "dependent"] == ["fahrenheit"]


def test_a_component_may_be_a_value_that_stands_out_where_k_is_given() -> None:
    rng = np.random.default_rng(13)
    x = np.where(rng.random(8_000) < 0.3, 0.0, np.round(rng.normal(10.0, 2.0, size=8_000), 1))
    variances = {k: min(one["x"].variance for one in learnt({"x": x}, None, k).parameters) for k in (2, (2, 2))}
    assert variances[2] < 1e-6 < variances[2, 2]
    whole = np.round(rng.normal(10.0, 2.0, size=8_000))  # no value stands out
    assert min(one["x"].variance for one in learnt({"x": whole}, None, 2).parameters) >= LEAST
