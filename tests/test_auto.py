"""What AutoMixture does unattended: sorted starts, drift, outliers, K, doubts, labels, and input that is bad."""

import pickle
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import streammix as sm

MEANS = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 6.0]])
FIELDS: dict[Any, Any] = {("a", "b"): sm.MultivariateNormal()}


def draw(rng: np.random.Generator, n: int, means: np.ndarray = MEANS, sort: bool = False) -> np.ndarray:
    z = rng.integers(len(means), size=n)
    return np.asarray(rng.normal(size=(n, 2)) + means[np.sort(z) if sort else z])


def table(rows: np.ndarray) -> pa.Table:
    return pa.table({"a": rows[:, 0], "b": rows[:, 1]})


def learnt(*parts: np.ndarray, **declared: Any) -> sm.AutoMixture:
    model = sm.AutoMixture(**({"n_components": 3, "fields": FIELDS, "seed": 1, "warm_up": 500} | declared))
    model.learn_many(table(np.vstack(parts)))
    return model


def truth(rows: np.ndarray, means: np.ndarray = MEANS) -> float:
    """The mean log density of rows by the law that they were drawn from."""
    squares = ((rows[:, None] - means) ** 2).sum(axis=2)
    return float(np.log(np.exp(-squares / 2).mean(axis=1) / (2 * np.pi)).mean())


def gap(model: sm.AutoMixture, rows: np.ndarray, means: np.ndarray = MEANS) -> float:
    return truth(rows, means) - float(np.mean(np.asarray(model.log_density_many(table(rows)))))


def labelled(model: sm.AutoMixture) -> dict[int, tuple[int, ...]]:
    """The centers, rounded, by label."""
    return {label: tuple(map(round, model.centers[k].values())) for k, label in enumerate(model.labels)}


def test_a_sorted_start_is_recovered_from() -> None:
    rng = np.random.default_rng(1)
    model = learnt(draw(rng, 2_000, sort=True), draw(rng, 8_000))
    assert gap(model, draw(rng, 5_000)) < 0.01
    assert model.warnings == []
    gains = [event["gain"] for event in model.events if event["kind"] == "take-over"]
    assert gains
    assert min(gains) > 0.0
    plain = sm.Mixture(n_components=3, fields=FIELDS, warm_up=500, seed=1)
    rng = np.random.default_rng(1)
    plain.learn_many(table(np.vstack([draw(rng, 2_000, sort=True), draw(rng, 8_000)])))
    rows = draw(rng, 5_000)
    assert truth(rows) - np.mean(np.asarray(plain.log_density_many(table(rows)))) > 0.1


def test_an_abrupt_change_and_a_return_are_followed() -> None:
    rng, moved = np.random.default_rng(2), MEANS + np.array([3.0, -4.0])
    model = learnt(draw(rng, 6_000), draw(rng, 6_000, moved))
    assert gap(model, draw(rng, 5_000, moved), moved) < 0.01
    assert {"alarm", "restart"} & set(model.event_counts)
    model.learn_many(table(draw(rng, 5_000)))
    assert gap(model, draw(rng, 5_000)) < 0.01
    assert "recurrence" in model.event_counts


def test_outliers_fall_into_the_background() -> None:
    rng = np.random.default_rng(3)
    rows = draw(rng, 8_000)
    rows[::20] = rng.uniform(-40, 40, size=(400, 2))
    model = learnt(rows)
    assert model.background_weight == pytest.approx(0.05, abs=0.01)
    np.testing.assert_allclose(sorted(model.weights), [1 / 3] * 3, atol=0.03)
    assert model.outlier_one({"a": 30.0, "b": -35.0}) > 0.99 > 0.05 > model.outlier_one({"a": 0.0, "b": 0.1})
    assert sum(model.predict_proba_one({"a": 1e6, "b": 1e6}).values()) == pytest.approx(1.0)
    far = np.asarray(model.outlier_many(table(rows)))
    assert far[::20].mean() > 0.8 > 0.1 > np.delete(far, slice(None, None, 20)).mean()
    assert learnt(rows, background=False).background_weight == 0.0


def test_the_number_of_components_is_found_and_may_change() -> None:
    rng = np.random.default_rng(4)
    model = learnt(draw(rng, 4_000), n_components=(2, 4))
    assert len(model.weights) == len(model.labels) == 3
    assert set(model.predict_proba_one({"a": 0.0, "b": 0.0})) == {0, 1, 2}
    centers = labelled(model)
    model.learn_many(table(draw(rng, 3_000)))
    assert labelled(model) == centers
    model.learn_many(table(draw(rng, 8_000, np.vstack([MEANS, [[9.0, 9.0]]]))))
    assert len(set(model.labels)) == len(model.weights) == 4
    born = {event["label"] for event in model.events if event["kind"] == "birth"}
    assert set(model.labels) <= born | {0, 1}
    assert max(model.labels) > max(centers)


def test_it_says_when_it_does_not_know() -> None:
    rng = np.random.default_rng(5)
    assert learnt(draw(rng, 8_000)).warnings == []
    few = learnt(draw(rng, 600), n_components=10)
    assert "too few records" in {doubt["sign"] for doubt in few.warnings}
    fresh = sm.AutoMixture(n_components=2, fields=FIELDS)
    fresh.learn_one({"a": 1.0, "b": 2.0})
    assert [doubt["sign"] for doubt in fresh.warnings] == ["warming up"]


@pytest.mark.parametrize("drift", ["auto", "none", sm.HalfLife(2_000)])
@pytest.mark.parametrize(
    "case", ["constant", "duplicates", "then it changes", "a field varies late", "mostly missing", "identical", "rare"]
)
def test_bad_input_ends_finite(case: str, drift: Any) -> None:
    rng, n = np.random.default_rng(6), 6_000
    rows = draw(rng, n, MEANS[[0, 0, 0]] if case == "identical" else MEANS)
    if case == "constant":
        rows[:, 1] = 7.0
    elif case == "duplicates":
        rows[:] = rows[:3][rng.integers(3, size=n)]
    elif case == "then it changes":
        rows[:] = [3.0, 4.0]
        rows[4_000:] = [5.0, 4.0]
    elif case == "a field varies late":
        rows[:4_200, 1] = 0.0
    elif case == "mostly missing":
        rows[rng.random(rows.shape) < 0.95] = np.nan
        rows[np.isnan(rows).all(axis=1), 0] = 0.0
    elif case == "rare":
        rows[:, :] = rng.normal(size=rows.shape)
        rows[::1_000] += 50.0
    model = learnt(rows, drift=drift, fields={"a": sm.Normal(), "b": sm.Normal()})
    scores = np.asarray(model.log_density_many(table(rows)))
    assert np.isfinite(scores).all()
    assert model.weights.sum() == pytest.approx(1.0)
    found = [family for component in model.parameters for family in component.values()]
    assert np.isfinite([[family.mean, family.variance] for family in found]).all()
    assert min(family.variance for family in found) > 0


def test_a_field_that_was_always_zero_leaves_nothing_to_the_background() -> None:
    rng = np.random.default_rng(6)
    rows = np.zeros((8_000, 2))
    rows[:, 0] = np.where(np.arange(8_000) < 3_000, 3.0, rng.normal(5.0, 1.0, size=8_000))
    model = learnt(rows, fields={"a": sm.Normal(), "b": sm.Normal()})
    assert model.background_weight < 0.05
    assert model.parameters[int(model.weights.argmax())]["a"].mean == pytest.approx(5.0, abs=0.2)


def test_wrong_arguments_are_refused() -> None:
    for wrong in (
        {"n_components": (3, 2)},
        {"n_components": 0},
        {"n_components": 10**9},
        {"n_components": "many"},
        {"drift": "sometimes"},
        {"background": 1},
    ):
        with pytest.raises(sm.ConfigError, match=next(iter(wrong))):
            sm.AutoMixture(**wrong)
    told = "a whole number, 1 or more, None for 1 to 10, or a pair of the fewest and the most, up to 50, not "
    for number in ("3", range(1, 4), [1, 2, 3], [1], (1, 51), (True, 3), (1.0, 3.0), 0, True, 2.0, {1, 3}, [3, 1]):
        with pytest.raises(sm.ConfigError, match=re.escape(told)):
            sm.AutoMixture(n_components=number)
    model = learnt(draw(np.random.default_rng(7), 600))
    with pytest.raises(sm.ConfigError, match="AutoMixture"):
        sm.batch.fit(model, table(MEANS))


def test_a_pair_may_be_a_list() -> None:
    rows = draw(np.random.default_rng(3), 1_000)
    by_list, by_tuple = learnt(rows, n_components=[1, 3]), learnt(rows, n_components=(1, 3))
    assert by_list.n_components == [1, 3]
    assert repr(by_list).startswith("AutoMixture(n_components=[1, 3],")
    assert by_list.weights.tolist() == by_tuple.weights.tolist()
    assert pickle.loads(pickle.dumps(by_list)).n_components == [1, 3]
    for again in (by_list.clone(), sm.AutoMixture._restore(by_list._snapshot())):
        assert list(again.n_components) == [1, 3]


@pytest.mark.parametrize(
    ("n_components", "latest"), [(1, 60), (3, 60), (20, 60), ((1, 3), 70), ((1, 5), 75), (None, 90)]
)
def test_it_predicts_soon(n_components: Any, latest: int) -> None:
    rng = np.random.default_rng(5)
    model = sm.AutoMixture(n_components=n_components, seed=1)
    while not model.is_warm:
        record = {"x": float(rng.normal(5 * rng.integers(3)))}
        assert model.score_one(record) == 0.0
        model.learn_one(record)
    assert 50 < model.n_seen <= latest
    assert model.score_one(record) != 0.0


def test_a_field_joins() -> None:
    rng = np.random.default_rng(8)
    rows = draw(rng, 4_000)
    model = sm.AutoMixture(n_components=3, warm_up=500, seed=1)
    for i, (a, b) in enumerate(rows.tolist()):
        model.learn_one({"a": a, "b": b} | ({"late": a + rng.normal()} if i > 1_500 else {}))
    assert "late" in model.parameters[0]
    assert np.isfinite(model.score_one({"a": 0.0, "b": 0.0, "late": 0.5}))
