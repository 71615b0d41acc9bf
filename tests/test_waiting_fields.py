"""Declared fields that don't vary in the warm-up: they wait, and join as soon as there is something to learn."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from laws import reloaded, state_of

import streammix as sm

FAMILIES = {
    "normal": (sm.Normal(), 1.0),
    "lognormal": (sm.LogNormal(), 1.0),
    "gamma": (sm.Gamma(), 1.0),
    "inverse gaussian": (sm.InverseGaussian(), 1.0),
    "student": (sm.StudentT(), 1.0),
    "beta": (sm.Beta(), 0.05),
    "angle": (sm.VonMises(period=24), 1.0),
    "zeros": (sm.ZeroInflated(family=sm.Gamma()), 1.0),
}


def opening(n=500, at=120, scale=1.0, first=0.25, absent=False, seed=5):
    """Beside a field that varies, one that is constant, or absent, until a market opens; prices go with clusters."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        z = int(rng.random() < 0.4)
        price = scale * max(float(rng.normal(10.0 - 6 * z)), 0.01)
        x = {"x": float(rng.normal(5 * z)), "n": i if i % 4 else None}
        rows.append(x | ({"price": price} if i >= at else {} if absent else {"price": scale * first}))
    return rows


def model(price, kind=sm.Mixture, **arguments):
    fields = {"price": price, "x": sm.Normal()}
    return kind(n_components=2, fields=fields, **{"warm_up": 50, "seed": 1} | arguments)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_joins_when_its_field_varies(name):
    """Both components learn their prices: none takes all by a scale that is a guess."""
    family, scale = FAMILIES[name]
    rows = opening(scale=scale)
    one, many, framed, ingested = (model(family, batch_size=1 if name != "gamma" else 16) for _ in range(4))
    for i, x in enumerate(rows):
        if i in (100, 200):
            one = reloaded(one)
            assert repr(one) == repr(many)
        one.learn_one(x)
    for begin in range(0, len(rows), 77):
        many.learn_many(pa.Table.from_pylist(rows[begin : begin + 77]))
        framed.learn_many(pd.DataFrame(rows[begin : begin + 77]))
        ingested.ingest(rows[begin : begin + 77])
    assert state_of(many) == state_of(one) == state_of(framed) == state_of(ingested)
    prices = np.array([x["price"] for x in rows[120:]])
    answers = one.predict_mean_many(pa.table({"x": [0.0, 5.0]}), "price")["price"].to_numpy() / scale
    assert answers == pytest.approx([10.0, 4.0], abs=0.6), prices.mean()
    assert one.weights.min() > 0.3


@pytest.mark.parametrize("absent", [False, True])
def test_what_is_told_of_a_field_that_waits(absent):
    rows = opening(absent=absent)
    mixture = model(sm.Normal())
    for x in rows[:100]:
        mixture.learn_one(x)
    told = "not seen to vary so far" if absent else "always 0.25 so far"
    assert mixture.infer_summary() == {"price": told}
    assert list(mixture.parameters[0]) == ["x"]
    assert mixture.predict_mean_one({"x": 1.0}, "price") == {}
    assert mixture.predict_mean_many(pa.table({"x": [1.0, 2.0]}), ["price", "x"]).column_names == ["x"]
    assert mixture.predict_mean_many(pa.table({"x": [1.0, 2.0]}), "price").column_names == []
    assert repr(mixture) == repr(model(sm.Normal()))
    for x in rows[100:]:
        mixture.learn_one(x)
    assert mixture.infer_summary() == {}
    assert sorted(c["price"].mean for c in mixture.parameters) == pytest.approx([4.0, 10.0], abs=0.5)


def test_a_value_that_waits_is_checked_by_its_family():
    mixture = model(sm.LogNormal())
    for x in opening()[:100]:
        mixture.learn_one(x)
    before = state_of(mixture)
    for odd in (-1.0, 0, "12", float("inf"), [1.0]):
        with pytest.raises(sm.RecordError, match="field 'price': expected a positive number"):
            mixture.learn_one({"x": 1.0, "price": odd})
        with pytest.raises(sm.RecordError, match="field 'price'"):
            mixture.learn_many(pa.table({"x": [1.0, 1.0], "price": pa.array([odd, odd])}))
        assert state_of(mixture) == before


def test_a_record_of_fields_that_wait_is_one_with_gaps():
    rows, (one, many) = opening(), (model(sm.Normal()) for _ in range(2))
    one.learn_many(pa.Table.from_pylist(rows[:100]))
    many.learn_many(pa.Table.from_pylist(rows[:100]))
    for price in (0.25, 4.0, None):
        assert one.score_one({"price": price}) == pytest.approx(0.0, abs=1e-12)
        one.learn_one({"price": price})
        many.learn_many(pa.table({"price": pa.array([price], pa.float64())}))
    assert state_of(one) == state_of(many)
    with pytest.raises(sm.RecordError, match="none of the model's fields"):
        one.learn_one({"prize": 4.0})


def test_the_columns_of_an_array_stay_in_the_order_of_the_declaration():
    rows = opening()
    array = np.array([[x["price"], x["x"]] for x in rows])
    one, many = model(sm.Normal()), model(sm.Normal())
    for begin in range(0, len(rows), 90):
        one.learn_many(array[begin : begin + 90])
        many.learn_many(pa.Table.from_pylist(rows[begin : begin + 90]).select(["x", "price"]))
        assert one.score_many(array[:5]) == pytest.approx(many.score_many(pa.Table.from_pylist(rows[:5])).to_numpy())
        filled = one.impute_many(np.array([[np.nan, 0.0], [4.0, np.nan]]))
    assert state_of(one) == state_of(many)
    assert filled == pytest.approx(np.array([[10.0, 0.0], [4.0, 5.0]]), abs=0.6)


def test_of_a_group_only_what_never_varied_waits():
    rng = np.random.default_rng(2)
    rows = []
    for i in range(600):
        z = int(rng.random() < 0.4)
        a, b = rng.normal([5 * z, -5 * z])
        rows.append({"a": float(a), "b": float(b), "c": float(rng.normal(8 * z)) if i >= 200 else 3.0, "d": 7})
    group = {("a", "c", "b", "d"): sm.MultivariateNormal()}
    mixture = sm.Mixture(n_components=2, fields=group, warm_up=100, seed=1)
    for i, x in enumerate(rows):
        if i == 300:
            mixture = reloaded(mixture)
        mixture.learn_one(x)
    assert list(mixture.parameters[0]) == [("a", "b"), "c"]
    assert mixture.infer_summary() == {"d": "always 7.0 so far"}
    assert sorted(c["c"].mean for c in mixture.parameters) == pytest.approx([0.0, 8.0], abs=0.5)
    array = np.array([[x["a"], x["c"], x["b"], x["d"]] for x in rows])
    same = sm.Mixture(n_components=2, fields=group, warm_up=100, seed=1)
    same.learn_many(array)
    assert state_of(same) == state_of(mixture)


def test_a_field_that_varies_in_one_component_alone():
    rng = np.random.default_rng(3)
    mixture = model(sm.Normal(), warm_up=100)
    for i in range(1500):
        z = int(rng.random() < 0.4)
        price = float(rng.normal(4.0)) if z and i > 300 else 0.25
        mixture.learn_one({"x": float(rng.normal(5 * z)), "price": price})
    assert sorted(mixture.weights) == pytest.approx([0.4, 0.6], abs=0.06)
    assert sorted(c["price"].mean for c in mixture.parameters) == pytest.approx([0.25, 4.0], abs=0.5)


def test_declared_and_inferred_fields_wait_side_by_side():
    rows = [x | {"unit": 7} for x in opening()]
    fields = {"price": sm.LogNormal()}
    mixture = sm.Mixture(n_components=2, fields=fields, infer=True, warm_up=50, seed=1)
    for x in rows[:100]:
        mixture.learn_one(x)
    declared = repr(mixture)
    assert "'price': LogNormal()" in declared
    again = eval(declared, vars(sm))
    for x in rows[:100]:
        again.learn_one(x)
    assert state_of(again) == state_of(mixture)
    for x in rows[100:]:
        mixture.learn_one(x)
    assert mixture.infer_summary()["unit"] == "always 7.0 so far"
    assert sorted(c["price"].mean for c in mixture.parameters) == pytest.approx(np.log([4.0, 10.0]), abs=0.1)


def test_a_supervised_mixture_lets_declared_fields_wait():
    rows = opening(n=1500, at=400)
    mixture = model(sm.Normal(), sm.AutoMixture, warm_up=200)
    for i, x in enumerate(rows):
        if i in (300, 500):
            mixture = reloaded(mixture)
        mixture.learn_one(x)
    assert sorted(c["price"].mean for c in mixture.parameters) == pytest.approx([4.0, 10.0], abs=0.5)


@pytest.mark.parametrize("is_list", [True, False])
def test_batch_em_passes_over_what_waits_and_sees_what_varies_anywhere(is_list):
    rng = np.random.default_rng(8)
    rows = [x | {"unit": 7.0 if i < 4_500 else 8.0} for i, x in enumerate(opening(n=4_600, at=4_200))]
    rows = [x | {"late": float(rng.normal())} if i == 4_599 else x for i, x in enumerate(rows)]
    for fields in ({"price": sm.Normal(), "x": sm.Normal()}, None):
        mixture = sm.Mixture(n_components=2, fields=fields, seed=1)
        trace = sm.batch.fit(mixture, rows if is_list else pa.Table.from_pylist(rows), max_iter=3)
        assert trace.expected_counts.sum() == pytest.approx(len(rows))
        assert "price" in mixture.centers[0]


@pytest.mark.parametrize("kind", [sm.Mixture, sm.AutoMixture])
@pytest.mark.parametrize("fields", [{"x": sm.Normal(), "price": sm.Normal()}, None])
def test_records_of_what_waits_alone_are_no_hindrance(kind, fields):
    """In the warm-up, while a first state is made, and after it."""
    rows = [{"x": x["x"], "price": x["price"]} for x in opening(n=200, at=150)]
    for i in (3, 40, 49, 50, 52, 90, 180):
        rows[i] = {"x": None, "price": rows[i]["price"]}
    one, many = (kind(n_components=2, fields=fields, warm_up=50, seed=1) for _ in range(2))
    for x in rows:
        one.learn_one(x)
    many.learn_many(pa.Table.from_pylist(rows))
    assert one.n_seen == len(rows)
    assert state_of(one) == state_of(many)
