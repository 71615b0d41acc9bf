"""AutoMixture keeps the laws: cuts and resumes make no difference, with challenges in flight as well."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import reloaded, state_of

import streammix as sm

N = 4_000


def stream() -> list[dict[str, Any]]:
    """Three clusters in numbers, counts and levels, with gaps; the first part of the stream is sorted by cluster."""
    rng = np.random.default_rng(3)
    z = rng.integers(3, size=N)
    z[:600] = np.sort(z[:600])
    places = rng.normal(size=(N, 2)) + np.array([[0, 0], [4, 0], [0, 5.0]])[z]
    records = []
    for i, (k, (a, b)) in enumerate(zip(z, places, strict=True)):
        records.append(
            {"a": float(a), "b": float(b), "n": int(rng.poisson(1 + 3 * k)), "c": f"level {rng.integers(8) + 4 * k}"}
        )
        if i % 5 == 0:
            records[-1] |= {"b": None, "c": None}
    return records


RECORDS = stream()
TABLE = pa.Table.from_pylist(RECORDS)


def make() -> sm.AutoMixture:
    fields: dict[Any, Any] = {("a", "b"): sm.MultivariateNormal(), "n": sm.Poisson(), "c": sm.Categorical()}
    return sm.AutoMixture(n_components=(1, 3), fields=fields, warm_up=300, seed=1)


@pytest.fixture(scope="module")
def expected() -> Any:
    """What one call makes of the stream."""
    model = make()
    model.learn_many(TABLE)
    assert {"birth", "components"} <= set(model.event_counts)
    return state_of(model)


def test_single_records_make_no_difference(expected: Any) -> None:
    model = make()
    for record in RECORDS:
        model.learn_one(record)
    assert state_of(model) == expected


@settings(derandomize=True, deadline=None, max_examples=3)
@given(st.lists(st.integers(0, N), max_size=12))
def test_cuts_and_resumes_make_no_difference(expected: Any, marks: list[int]) -> None:
    model, edges = make(), [0, *sorted(marks), N]
    for begin, end in itertools.pairwise(edges):
        model.learn_many(TABLE[begin:end])
        model = reloaded(model)
    assert state_of(model) == expected


def test_a_resume_while_a_challenge_is_in_flight_is_exact(expected: Any) -> None:
    model, begin = make(), 0
    for end in (300, 351, 777, 1_250, 2_411, 2_600, 3_011):
        model.learn_many(TABLE[begin:end])
        model, begin = reloaded(model), end
    model.learn_many(TABLE[begin:])
    assert state_of(model) == expected


def test_scoring_as_it_learns_is_what_one_record_at_a_time_gives() -> None:
    one, many = make(), make()
    got = many.ingest(pd.DataFrame(RECORDS[:1_200]))
    single = []
    for record in RECORDS[:1_200]:
        single.append(one.log_density_one(record))
        one.learn_one(record)
    np.testing.assert_allclose(got.log_density, single, rtol=1e-9)
    assert state_of(one) == state_of(many)


@pytest.mark.parametrize("drift", ["auto", sm.HalfLife("31s", field="t")])
def test_a_resume_while_the_first_state_is_made_is_exact(drift: Any) -> None:
    """It is made in sixteen steps, one a record, after the three hundred of the warm-up."""
    fields: dict[Any, Any] = {("a", "b"): sm.MultivariateNormal(), "n": sm.Poisson()}
    records = [{**record, "t": float(i)} for i, record in enumerate(RECORDS[:400])]
    models = [sm.AutoMixture((1, 3), fields=fields, drift=drift, warm_up=300, seed=1) for _ in range(2)]
    for i, record in enumerate(records):
        for model in models:
            model.learn_one(record)
        assert models[0].is_warm == models[1].is_warm == (i >= 315)
        if 297 <= i < 319:
            models[1] = reloaded(models[1])
    assert state_of(models[0]) == state_of(models[1])


@pytest.mark.parametrize("sizes", [2, (1, 3)])
def test_records_that_lack_all_fields_may_come_at_any_time(sizes: Any) -> None:
    """In the warm-up, while the first state is made, and after it."""
    values: list[float | None] = np.random.default_rng(3).normal(size=160).tolist()
    for i in (5, 60, 62, 63, 150):
        values[i] = None
    make = lambda: sm.AutoMixture(sizes, fields={"x": sm.Normal()}, warm_up=60, seed=1)  # noqa: E731
    model, other, third = make(), make(), make()
    for value in values:
        model.learn_one({"x": value})
    other.learn_many(pa.table({"x": values}))
    got = third.ingest([{"x": value} for value in values])
    assert model.n_seen == 160
    assert got.rejected == []
    assert state_of(model) == state_of(other) == state_of(third)
