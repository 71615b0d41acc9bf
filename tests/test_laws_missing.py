"""Law 5: missing is not zero. A missing field is integrated out and moves no statistic of its own."""

import math
from typing import Any

import numpy as np
import oracle
import pyarrow as pa
import pytest
from hypothesis import given
from laws import BLOCKS, LAW, STILL, Case, cases, draw_records, explicit, families, start, state_of, table_of, with_gaps

import streammix as sm

ALL = sorted(BLOCKS)
RNG = np.random.default_rng(0)
RECORDS = draw_records(ALL, 60, RNG)


def learnt(names: list[str] = ALL, n_components: int = 2, **declared: Any) -> sm.Mixture:
    model = explicit(names, n_components, **declared)
    for x in RECORDS[:30]:
        model.learn_one(x)
    return model


def without(record: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in fields}


def block_of(model: sm.Mixture, key: Any) -> list[str]:
    return [repr(component[key]) for component in model.parameters]


@LAW
@given(cases())
def test_absent_none_and_nan_are_one_thing(case: Case) -> None:
    """The drawn gaps are absent, None or NaN; with every gap absent the state is the same."""
    bare = case.make()
    for x, w in zip(case.records, case.w, strict=True):
        bare.learn_one({name: value for name, value in x.items() if not oracle.is_missing(value)}, w=w)
    assert state_of(bare) == state_of(case.learn(case.make()))


@pytest.mark.parametrize("gone", ["absent", "None", "nan", "NumPy nan"])
@pytest.mark.parametrize("name", ALL)
def test_a_missing_field_moves_nothing_of_its_own(name: str, gone: str) -> None:
    block = BLOCKS[name]
    model = learnt()
    others = [other for other in ALL if other not in (name, *STILL)]
    before, before_others = block_of(model, block.key), [block_of(model, BLOCKS[o].key) for o in others]
    record = without(RECORDS[30], block.fields)
    values = {"None": None, "nan": math.nan, "NumPy nan": np.float64("nan")}
    if gone != "absent":
        record |= dict.fromkeys(block.fields, values[gone])
    model.learn_one(record)
    if name not in STILL:
        assert block_of(model, block.key) == before
    assert all(block_of(model, BLOCKS[o].key) != b for o, b in zip(others, before_others, strict=True))


@pytest.mark.parametrize("name", [name for name in ALL if name not in STILL])
def test_a_missing_field_is_not_a_zero(name: str) -> None:
    """The check of the check: a value in that field does move it."""
    block = BLOCKS[name]
    model = learnt()
    before = block_of(model, block.key)
    model.learn_one(RECORDS[30])
    assert block_of(model, block.key) != before


@pytest.mark.parametrize("name", ALL)
def test_responsibilities_are_those_of_the_marginal(name: str) -> None:
    components = start(ALL, 3)
    weights = [0.2, 0.5, 0.3]
    model = sm.Mixture(components=families(components), weights=weights)
    records = [without(x, BLOCKS[name].fields) for x in RECORDS]
    for x, r, log_p in zip(
        records,
        oracle.responsibilities(weights, components, records),
        oracle.log_density(weights, components, records),
        strict=True,
    ):
        np.testing.assert_allclose(list(model.predict_proba_one(x).values()), r, rtol=1e-9)
        np.testing.assert_allclose(model.log_density_one(x), log_p, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_any_pattern_of_gaps_is_integrated_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    components, weights = start(ALL, 2), [0.4, 0.6]
    records = with_gaps(draw_records(ALL, 60, rng), 0.5, rng)
    model = sm.Mixture(components=families(components), weights=weights)
    expected = oracle.log_density(weights, components, records)
    np.testing.assert_allclose([model.log_density_one(x) for x in records], expected, rtol=1e-9)
    table = table_of(records)
    np.testing.assert_allclose(model.log_density_many(table.to_pandas()), expected, rtol=1e-9)
    proba = model.predict_proba_many(table)
    ours = np.column_stack([column.to_numpy() for column in proba.columns])
    np.testing.assert_allclose(ours, oracle.responsibilities(weights, components, records), rtol=1e-9)


def test_every_part_of_a_multivariate_normal_may_be_missing() -> None:
    """Four fields, all 15 patterns: the marginal of what is there."""
    fields = ("a", "b", "c", "d")
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(2, 4, 4))
    components: list[Any] = [
        {fields: ("mvn", rng.normal(size=4), factor[k] @ factor[k].T + 0.1 * np.eye(4))} for k in range(2)
    ]
    weights = [0.3, 0.7]
    model = sm.Mixture(components=families(components), weights=weights)
    records = []
    for pattern in range(1, 16):
        values = rng.normal(size=4)
        records.append({name: float(values[j]) for j, name in enumerate(fields) if pattern >> j & 1})
    expected = oracle.log_density(weights, components, records)
    np.testing.assert_allclose([model.log_density_one(x) for x in records], expected, rtol=1e-9)
    columns = {name: pa.array([x.get(name) for x in records], pa.float64()) for name in fields}
    np.testing.assert_allclose(model.log_density_many(pa.table(columns).to_pandas()), expected, rtol=1e-9)


def test_the_rest_of_a_multivariate_normal_learns_from_a_part() -> None:
    """A part of the block is evidence about all of it: the missing field moves along the regression line."""
    one = [{("lat", "lon"): ("mvn", [0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]])}]
    model = sm.Mixture(components=families(one), warm_up=9)
    model.learn_one({"lat": 2.0})
    gamma = sm.PowerDecay(0.6)(1, 9)
    [shown] = model.parameters
    np.testing.assert_allclose(shown["lat", "lon"].mean, [gamma * 2.0, gamma * 0.8 * 2.0], rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_clock_of_a_field_stands_still_while_it_is_missing(batch_size: int) -> None:
    """Nine records in ten without `wait`: what is learnt of it is what its own records alone would teach.

    One component, so that responsibilities are 1 and the other fields have no say.
    """
    both = explicit(["exponential", "normal"], 1, batch_size=batch_size)
    alone = explicit(["exponential"], 1, batch_size=1)
    for i, x in enumerate(RECORDS[:50]):
        both.learn_one(x if i % 10 == 0 else without(x, ("wait",)))
        if i % 10 == 0:
            alone.learn_one({"wait": x["wait"]})
    np.testing.assert_allclose(both.parameters[0]["wait"].rate, alone.parameters[0]["wait"].rate, rtol=1e-12)


def test_a_record_without_a_value_teaches_nothing() -> None:
    model = learnt(["normal", "poisson"])
    before, weights = block_of(model, "height"), model.weights
    model.learn_one({"height": None, "items": math.nan})
    assert block_of(model, "height") == before
    np.testing.assert_allclose(model.weights, weights, rtol=1e-14)
    proba = model.predict_proba_one({"height": None, "items": None})
    np.testing.assert_allclose(list(proba.values()), model.weights, rtol=1e-14)


@pytest.mark.parametrize("name", [name for name in ALL if name != "fixed"])
def test_a_field_never_seen_in_the_warm_up_stays_sane(name: str) -> None:
    """A declared field that only comes late, and one that never comes."""
    block = BLOCKS[name]
    declared = {"x": sm.Normal(), block.key: block.unlearnt}
    model = sm.Mixture(n_components=2, fields=declared, warm_up=20, seed=0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        model.learn_one({"x": float(rng.normal())})
    assert model.is_warm
    assert np.isfinite(model.weights).all()
    waiting = set(model.infer_summary())
    assert set(model.parameters[0]) == ({"x"} if waiting else {"x", block.key})
    assert waiting <= set(block.fields)
    assert math.isfinite(model.log_density_one({"x": 0.0}))
    for x in RECORDS * 4:
        model.learn_one({"x": float(rng.normal())} | {field: x[field] for field in block.fields})
        assert math.isfinite(model.log_density_one(x))
    assert set(model.parameters[0]) == {"x", *(waiting or [block.key])}
    assert not model.infer_summary()
    assert np.isfinite(model.weights).all()
    assert repr(model.parameters).count("nan") == 0


def test_nan_strings_are_levels_and_numbers_as_levels_are_not_confused() -> None:
    """Missing is None and NaN; the word "nan" is a level like any other."""
    model = sm.Mixture(components=[{"country": sm.Categorical({"nan": 0.5, "de": 0.5})}])
    model.learn_one({"country": "nan"})
    assert model.parameters[0]["country"].probabilities["nan"] > 0.5


@pytest.mark.parametrize("make", [sm.Mixture, sm.AutoMixture])
def test_records_without_values_wait_with_others_where_no_field_was_declared(make: Any) -> None:
    """Nineteen cells in twenty are missing, in the warm-up too."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(1_200, 2)) + 5 * rng.integers(2, size=(1_200, 1))
    rows[rng.random(rows.shape) < 0.95] = np.nan
    rows[:3] = np.nan
    table = pa.table({name: pa.array(column, from_pandas=True) for name, column in zip("ab", rows.T, strict=True)})
    one, many, third = (make(n_components=2, warm_up=400, seed=1) for _ in range(3))
    for x in table.to_pylist():
        one.learn_one(x)
    many.learn_many(table)
    assert third.ingest(table.to_pylist()).rejected == []
    assert one.n_seen == 1_200
    assert state_of(one) == state_of(many) == state_of(third)
    assert np.isfinite([c["a"].mean for c in one.parameters]).all()
    before = repr(one.parameters)
    for _ in range(3):
        one.learn_one({"a": None, "b": None})
    assert one.n_seen == 1_203
    assert repr(one.parameters) == before


@pytest.mark.parametrize("make", [sm.Mixture, sm.AutoMixture])
def test_a_warm_up_does_not_end_without_a_value(make: Any) -> None:
    model = make(n_components=1, warm_up=10, seed=1)
    for _ in range(9):
        model.learn_one({"a": None, "at": "2026-01-02T03:04:05"})
    before = state_of(model)
    with pytest.raises(sm.RecordError, match="none of the first 10 records has a value"):
        model.learn_one({"a": None})
    assert state_of(model) == before
    with pytest.raises(sm.RecordError, match="times and nothing else"):
        model.learn_one({"at": "2026-01-02T03:04:05"})
    for value in range(30):
        model.learn_one({"a": float(value)})
    assert model.is_warm
    assert model.n_seen == 39
