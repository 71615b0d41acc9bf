"""How a record is read: the shortcuts for keys seen before and for plain numbers give what the long way gives."""

import collections
import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from laws import bits, state_of

import streammix as sm
from streammix.core.reader import Reader
from streammix.schema import LARGEST_JOINT, Schema

NUMPY = [np.dtype(code).type for code in "efdgbhilqBHILQ?"]
BAD_TYPES = ["1", b"1", 1j, np.complex64(1), np.str_("1"), np.datetime64("2020-01-01"), np.timedelta64(3, "s"), [1.0]]
LARGE = {
    "int64": np.int64(-(2**63)),
    "uint64": np.uint64(2**64 - 1),
    "int8": np.int8(-128),
    "float32": np.float32(0.1),
    "float64": np.float64(1e70),
}


class Real(float):
    def __float__(self):
        return 99.0


class Whole(int):
    pass


class Text(str):
    __slots__ = ()


def reader_of(**families: Any) -> Reader:
    return Schema([{(name,): family for name, family in families.items()}]).reader


def read_alone(x: dict, **families: Any) -> bytes:
    """The row of a record, read by a reader that has seen no other."""
    return reader_of(**families).row(x)[0].tobytes()


def another(text: str) -> str:
    """An equal string that is another object."""
    return "".join(list(text))


@pytest.mark.parametrize("kind", NUMPY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("number", [0, 1])
def test_numpy_numbers_are_read_as_they_are(kind, number):
    reader = reader_of(x=sm.Normal(), y=sm.Poisson(), z=sm.Bernoulli())
    for _ in range(2):
        row, unseen = reader.row(dict.fromkeys("xyz", kind(number)))
        assert row.tolist() == [number] * 3
        assert unseen == []


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_numpy_numbers_keep_their_digits(value):
    assert reader_of(x=sm.Normal()).row({"x": value})[0][0] == float(value)


@pytest.mark.parametrize(
    "value",
    [-1, -1.0, 2**60, -(2**200), True, False, Real(2.5), Whole(7), Decimal("1.5"), Fraction(-1), np.array(2.0)]
    + [kind(-1) for kind in NUMPY if np.dtype(kind).kind in "if"],
    ids=repr,
)
def test_numbers_of_every_type(value):
    wanted = float.__float__(value) if isinstance(value, float) else float(value)
    assert reader_of(x=sm.Normal()).row({"x": value})[0][0] == wanted


@pytest.mark.parametrize(
    "value",
    [None, math.nan, Real("nan"), Decimal("nan"), pd.NA, pd.NaT, np.ma.masked]
    + [kind("nan") for kind in NUMPY if np.dtype(kind).kind == "f"],
    ids=repr,
)
@pytest.mark.parametrize("family", [sm.Normal(), sm.LogNormal(), sm.Poisson(), sm.Bernoulli()], ids=repr)
def test_what_is_missing_is_nan(family, value):
    row, unseen = reader_of(x=family, y=sm.Normal()).row({"x": value, "y": 1.0})
    assert np.isnan(row[0])
    assert row[1] == 1.0
    assert unseen == []


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, 1.1e70, -1.1e70, 10**71, 10**400, -(10**400), Real("inf"), Decimal("inf"), np.array([1.0])]
    + [np.array("1"), object(), *BAD_TYPES]
    + [kind("-inf") for kind in NUMPY if np.dtype(kind).kind == "f"],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_refused_at_any_place(value):
    reader = reader_of(a=sm.Normal(), x=sm.Normal(), b=sm.Normal())
    good = {"a": 1.0, "x": 2.0, "b": 3.0}
    for _ in range(3):
        with pytest.raises(sm.RecordError, match="field 'x': expected a finite number") as refusal:
            reader.row({**good, "x": value})
        assert refusal.value.field == "x"
        assert reader.row(good)[0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, np.float16, np.longdouble, Real, Decimal])
def test_bounds_hold_for_every_type(kind):
    families = {"count": sm.Poisson(), "amount": sm.LogNormal(), "wait": sm.Exponential(), "yes": sm.Bernoulli()}
    for name, bad in {"count": 2.5, "amount": 0.0, "wait": -0.5, "yes": 2.0}.items():
        with pytest.raises(sm.RecordError, match=f"field '{name}'"):
            reader_of(**families).row({name: kind(bad)})
    row, _ = reader_of(**families).row({name: kind(1.0) for name in families})
    assert row.tolist() == [1.0, 0.0, 1.0, 1.0]


def test_joint_fields_have_their_own_bound():
    reader = Schema([{("x", "y"): sm.MultivariateNormal()}]).reader
    assert reader.row({"x": LARGEST_JOINT, "y": 1})[0].tolist() == [LARGEST_JOINT, 1.0]
    for value in (1.1 * LARGEST_JOINT, np.float64(2 * LARGEST_JOINT), 10**51):
        with pytest.raises(sm.RecordError, match="'y'"):
            reader.row({"x": 1.0, "y": value})


def test_a_field_of_several_columns():
    schema = Schema([{("x",): sm.Normal(), ("y",): sm.Normal()}, {("x",): sm.Poisson(), ("y",): sm.Normal()}])
    row, _ = schema.reader.row({"y": 1.0, "x": np.float32(2.5)})
    assert sorted(row.tolist()) == [1.0, 2.5, math.inf]
    row, _ = schema.reader.row({"x": True, "y": None})
    assert sorted(row[~np.isnan(row)].tolist()) == [1.0, 1.0]


def test_keys_in_any_order_and_of_any_identity():
    """Orders, gaps, unknown fields and key objects change from record to record, and stay as they are for a while."""
    rng = random.Random(1)
    names = [f"f{i}" for i in range(12)] + ["é", "ключ", "😀", "a longer name than the others"]
    families = dict.fromkeys(names, sm.Normal())
    reader = reader_of(**families)
    shared = [another(name) for name in names]
    for _ in range(400):
        order = list(range(len(names)))
        if rng.random() < 0.4:
            rng.shuffle(order)
        for _ in range(rng.choice([1, 1, 2, 3])):
            x = {}
            for i in order:
                if rng.random() < 0.1:
                    continue
                if rng.random() < 0.1:
                    x[f"g{rng.randrange(9)}"] = "unknown"
                make = rng.choice([lambda i: names[i], lambda i: shared[i], lambda i: another(names[i])])
                key = make(i)
                x[Text(key) if rng.random() < 0.03 else np.str_(key) if rng.random() < 0.03 else key] = rng.gauss(0, 1)
            if x:
                assert reader.row(x)[0].tobytes() == read_alone(x, **families)


@pytest.mark.parametrize("make", [lambda name: name, another], ids=["the same keys", "new keys"])
def test_a_gap_now_and_then(make):
    names = [f"f{i}" for i in range(40)]
    reader = reader_of(**dict.fromkeys(names, sm.Normal()))
    for gap in [*range(0, 40, 7), 39, 0]:
        for left_out in ({}, {gap}, {gap, (gap + 1) % 40}, set(range(gap, min(gap + 15, 40)))):
            row, _ = reader.row({make(name): i for i, name in enumerate(names) if i not in left_out})
            assert [i for i in range(40) if np.isnan(row[i])] == sorted(left_out)
            assert all(row[i] == i for i in range(40) if i not in left_out)


def test_records_wider_than_the_reader_remembers():
    reader = reader_of(x=sm.Normal(), y=sm.Normal())
    wide = {"x": 1.0} | {f"g{i}": i for i in range(5_000)} | {"y": 2.0}
    for x in (wide, dict(reversed(wide.items())), wide, {"y": 2.0, "x": 1.0}, wide):
        assert reader.row(x)[0].tolist() == [1.0, 2.0]


def test_keys_that_are_gone():
    """Short strings are made and freed at the same addresses; an address must not stand for what lay there before."""
    names = [f"name{i}" for i in range(8)]
    reader = reader_of(**dict.fromkeys(names, sm.Normal()))
    rng = random.Random(2)
    for _ in range(300):
        chosen = rng.sample(names, 4)
        row, _ = reader.row({another(name): i for i, name in enumerate(chosen)})
        assert {names[i]: row[i] for i in np.flatnonzero(~np.isnan(row))} == dict(zip(chosen, range(4), strict=True))


def test_readers_share_keys_and_dicts_change():
    one, two = reader_of(x=sm.Normal(), y=sm.Normal()), reader_of(y=sm.Normal(), z=sm.Normal())
    x = {"x": 1.0, "y": 2.0, "z": 3.0}
    for value in range(3):
        x["y"] = value
        assert one.row(x)[0].tolist() == [1.0, value]
        assert two.row(x)[0].tolist() == [value, 3.0]
    del x["x"]
    assert two.row(x)[0].tolist() == [2, 3.0]
    assert np.isnan(one.row(x)[0][0])
    x["x"] = np.float32(4)
    assert one.row(x)[0].tolist() == [4.0, 2.0]


def test_a_value_that_reads_another_record():
    names = [f"f{i}" for i in range(6)]
    reader = reader_of(**dict.fromkeys(names, sm.Normal()))

    class Nosy:
        def __float__(self):
            for _ in range(3):
                reader.row({another(name): 0.0 for name in reversed(names)})
            return 5.0

    for _ in range(4):
        row, _ = reader.row({name: Nosy() if name == "f4" else 1.0 for name in names})
        assert row.tolist() == [1.0, 1.0, 1.0, 1.0, 5.0, 1.0]


def test_an_unknown_value_that_reads_another_record():
    names = [f"f{i}" for i in range(6)]
    reader = reader_of(**dict.fromkeys(names, sm.Normal()))
    reader.look_out(frozenset(), {}, ())

    class Nosy:
        def as_py(self):
            reader.row({"f0": 0.0} | {f"g{i}": 0.0 for i in range(200)})

    for _ in range(4):
        row, _ = reader.row(dict.fromkeys(names[:3], 1.0) | {"new": Nosy()} | dict.fromkeys(names[3:], 2.0))
        assert row.tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def test_records_of_several_kinds_take_turns():
    names = [f"f{i}" for i in range(200)]
    reader = reader_of(**dict.fromkeys(names, sm.Normal()))
    for turn in range(20):
        kinds = [dict.fromkeys(names[kind::50], turn) for kind in range(50)]  # more than there are places for
        for x in kinds:
            row, _ = reader.row(x)
            assert {name: value for name, value in zip(names, row, strict=True) if value == value} == x


@pytest.mark.parametrize("key", [1, None, ("x",), 2.0])
def test_a_key_that_is_no_string_is_refused_after_others_were_read(key):
    reader = reader_of(x=sm.Normal(), y=sm.Normal())
    for _ in range(2):
        reader.row({"x": 1.0, "y": 2.0})
        with pytest.raises(sm.RecordError, match="a field's name must be a string"):
            reader.row({"x": 1.0, key: 2.0})


def test_records_without_any_field_are_refused():
    reader = reader_of(x=sm.Normal(), y=sm.Normal())
    for _ in range(2):
        with pytest.raises(sm.RecordError, match="has none of the model's fields: 'x', 'y'"):
            reader.row({"z": 1.0})
        with pytest.raises(sm.RecordError, match="the record is empty"):
            reader.row({})
        assert np.isnan(reader.row({"x": None})[0]).all()


def test_of_many_fields_a_refusal_names_the_first():
    fields = {f"field{i:03}": sm.Normal() for i in range(300)}
    with pytest.raises(sm.RecordError, match=r"fields: 'field000', .*'field009' and 290 more$"):
        reader_of(**fields).row({"z": 1.0})
    model = sm.Mixture(components=[dict.fromkeys(fields, sm.Normal(0, 1))])
    with pytest.raises(sm.RecordError, match=r"fields: 'field000', .*'field009' and 290 more$"):
        model.learn_many(pa.table({"z": [1.0]}))


def test_levels_of_every_type():
    schema = Schema([{("x",): sm.Categorical()}])
    keys = ["a", ("int", 1), ("bool", True), ("null", None), ("int", 10**20)]
    schema.set_levels("x", keys)
    texts, numbers = ["a", Text("a"), np.str_("a")], [1, 1.0, Whole(1), np.int8(1), np.float64(1)]
    missing = [None, math.nan, pd.NA, np.float32("nan")]
    for code, values in enumerate([texts, numbers, [True, np.True_], missing, [10**20, 1e20]]):
        for value in values:
            row, unseen = schema.reader.row({"x": value})
            assert (row[0], unseen) == (code, [])
    assert schema.reader.row({"x": 2})[1] == [(0, ("int", 2))]
    assert schema.reader.row({"x": False})[1] == [(0, ("bool", False))]
    for bad in (10**300, -(10**300), 0.5, b"a", ["a"]):
        with pytest.raises(sm.RecordError, match="field 'x'"):
            schema.reader.row({"x": bad})


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_types_of_numbers_make_no_difference(batch_size):
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 2, size=(300, 4))
    kinds = [float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_]

    def learnt(make):
        fields = {"a": sm.Normal(), "b": sm.Normal(), "c": sm.Poisson(), "d": sm.Bernoulli()}
        model = sm.Mixture(2, fields=fields, warm_up=60, batch_size=batch_size, seed=1)
        for i, row in enumerate(rows):
            model.learn_one({another(name): make(i)(value) for name, value in zip("abcd", row, strict=True)})
        return state_of(model)

    wanted = learnt(lambda i: float)
    for kind in kinds:
        assert learnt(lambda i, kind=kind: kind) == wanted
    assert learnt(lambda i: kinds[i % len(kinds)]) == wanted


@pytest.fixture
def warm() -> sm.Mixture:
    model = sm.Mixture(2, fields={"x": sm.Normal()}, warm_up=20, seed=1)
    for i in range(30):
        model.learn_one({"x": i % 7})
    return model


@pytest.mark.parametrize("w", ["2", [1.0], 1j, 10**400, 0, -1.0, math.nan, math.inf, False], ids=repr)
def test_a_weight_that_is_no_positive_number_is_refused(warm, w):
    before = state_of(warm)
    for model in (warm, sm.Mixture(2, fields={"x": sm.Normal()})):
        with pytest.raises(sm.RecordError, match="a record's weight must be a positive number"):
            model.learn_one({"x": 1.0}, w=w)
        with pytest.raises(sm.RecordError, match="a record's weight must be a positive number"):
            model.learn_one({"x": 1.0}, w)
    assert state_of(warm) == before


@pytest.mark.parametrize("w", [2, np.float32(2), np.int64(2), Decimal(2), Fraction(2)], ids=repr)
def test_a_weight_of_any_type(warm, w):
    other = sm.Mixture._restore(warm._snapshot())
    warm.learn_one({"x": 1.0}, w=w)
    other.learn_one({"x": 1.0}, 2.0)
    assert state_of(warm) == state_of(other)


def test_answers_are_dicts_of_their_own(warm):
    answer = warm.predict_proba_one({"x": 1.0})
    again = warm.predict_proba_one({"x": 1.0})
    assert list(answer) == [0, 1]
    assert answer == again
    answer[0] = "changed"
    answer["more"] = 1.0
    del answer[1]
    assert warm.predict_proba_one({"x": 1.0}) == again


@pytest.mark.parametrize("n_components", [1, 2, 7, 30])
def test_answers_that_are_kept_stay_as_they_are(n_components):
    """Whole answers, single numbers of them, copies of them, the last one or none: whatever is kept keeps its value."""
    components = [{"x": sm.Normal(mean=3.0 * k, variance=4.0)} for k in range(n_components)]
    model, plain = sm.Mixture(components=components, seed=1), sm.Mixture(components=components, seed=1)
    rng = random.Random(1)
    kept: list[tuple[Any, Any]] = []
    answer = None
    for _ in range(500):
        x = {"x": rng.gauss(0, 3 * n_components)}
        _, responsibilities = plain._engine.expect(np.array([x["x"]]))
        wanted = responsibilities.copy()
        answer = model.predict_proba_one(x)
        assert list(answer) == list(range(n_components))
        assert np.array(list(answer.values())).tobytes() == wanted.tobytes()
        k = rng.randrange(n_components)
        kept.append(rng.choice([(answer, dict(enumerate(wanted))), (answer[k], wanted[k]), (1, 1), (1, 1), (1, 1)]))
        if rng.random() < 0.3:
            answer = None
        if rng.random() < 0.05:
            kept = kept[-3:]
        assert all(found == expected for found, expected in kept)


@pytest.mark.parametrize(
    "kind", [collections.OrderedDict, lambda x: collections.defaultdict(int, x)], ids=["ordered", "default"]
)
@pytest.mark.parametrize("make", [sm.Mixture, sm.AutoMixture])
@pytest.mark.parametrize("timed", [False, True])
def test_a_dict_of_another_kind_is_a_record(kind, make, timed):
    forgets = {"step_size" if make is sm.Mixture else "drift": sm.HalfLife("1h", field="at")} if timed else {}
    fields = {"x": sm.Normal(), "level": sm.Categorical()}
    plain, other = (make(n_components=2, fields=fields, warm_up=20, seed=1, **forgets) for _ in range(2))
    for i in range(40):
        x = {"x": float(i % 7), "level": "abc"[i % 3], "at": 60 * i}
        plain.learn_one(x)
        other.ingest([kind(x)]) if i % 3 == 0 else other.learn_one(kind(x))
        assert other.predict_proba_one(kind(x)) == plain.predict_proba_one(x)
    assert bits(state_of(other)) == bits(state_of(plain))
