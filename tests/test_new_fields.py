"""Inferred fields: what was chosen and how it is told, fields that join late, go away, change, or are overruled."""

import datetime as dt
import logging
import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import LAW, bits, cuts, reloaded, shown, state_of

import streammix as sm
from streammix import newcomers
from streammix.newcomers import JOIN_AFTER

FORKED = pa.schema(
    [("x", pa.float64()), ("c", pa.string()), ("y", pa.float64()), ("flag", pa.bool_()), ("kind", pa.string()),
     ("at", pa.timestamp("us")), ("name", pa.string())]
)  # fmt: skip


def records(n, first=60, seed=0):
    """From record `first` on, new fields: a number that is sometimes missing, a flag, text, a time, free text."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        z = int(rng.random() < 0.4)
        x = {"x": float(rng.normal(5 * z)), "c": "abc"[int(rng.integers(3))]}
        late = {
            "y": float(rng.normal(-7 * z)) if rng.random() < 0.8 else None,
            "flag": bool(rng.random() < 0.2 + 0.6 * z),
            "kind": "pq"[z] if rng.random() < 0.7 else None,
            "at": dt.datetime(2026, 1, 1, 0, i % 60),
            "name": f"name {i}",
        }
        made.append(x | late if i >= first else x)
    return made


def table(rows):
    return pa.Table.from_pylist(rows, schema=FORKED)


def model(**declared):
    return sm.Mixture(n_components=2, **{"warm_up": 50, "seed": 1} | declared)


@pytest.fixture
def soon(monkeypatch):
    """Fields join after few values, so that a law's stream may be short."""
    monkeypatch.setattr(newcomers, "JOIN_AFTER", 30)


@pytest.mark.usefixtures("soon")
@LAW
@given(st.data(), st.sampled_from([1, 7]), st.booleans(), st.sampled_from(["list", "arrow", "polars"]))
def test_joining_does_not_depend_on_cuts(data, batch_size, averaging, kind):
    rows = records(160)
    one, many, ingested = (model(batch_size=batch_size, averaging=averaging) for _ in range(3))
    for x in rows:
        one.learn_one(x)
    for cut in data.draw(cuts(len(rows))):
        frame = table(rows[cut])
        many.learn_many(pl.from_arrow(frame) if kind == "polars" else frame)
        ingested.ingest(rows[cut] if kind == "list" else frame)
    assert {"y", "flag", "kind"} <= set(one.parameters[0])
    assert state_of(many) == state_of(one)
    assert state_of(ingested) == state_of(one)


@pytest.mark.usefixtures("soon")
@LAW
@given(st.integers(0, 160), st.sampled_from([1, 7]), st.booleans())
def test_a_resume_while_fields_wait_is_exact(at, batch_size, averaging):
    rows = records(160)
    unbroken, broken = (model(batch_size=batch_size, averaging=averaging) for _ in range(2))
    for i, x in enumerate(rows):
        if i == at:
            broken = reloaded(broken)
        unbroken.learn_one(x)
        broken.learn_one(x)
    assert state_of(broken) == state_of(unbroken)
    assert repr(broken) == repr(unbroken)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_field_that_joins_late_is_learnt(batch_size):
    mixture = model(batch_size=batch_size, warm_up=500)
    mixture.learn_many(table(records(6_000, first=2_000)))
    first, second = sorted(mixture.parameters, key=lambda component: component["x"].mean)
    assert first["y"].mean == pytest.approx(0.0, abs=0.15)
    assert second["y"].mean == pytest.approx(-7.0, abs=0.15)
    assert second["y"].variance == pytest.approx(1.0, abs=0.15)
    assert (first["flag"].p, second["flag"].p) == pytest.approx((0.2, 0.8), abs=0.05)
    assert second["kind"].probabilities["q"] > 0.99
    assert mixture.infer_summary() == {
        "x": "Normal()",
        "c": "Categorical()",
        "flag": "Bernoulli()",
        "y": "Normal()",
        "kind": "Categorical()",
        "at": "left out (times)",
        "name": "left out (text that hardly ever repeats)",
    }


def test_values_that_wait_count_with_the_responsibilities_of_their_time():
    mixture = model()
    rows = records(50 + JOIN_AFTER, first=50)
    for x in rows[:50]:
        mixture.learn_one(x)
    expected = []
    for x in rows[50:]:
        expected.append(list(mixture.predict_proba_one({"x": x["x"], "c": x["c"]}).values()))
        mixture.learn_one({"x": x["x"], "c": x["c"], "flag": x["flag"]})
    flags = np.array([x["flag"] for x in rows[50:]], dtype=float)
    means = (np.array(expected).T @ flags) / np.array(expected).sum(axis=0)
    state = mixture._snapshot().state
    np.testing.assert_allclose(state.statistics[-1][0, 0, :2], means, rtol=1e-12)
    np.testing.assert_allclose(state.masses[-1, :2], np.mean(expected, axis=0), rtol=1e-12)
    assert (state.starts[-1], state.clocks[-1]) == (JOIN_AFTER, 0.0)


def test_a_field_that_goes_away_stands_still_and_may_come_back():
    mixture = model(warm_up=300)
    rows = records(3_000, first=400)
    mixture.learn_many(table(rows))
    before = mixture.parameters
    own = mixture._snapshot().state.masses[1:].copy()
    gone = [{"x": x["x"], "c": x["c"]} for x in rows]
    for _ in range(4):
        mixture.learn_many(pa.Table.from_pylist(gone))
    for k in range(2):
        for field in ("y", "flag", "kind"):
            assert mixture.parameters[k][field] == before[k][field]
    np.testing.assert_array_equal(mixture._snapshot().state.masses[1:], own)
    mixture.learn_many(table(rows[1_000:]))
    assert min(component["y"].mean for component in mixture.parameters) == pytest.approx(-7.0, abs=0.3)


def test_a_field_whose_kind_changes_is_refused_by_name():
    cases = [("x", "5.0", "a finite number"), ("c", 5, "a string, as before"), ("c", True, "a string, as before"),
             ("y", "low", "a number"), ("kind", 1.5, "a text")]  # fmt: skip
    mixture = model()
    for i, x in enumerate(records(70)):
        mixture.learn_one(x | ({"y": 1.0} if i == 65 else {}) | ({"kind": "p"} if i == 65 else {}))
    before = state_of(mixture)
    for field, value, expected in cases:
        bad = {"x": 1.0, "c": "a"} | {field: value}
        with pytest.raises(sm.RecordError, match=f"field '{field}': expected {expected}") as caught:
            mixture.learn_one(bad)
        assert caught.value.field == field
        with pytest.raises(sm.RecordError, match=f"row 1: field '{field}'"):
            mixture.learn_many(pa.table({"x": [1.0, 1.0], "c": ["a", "a"]} | {field: [None, value]}))
        assert [index for index, _ in mixture.ingest([bad]).rejected] == [0]
        assert state_of(mixture) == before, field
    mixture.learn_one({"x": True, "c": "a"})  # a bool is 0 or 1


def test_a_bool_is_a_number_where_numbers_were_and_a_number_no_flag():
    mixture = model()
    for i, x in enumerate(records(60, first=0)):
        mixture.learn_one({"x": x["x"] if i % 2 else True, "flag": x["flag"]})
    assert mixture.infer_summary() == {"x": "Normal()", "flag": "Bernoulli()"}
    mixture.learn_one({"x": True, "flag": 1})
    with pytest.raises(sm.RecordError, match="field 'flag': expected 0 or 1, got 7"):
        mixture.learn_one({"flag": 7})


def test_kinds_are_kept_apart_within_the_warm_up_and_after_a_resume():
    mixture = model()
    mixture.learn_one({"x": 1.0, "c": "a", "at": dt.datetime(2026, 1, 1)})
    for again in (mixture, reloaded(mixture)):
        for bad in ({"x": "1"}, {"c": 1.0}, {"at": 5.0}, {"at": "x", "x": 1.0}):
            before = state_of(again)
            with pytest.raises(sm.RecordError, match="as before"):
                again.learn_one(bad)
            assert state_of(again) == before


def test_lists_and_objects_of_a_new_field_are_left_out_and_said_so(caplog):
    mixture = model()
    for x in records(60):
        mixture.learn_one(x)
    mixture.learn_one({"x": 1.0, "tags": ["a", "b"], "user": {"id": 7}})
    assert mixture.infer_summary()["tags"] == mixture.infer_summary()["user"] == "left out (lists or objects)"
    mixture.learn_one({"x": 1.0, "tags": 3})  # from now on nobody looks at it


def test_new_fields_are_bounded(monkeypatch):
    mixture = model()
    for x in records(60):
        mixture.learn_one(x)
    for i in range(500):
        mixture.learn_one({"x": 0.0, f"field-{i}": 1.0, "steady": float(i)})
    waiting = mixture._snapshot().new_fields["waiting"]
    assert len(waiting) == newcomers.MOST_WAITING
    assert "steady" in mixture.parameters[0]
    monkeypatch.setattr("streammix.learner.MOST_FIELDS", 3)
    closed = reloaded(mixture)
    before = closed._snapshot().new_fields
    closed.learn_one({"x": 0.0, "one more": 1.0})
    assert closed._snapshot().new_fields == before


def test_a_field_of_nothing_but_gaps_costs_nothing():
    mixture = model()
    for x in records(60, first=60):
        mixture.learn_one(x)
    before = mixture._snapshot().new_fields
    mixture.learn_one({"x": 1.0, "gap": None})
    mixture.learn_one({"x": 1.0, "gap": math.nan})
    mixture.learn_many(pa.table({"x": [1.0], "gap": pa.nulls(1)}))
    assert mixture._snapshot().new_fields == before


def opening(n=400, at=120):
    """A column that is constant until a market opens, and one that never varies."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        z = int(rng.random() < 0.4)
        price = float(rng.normal(10.0 - 6 * z)) if i >= at else 0.25
        rows.append({"x": float(rng.normal(5 * z)), "price": price, "unit": 7, "n": i if i % 4 else None})
    return rows


@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_number_that_never_varied_joins_when_it_does(batch_size):
    rows = opening()
    one, many, ingested = (model(batch_size=batch_size) for _ in range(3))
    for i, x in enumerate(rows):
        if i == 119:
            assert one.infer_summary()["price"] == "always 0.25 so far"
            one = reloaded(one)
        one.learn_one(x)
    for begin in range(0, len(rows), 77):
        many.learn_many(pa.Table.from_pylist(rows[begin : begin + 77]))
        ingested.ingest(rows[begin : begin + 77])
    assert one.infer_summary()["unit"] == "always 7.0 so far"
    assert sorted(c["price"].mean for c in one.parameters) == pytest.approx([4.0, 10.0], abs=0.5)
    assert state_of(many) == state_of(one)
    assert state_of(ingested) == state_of(one)
    with pytest.raises(sm.RecordError, match="field 'unit': expected a number, as before, got 'm'"):
        one.learn_one({"x": 1.0, "unit": "m"})


def test_constant_numbers_are_used_where_there_is_nothing_else():
    mixture = model()
    for _ in range(60):
        mixture.learn_one({"x": 3.0, "y": 4})
    assert mixture.infer_summary() == {"x, y": "MultivariateNormal()"}
    assert np.isfinite(mixture.score_one({"x": 3.0, "y": 4}))


def test_a_record_of_new_fields_alone_is_refused():
    mixture = model()
    for x in records(60, first=60):
        mixture.learn_one(x)
    before = state_of(mixture)
    with pytest.raises(sm.RecordError, match="none of the model's fields: 'x', 'c'"):
        mixture.learn_one({"X": 1.0, "C": "a"})  # renamed
    assert state_of(mixture) == before


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_order_of_fields_makes_no_difference(batch_size):
    rows, rng = records(200), np.random.default_rng(9)
    straight, shuffled, backwards = (model(batch_size=batch_size) for _ in range(3))
    for x in rows:
        straight.learn_one(x)
        names = list(x)
        rng.shuffle(names)
        shuffled.learn_one({name: x[name] for name in names})
    backwards.learn_many(table(rows).select(FORKED.names[::-1]))
    assert state_of(shuffled) == state_of(straight)
    assert state_of(backwards) == state_of(straight)


def test_the_log_has_a_line_a_field(caplog):
    caplog.set_level(logging.INFO, "streammix")
    mixture = model()
    mixture.learn_many(table(records(50 + JOIN_AFTER, first=10)))
    assert caplog.messages == [
        "field 'x': inferred Normal()",
        "field 'c': inferred Categorical()",
        "field 'flag': inferred Bernoulli()",
        "field 'kind': inferred Categorical()",
        "field 'y': inferred Normal()",
        "field 'name': left out (text that hardly ever repeats); declare it to have it learnt",
        "field 'at': left out (times); declare it to have it learnt",
    ]


def test_repr_is_a_declaration_that_makes_the_same_model():
    assert repr(model()) == "Mixture(n_components=2, warm_up=50, seed=1)"
    mixture = model()
    mixture.learn_many(table(records(400, first=0)))
    assert repr(mixture) == (
        "Mixture(n_components=2, fields={'x': Normal(), 'c': Categorical(), 'flag': Bernoulli(), "
        "'kind': Categorical(), 'y': Normal(), 'at': None, 'name': None}, warm_up=50, seed=1, infer=True)"
    )
    again = eval(repr(mixture), {"Mixture": sm.Mixture, **vars(sm)})
    again.learn_many(table(records(400, first=0)))
    assert bits(shown(again)) == bits(shown(mixture))
    assert repr(mixture.clone()) == "Mixture(n_components=2, warm_up=50, seed=1)"


def test_inference_is_overruled_by_name():
    fields = {"at": sm.VonMises(period="day"), ("x", "y"): sm.MultivariateNormal(), "c": None}
    mixture = model(fields=fields, infer=True)
    rows = records(500, first=0)
    for i, x in enumerate(rows):
        if i in (20, 300):
            mixture = reloaded(mixture)
        mixture.learn_one(x)
    assert list(mixture.parameters[0]) == ["at", ("x", "y"), "flag", "kind"]
    assert mixture.infer_summary() == {
        "flag": "Bernoulli()", "kind": "Categorical()", "name": "left out (text that hardly ever repeats)"
    }  # fmt: skip
    many = model(fields=fields, infer=True)
    many.learn_many(table(rows))
    assert bits(shown(many)) == bits(shown(mixture))
    assert mixture.clone().fields == fields
    with pytest.raises(sm.RecordError, match="field 'at': expected a time of the day"):
        model(fields=fields, infer=True).learn_one({"at": "soon", "x": 1.0})


def test_declared_fields_alone_stay_alone():
    mixture = model(fields={"x": sm.Normal()})
    for x in records(300, first=10):
        mixture.learn_one(x)
    assert list(mixture.parameters[0]) == ["x"]
    assert mixture.infer_summary() == {}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"n_components": 10**9}, "n_components must be at most 100,000, not 1000000000"),
        ({"warm_up": 10**18}, "warm_up must be at most 1,000,000, not 1000000000000000000"),
        ({"infer": 1}, "infer must be True or False, not 1"),
        ({"infer": True, "components": [{"x": sm.Normal(0, 1)}]}, "infer=True goes with fields="),
        ({"fields": {"x": None}}, "expected a family such as Normal"),
    ],
)
def test_arguments_that_do_not_fit(declared, message):
    with pytest.raises(sm.ConfigError, match=message):
        sm.Mixture(**declared)
