"""Frames of every kind hold the same records: where they lie, and how they are cut, makes no difference."""

import math
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from laws import state_of

import streammix as sm
from streammix.core.engine import Engine
from streammix.core.table import Table
from streammix.em import blank
from streammix.errors import RecordError

NAMES = ["a", "b", "c", "d"]
N = 300


def model(batch_size=16, full=False, **more):
    places = (-1.0, 0.5, 2.0)
    if full:
        fields = [{("a", "b"): sm.MultivariateNormal((m, -m), ((1, 0.3), (0.3, 2)))} for m in places]
    else:
        fields = [{"a": sm.Normal(m, 1), "b": sm.Normal(-m, 2)} for m in places]
    components = [f | {"c": sm.Poisson(2 + m), "d": sm.LogNormal(m, 1)} for f, m in zip(fields, places, strict=True)]
    return sm.Mixture(components=components, batch_size=batch_size, seed=1, **more)


def matrix(n=N, seed=1):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 4))
    values[:, 2] = rng.poisson(3, size=n)
    values[:, 3] = rng.lognormal(size=n)
    return values.astype(np.float32).astype(np.float64)  # so that single precision holds the same numbers


def table_of(values):
    return pa.table({name: np.ascontiguousarray(values[:, j]) for j, name in enumerate(NAMES)})


def learnt(frame, **options):
    mixture = model(**options)
    mixture.learn_many(frame)
    return state_of(mixture)


def wide(values):
    """Every other row and column of a larger array."""
    larger = np.full((2 * len(values), 8), 1e300)
    larger[::2, ::2] = values
    return larger[::2, ::2]


def packed(values):
    """Records of doubles that don't begin at a multiple of eight bytes."""
    result = np.zeros(len(values), dtype=[("flag", "i1"), *((name, "f8") for name in NAMES)])
    for j, name in enumerate(NAMES):
        result[name] = values[:, j]
    return result


FORMS = {
    "C-ordered": np.ascontiguousarray,
    "F-ordered": np.asfortranarray,
    "strided": wide,
    "backwards": lambda values: np.ascontiguousarray(values[::-1])[::-1],
    "float32": lambda values: values.astype(np.float32),
    "float32, F-ordered": lambda values: np.asfortranarray(values.astype(np.float32)),
    "records": packed,
    "float32 columns": lambda values: table_of(values.astype(np.float32)),
    "a RecordBatch": lambda values: table_of(values).to_batches()[0],
    "pandas": lambda values: pd.DataFrame(values, columns=NAMES),
    "pandas of mixed columns": lambda values: pd.DataFrame(values, columns=NAMES).assign(note="text"),
    "polars": lambda values: pl.from_arrow(table_of(values)),
    "whole numbers": lambda values: table_of(values).set_column(
        2, "c", pa.array(values[:, 2], pa.float64()).cast(pa.uint16())
    ),
}


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 16, "full": True}], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_frame_teaches_the_same(form, options):
    values = matrix()
    values[7, 0] = values[11, 3] = math.nan
    if form == "whole numbers":
        values = np.abs(values)
    assert learnt(FORMS[form](values), **options) == learnt(table_of(values), **options)


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_frame_is_answered_the_same(form):
    mixture = model()
    mixture.learn_many(matrix(seed=2))
    values = matrix()
    frame = FORMS[form](values)
    expected = mixture.predict_proba_many(values)
    assert type(expected) is np.ndarray
    assert expected.shape == (N, 3)
    proba = mixture.predict_proba_many(frame)
    assert isinstance(proba, type(frame))
    if isinstance(proba, (pa.Table, pa.RecordBatch)):
        proba = np.stack([column.to_numpy() for column in proba.columns], axis=1)
    assert np.array_equal(np.asarray(proba), expected)
    for method in (mixture.predict_many, mixture.score_many, mixture.log_density_many):
        plain = method(values)
        assert type(plain) is np.ndarray
        assert plain.shape == (N,)
        assert np.array_equal(np.asarray(method(frame)), plain)
    ingested = mixture.clone().ingest(frame)
    assert np.array_equal(ingested.log_density, mixture.clone().ingest(values).log_density)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int32(), pa.int64(), pa.uint8(), pa.bool_()], ids=str)
@pytest.mark.parametrize("offset", [0, 1, 7, 8, 13])
def test_nulls_of_a_slice_are_missing(batch_size, kind, offset):
    """And what lies beneath a null is never looked at."""
    rng = np.random.default_rng(4)
    numbers = rng.integers(0, 2, size=N + 20)
    null = rng.random(N + 20) < 0.3
    values = pa.array(numbers).cast(kind)
    beneath = values.to_numpy(zero_copy_only=False).copy()
    if kind in (pa.float64(), pa.float32()):
        beneath[null] = -np.inf
    column = pa.array(beneath, kind)
    masked = pa.Array.from_buffers(
        kind, N + 20, [pa.array(~null).buffers()[1], column.buffers()[1]], null_count=int(null.sum())
    )
    other = rng.normal(size=N + 20)
    sliced = pa.table({"c": masked, "a": other}).slice(offset, N)
    plain = np.where(null, np.nan, numbers)[offset : offset + N]
    expected = pa.table({"c": plain, "a": other[offset : offset + N].copy()})
    assert learnt(sliced, batch_size=batch_size) == learnt(expected, batch_size=batch_size)
    one = model(batch_size)
    for c, a in zip(plain.tolist(), other[offset : offset + N].tolist(), strict=True):
        one.learn_one({"c": None if math.isnan(c) else c, "a": a})
    assert learnt(sliced, batch_size=batch_size) == state_of(one)


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 50}, {"batch_size": 16, "full": True}], ids=str)
def test_chunks_of_a_table_make_no_difference(options):
    values = matrix()
    values[3, 1] = values[200, 2] = math.nan
    table = table_of(values)
    rng = np.random.default_rng(5)
    cuts = {name: np.sort(rng.integers(0, N, size=5)) for name in NAMES}
    chunked = pa.table({name: pa.chunked_array(np.split(table[name].to_numpy(), cuts[name])) for name in NAMES})
    assert chunked["a"].num_chunks == 6
    assert learnt(chunked, **options) == learnt(table, **options)
    assert learnt(chunked.slice(17), **options) == learnt(table.slice(17), **options)
    mixture = model(**options)
    assert mixture.score_many(chunked).equals(mixture.score_many(table))
    trace, other = sm.batch.fit(mixture.clone(), chunked), sm.batch.fit(mixture.clone(), table)
    assert trace.log_likelihood == other.log_likelihood


@pytest.mark.parametrize("row", [0, 63, 64, 150, N - 1])
@pytest.mark.parametrize(("column", "value"), [(0, np.inf), (1, -1e71), (2, 2.5), (2, -1.0), (3, 0.0), (3, -np.inf)])
def test_a_bad_cell_is_refused_by_name_and_row(row, column, value):
    values = matrix()
    values[row, column] = value
    values[min(row + 1, N - 1), 3] = -7.0
    if row == N - 1:
        values[row, 3] = value if column == 3 else values[0, 3]
    mixture = model()
    mixture.learn_many(matrix(seed=9)[:20])
    before = state_of(mixture)
    chunks = pa.concat_tables([table_of(values[:100]), table_of(values[100:])])
    for frame in (values, np.asfortranarray(values), table_of(values), chunks, pd.DataFrame(values, columns=NAMES)):
        with pytest.raises(RecordError, match=f"row {row}: field '{NAMES[column]}': expected .*, got ") as refusal:
            mixture.learn_many(frame)
        assert refusal.value.row == row
        assert refusal.value.field == NAMES[column]
        assert repr(float(value)) in str(refusal.value)
        assert state_of(mixture) == before
        assert mixture.n_seen == 20


@pytest.mark.parametrize("method", ["learn_many", "predict_many", "predict_proba_many", "score_many", "ingest"])
def test_arrays_without_names_need_declared_fields(method):
    inferred = sm.Mixture(2, warm_up=50)
    with pytest.raises(RecordError, match="declare the model's fields"):
        getattr(inferred, method)(matrix())
    inferred.learn_many(table_of(matrix()))
    with pytest.raises(RecordError, match="declare the model's fields"):
        getattr(inferred, method)(matrix())
    with pytest.raises(RecordError, match="expected an array of 4 columns, one a field, got 3"):
        getattr(model(), method)(matrix()[:, :3])
    with pytest.raises(RecordError, match="two dimensions"):
        getattr(model(), method)(matrix()[:, 0])
    with pytest.raises(RecordError, match="field 'a': expected an array of numbers, got one of complex128"):
        getattr(model(), method)(matrix().astype(complex))


def test_arrays_warm_up_and_are_fitted():
    fields = {"a": sm.Normal(), ("b", "d"): sm.MultivariateNormal(), "c": sm.Categorical()}
    values = matrix()
    values[5, 0] = math.nan
    named = pa.table({name: values[:, j].copy() for j, name in enumerate(["a", "b", "d", "c"])})
    named = named.set_column(0, "a", pa.array(values[:, 0], from_pandas=True))
    pair = [sm.Mixture(2, fields=fields, warm_up=100, seed=3) for _ in range(2)]
    values = values[:, [0, 1, 2, 3]]
    values[:, 3] = np.floor(values[:, 3])
    named = named.set_column(3, "c", pa.array(values[:, 3]))
    pair[0].learn_many(values)
    pair[1].learn_many(named)
    assert state_of(pair[0]) == state_of(pair[1])
    fits = [sm.batch.fit(mixture, frame, max_iter=5) for mixture, frame in zip(pair, (values, named), strict=True)]
    assert fits[0].log_likelihood == fits[1].log_likelihood


def test_reused_frames_are_read_anew():
    """Frames of another schema in between, and columns in another order."""
    table = table_of(matrix())
    mixture, other = model(), model()
    wide = pa.table({f"x{i}": pa.array(["text"] * N) for i in range(9)} | dict(zip(NAMES, table.columns, strict=True)))
    others = table.select(["d", "a", "c", "b"]), table.append_column("more", table["a"]), wide
    for frame in (table, *others, table):
        mixture.learn_many(frame)
        other.learn_many(table)
    assert state_of(mixture) == state_of(other)
    with pytest.raises(RecordError, match="names a column twice"):
        mixture.learn_many(pa.Table.from_arrays([table["a"], table["b"], table["a"]], names=["a", "b", "a"]))
    with pytest.raises(RecordError, match="none of the model's fields"):
        mixture.learn_many(pa.table({"x": [1.0]}))


@pytest.mark.parametrize("batch_size", [1, 16])
def test_bad_rows_of_an_array_are_left_out(batch_size):
    values = matrix()
    values[3, 2], values[77, 0], values[78, 3] = 0.5, np.inf, math.nan
    array, records = model(batch_size), model(batch_size)
    got, expected = array.ingest(values), records.ingest(table_of(values).to_pylist())
    assert [row for row, _ in got.rejected] == [row for row, _ in expected.rejected] == [3, 77]
    assert [str(why) for _, why in got.rejected] == [str(why) for _, why in expected.rejected]
    assert np.array_equal(got.responsibilities, expected.responsibilities)
    assert state_of(array) == state_of(records)


def test_threads_may_ask_at_once():
    mixture, values = model(), matrix(5000)
    expected = mixture.score_many(values)
    found = []
    threads = [threading.Thread(target=lambda: found.append(mixture.score_many(values))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(scores, expected) for scores in found)


def log_kept(step, start, first, n):
    """log prod(1 - gamma_i) over n records."""
    u = (np.longdouble(start) + first + np.arange(n)) / start
    gamma = u ** -np.longdouble(step[1]) / start if step[0] == 0 else np.full(n, step[1], np.longdouble)
    with np.errstate(divide="ignore"):
        return np.log1p(-np.minimum(gamma, 1)).sum()


@pytest.mark.parametrize("start", [0.4, 3.0, 100.0, 4000.0])
@pytest.mark.parametrize("step", [(0, 0.6), (0, 0.501), (0, 0.9), (0, 1.0), (1, 1e-9), (1, 0.3)], ids=str)
def test_the_step_of_a_mini_batch_is_compounded(step, start):
    """1 - prod(1 - gamma_i), one by one in long doubles."""
    state = blank([("normal", [0], 1, False, None)], 1, 0.0)
    state.starts[:] = start
    for clock, n in ((0, 1), (0, 40), (0, 700), (0, 5000), (450, 100), (10_000, 256), (10_000, 2000), (10**7, 3000)):
        state.clocks[:] = clock
        engine = Engine([("normal", [0], 1, False, None)], state, step)
        gamma, total = engine.compounded(Table([np.zeros(n)]), 0, n)
        expected = -np.expm1(log_kept(step, start, clock + 1, n))
        assert total[0] == n
        assert abs(gamma[0] - expected) < 1e-14 * expected
        ones = engine.compounded(Table([np.zeros(n)]), 0, n, np.ones(n))
        assert ones[0][0] == gamma[0]
        assert ones[1][0] == n


_LARGE = """
import resource
import numpy as np, pyarrow as pa
import streammix as sm

names = [f"x{j}" for j in range(10)]
fields = [{name: sm.Normal(m, 1.0) for name in names} for m in (-1.0, 1.0)]
models = [sm.Mixture(components=fields, batch_size=size) for size in (1, 1000)]
values = np.zeros((1_000_000, 10))
values[:] = np.linspace(-2, 2, 10)
table = pa.table({name: values.reshape(10, -1)[j] for j, name in enumerate(names)})
for model in models:
    model.learn_many(values[:1000])
    model.learn_many(table.slice(0, 1000))
before, pool = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, pa.total_allocated_bytes()
for model in models:
    model.learn_many(values)
    model.learn_many(table)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, pa.total_allocated_bytes() - pool)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux")
def test_large_frames_are_not_copied():
    done = subprocess.run([sys.executable, "-c", _LARGE], check=True, capture_output=True, text=True)
    kilobytes, pool = map(int, done.stdout.split())
    assert kilobytes < 8_000  # what one column takes
    assert pool < 1_000_000


@pytest.mark.parametrize("width", [3, 4, 9, 21])
@pytest.mark.parametrize("layout", ["C", "strided", "float32", "shifted"])
def test_an_array_whose_rows_lie_together_is_read_as_its_columns_are(layout: str, width: int) -> None:
    """And so are its gaps; what is out of bounds is refused wherever it is."""
    rng = np.random.default_rng(width)
    rows = rng.normal(size=(333, width)).astype(np.float32).astype(float)
    rows[rng.random(rows.shape) < 0.002] = np.nan
    model = sm.Mixture(components=[{f"x{j}": sm.Normal(k, 1.0) for j in range(width)} for k in (0.0, 1.0)])
    wide = np.full((333, width + 5), np.inf)
    wide[:, 2 : 2 + width] = rows
    given = {"C": rows, "strided": wide[:, 2 : 2 + width], "float32": rows.astype(np.float32)}.get(layout)
    if given is None:
        given = np.empty(rows.nbytes + 1, dtype=np.uint8)[1:].view(float).reshape(rows.shape)
        given[...] = rows
    columns = pa.table({f"x{j}": rows[:, j].copy() for j in range(width)})
    np.testing.assert_array_equal(model.score_many(given), model.score_many(columns))
    for place in [(0, 0), (332, width - 1), (200, width // 2)]:
        bad = given.copy()
        bad[place] = np.inf
        with pytest.raises(sm.RecordError) as refusal:
            model.score_many(bad)
        assert (refusal.value.row, refusal.value.field) == (place[0], f"x{place[1]}")


def test_run_end_encoded_columns_are_their_values() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 6], pa.int32()), pa.array([1.5, None, -2.0]))
    plain = pa.table({"a": [1.5, 1.5, None, -2.0, -2.0, -2.0], "b": ["x"] * 6})
    coded = pa.table({"a": runs, "b": pa.RunEndEncodedArray.from_arrays(pa.array([6], pa.int32()), pa.array(["x"]))})
    for parts in ([coded], [coded.slice(0, 1), coded.slice(1, 3).to_batches()[0], coded.slice(4)]):
        fields = {"a": sm.Normal(0, 1), "b": sm.Categorical({"x": 0.5, "y": 0.5})}
        one, other = (sm.Mixture(components=[fields, {"a": sm.Normal(2, 1), "b": fields["b"]}], seed=1) for _ in "ab")
        one.learn_many(plain)
        for part in parts:
            other.learn_many(part)
        assert state_of(one) == state_of(other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None, "a"], "field 'x': expected a column of values of one type, got 'a' beside 1.0"),
        ([True, 2, 3.5], "field 'x': expected a column of values of one type, got 2 beside True"),
        ([None, 1, [2]], r"field 'x': expected a column of values of one type, got \[2\] beside 1"),
        ([1, 10**400], "field 'x': expected whole numbers below 2\\*\\*64 in a column, got 1000"),
    ],
)
def test_a_column_of_several_types_is_told_by_its_values(values, message) -> None:
    mixture = sm.Mixture(components=[{"x": sm.Normal(0, 1)}], seed=1)
    before = state_of(mixture)
    with pytest.raises(RecordError, match=message):
        mixture.learn_many(pd.DataFrame({"x": pd.Series(values, dtype=object)}))
    assert state_of(mixture) == before
