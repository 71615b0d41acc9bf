"""Law 2: the stream's cuts don't matter. The same records, the same state to the last bit."""

from typing import Any

import numpy as np
import oracle
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import (
    BLOCKS,
    LAW,
    Case,
    bits,
    cases,
    cuts,
    draw_records,
    explicit,
    start,
    state_of,
    stretches,
    table_of,
    with_gaps,
)

import streammix as sm


def learnt_in(case: Case, parts: list[slice]) -> sm.Mixture:
    """One model that learns the case's stream as tables, one call a part."""
    model = case.make()
    table, w = table_of(case.records), np.array(case.w)
    for part in parts:
        model.learn_many(table.slice(part.start, part.stop - part.start), w=w[part])
    return model


@LAW
@given(cases(), st.data())
def test_any_chunks_give_the_state_of_one_record_at_a_time(case: Case, data: st.DataObject) -> None:
    n = len(case.records)
    expected = state_of(case.learn(case.make()))
    assert state_of(learnt_in(case, [slice(0, n)])) == expected, "one call"
    assert state_of(learnt_in(case, data.draw(cuts(n)))) == expected, "chunks"


@LAW
@given(cases(min_records=2), st.data())
def test_single_records_and_chunks_may_alternate(case: Case, data: st.DataObject) -> None:
    n = len(case.records)
    expected = state_of(case.learn(case.make()))
    model, table, w = case.make(), table_of(case.records), np.array(case.w)
    for i, part in enumerate(data.draw(cuts(n))):
        if i % 2:
            model.learn_many(table.slice(part.start, part.stop - part.start), w=w[part])
        else:
            case.learn(model, part.start, part.stop)
    assert state_of(model) == expected


@LAW
@given(cases())
def test_looking_never_touches_the_state(case: Case) -> None:
    expected = state_of(case.learn(case.make()))
    model = case.make()
    table = table_of(case.records)
    for i, (x, w) in enumerate(zip(case.records, case.w, strict=True)):
        before = dict(x)
        model.predict_proba_one(x)
        model.predict_one(x)
        model.score_one(x)
        model.log_density_one(x)
        if i % 16 == 0:
            model.predict_proba_many(table)
            model.score_many(table)
            repr(model.parameters), repr(model.centers), repr(model)
        model.learn_one(x, w=w)
        assert bits(before) == bits(x), "the record itself is left alone"
    assert state_of(model) == expected


@LAW
@given(cases(), st.data())
def test_ingest_gives_the_same_scores_and_state_in_any_cut(case: Case, data: st.DataObject) -> None:
    """`ingest` scores each record as the model stands before it, whatever arrives with it."""
    n = len(case.records)
    table = table_of(case.records)
    plain, whole, cut = case.make(), case.make(), case.make()
    proba, density = np.empty((n, len(plain.weights))), np.zeros(n)
    for i, x in enumerate(case.records):
        proba[i] = list(plain.predict_proba_one(x).values())
        if plain.is_warm:
            density[i] = plain.log_density_one(x)
        plain.learn_one(x)
    at_once = whole.ingest(table)
    parts = []
    for i, part in enumerate(data.draw(cuts(n))):
        chunk = table.slice(part.start, part.stop - part.start) if i % 2 else case.records[part]
        parts.append(cut.ingest(chunk))
        assert parts[-1].rejected == []
        assert parts[-1].rows.tolist() == list(range(part.stop - part.start))
    assert state_of(cut) == state_of(whole) == state_of(plain)
    assert np.vstack([p.responsibilities for p in parts]).tobytes() == at_once.responsibilities.tobytes()
    assert np.concatenate([p.log_density for p in parts]).tobytes() == at_once.log_density.tobytes()
    np.testing.assert_allclose(at_once.responsibilities, proba, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(at_once.log_density, density, rtol=1e-12, atol=1e-12)


ALL = sorted(BLOCKS)


def as_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas()


def as_record_batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


KINDS = {
    "pandas": as_pandas,
    "polars": lambda table: pl.from_arrow(table),
    "pyarrow Table": lambda table: table,
    "pyarrow RecordBatch": as_record_batch,
    "chunked Table": lambda table: pa.concat_tables([table.slice(0, 11), table.slice(11, 1), table.slice(12)]),
    "columns in another order": lambda table: table.select(table.column_names[::-1]),
    "polars categorical": lambda table: pl.from_arrow(table).with_columns(pl.col("country").cast(pl.Categorical)),
    "pandas category": lambda table: as_pandas(table).astype({"country": "category"}),
    "pandas nullable": lambda table: as_pandas(table).convert_dtypes(),
    "Arrow dictionary": lambda table: table.set_column(
        table.column_names.index("country"), "country", table.column("country").dictionary_encode()
    ),
    "a column more": lambda table: table.append_column("comment", pa.array(["x"] * table.num_rows)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("warm_up", [None, 60])
def test_every_kind_of_frame_is_the_same_stream(kind: str, batch_size: int, warm_up: int | None) -> None:
    rng = np.random.default_rng(5)
    records = draw_records(ALL, 150, rng)

    def make() -> sm.Mixture:
        if warm_up is None:
            return explicit(ALL, 2, batch_size=batch_size)
        fields = {BLOCKS[name].key: BLOCKS[name].unlearnt for name in ALL}
        return sm.Mixture(n_components=2, fields=fields, batch_size=batch_size, warm_up=warm_up, seed=1)

    expected = make()
    for x in records:
        expected.learn_one(x)
    model = make()
    table = table_of(records)
    for part in stretches(len(records), 37):
        model.learn_many(KINDS[kind](table.slice(part.start, part.stop - part.start)))
    assert state_of(model) == state_of(expected)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_fields_that_are_inferred_are_the_same_in_any_cut(batch_size: int) -> None:
    rng = np.random.default_rng(6)
    names = ["normal", "mvn", "poisson", "bernoulli", "categorical"]
    records = with_gaps(draw_records(names, 120, rng), 0.1, rng)
    one_by_one = sm.Mixture(n_components=2, batch_size=batch_size, warm_up=50, seed=3)
    for x in records:
        one_by_one.learn_one(x)
    table = table_of(records)
    for size in (120, 50, 49, 13):
        model = sm.Mixture(n_components=2, batch_size=batch_size, warm_up=50, seed=3)
        for part in stretches(120, size):
            model.learn_many(table.slice(part.start, part.stop - part.start))
        assert state_of(model) == state_of(one_by_one), size
        assert model.infer_summary() == one_by_one.infer_summary()


@pytest.mark.parametrize("batch_size", [1, 64, 100, 300])
@pytest.mark.parametrize("n_components", [8, 9, 17])
def test_chunks_longer_than_any_block_of_the_core(n_components: int, batch_size: int) -> None:
    """More components than lanes, more rows than a tile, with gaps and weights: cut anywhere, the same bits."""
    rng = np.random.default_rng(13)
    names = ["categorical", "mvn", "normal", "poisson"]
    records = with_gaps(draw_records(names, 900, rng), 0.05, rng)
    table, w = table_of(records), rng.choice([1.0, 2.0, 0.5], 900)
    fields = {BLOCKS[name].key: BLOCKS[name].unlearnt for name in names}

    def make() -> sm.Mixture:
        return sm.Mixture(n_components=n_components, fields=fields, warm_up=200, batch_size=batch_size, seed=0)

    one_by_one = make()
    for x, w_x in zip(records, w.tolist(), strict=True):
        one_by_one.learn_one(x, w=w_x)
    expected = state_of(one_by_one)
    for size in (900, 257, 64):
        model = make()
        for part in stretches(900, size):
            model.learn_many(table.slice(part.start, part.stop - part.start), w=w[part])
        assert state_of(model) == expected, size


@pytest.mark.parametrize("batch_size", [1, 7])
def test_new_levels_in_any_cut(batch_size: int) -> None:
    """An open vocabulary grows to dozens of levels, long after the warm-up."""
    rng = np.random.default_rng(12)
    records = [{"word": f"w{v}", "x": float(rng.normal())} for v in rng.geometric(0.03, 300)]
    fields: dict[Any, Any] = {"word": sm.Categorical(), "x": sm.Normal()}

    def make() -> sm.Mixture:
        return sm.Mixture(n_components=2, fields=fields, warm_up=20, batch_size=batch_size, seed=0)

    one_by_one = make()
    for x in records:
        one_by_one.learn_one(x)
    table = table_of(records)
    for size in (300, 71, 3):
        model = make()
        for part in stretches(300, size):
            model.learn_many(table.slice(part.start, part.stop - part.start))
        assert state_of(model) == state_of(one_by_one), size


def test_a_chunk_without_rows_is_nothing() -> None:
    records = draw_records(ALL, 3, np.random.default_rng(0))
    model = explicit(ALL, 2)
    before = state_of(model)
    model.learn_many(table_of(records).slice(0, 0))
    model.learn_many(table_of(records).slice(0, 0).to_pandas())
    assert state_of(model) == before
    assert len(model.ingest([]).rows) == 0


def test_scores_of_a_frame_are_those_of_its_records() -> None:
    """The block kernels and the one-record kernels are the same mathematics."""
    rng = np.random.default_rng(7)
    records = with_gaps(draw_records(ALL, 80, rng), 0.2, rng)
    model = explicit(ALL, 3)
    for x in records[:40]:
        model.learn_one(x)
    table = table_of(records)
    proba = np.column_stack([column.to_numpy() for column in model.predict_proba_many(table).columns])
    expected = [list(model.predict_proba_one(x).values()) for x in records]
    np.testing.assert_allclose(proba, expected, rtol=1e-12, atol=1e-15)
    frame = table.to_pandas()
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(model.log_density_many(frame), [model.log_density_one(x) for x in records], **close)
    np.testing.assert_allclose(model.score_many(frame), [model.score_one(x) for x in records], **close)
    assert list(model.predict_many(frame)) == [model.predict_one(x) for x in records]


@pytest.mark.parametrize("step_size", [sm.PowerDecay(0.6), sm.RunningMean()])
def test_a_mini_batch_hardly_changes_where_the_stream_leads(
    step_size: sm.PowerDecay | sm.RunningMean,
) -> None:
    """A batch compounds the steps of its records, so b is a matter of speed and not of the answer."""
    rng = np.random.default_rng(8)
    records = draw_records(["normal", "poisson"], 3000, rng)
    table = table_of(records)
    densities = []
    for batch_size in (1, 10, 100):
        model = explicit(["normal", "poisson"], 2, batch_size=batch_size, step_size=step_size)
        model.learn_many(table)
        densities.append(float(np.mean(model.log_density_many(table.to_pandas()))))
    parameters = start(["normal", "poisson"], 2)
    at_start = float(np.mean(oracle.log_density([0.5, 0.5], parameters, records)))
    assert min(densities) > at_start + 0.1
    assert max(densities) - min(densities) < 0.005
