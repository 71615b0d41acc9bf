"""Everything that a JSON document can hold, in every kind of field and by every door: understood by the rules of
docs/records.md, or refused by a sentence; a refusal changes nothing."""

import json
import math
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from laws import bits
from scipy import stats

import streammix as sm
from streammix.core.values import short
from streammix.pipeline.decode import decode_json
from streammix.pipeline.flow import Batch

HUGE = 10**400
LONG = "x" * 10_001
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "0": 0,
    "7": 7,
    "-1": -1,
    "0.5": 0.5,
    "-0.0": -0.0,
    "1e-320": 1e-320,
    "1e71": 1e71,
    "1e300": 1e300,
    "whole beyond doubles": HUGE,
    "whole of 5,000 digits": 10**5_000,
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
    "number as text": "12.5",
    "empty text": "",
    "text": "de",
    "NUL": "\x00",
    "time": "2026-01-31T09:30",
    "date": "2026-01-31",
    "clock": "09:30",
    "half a surrogate pair": "\ud800",
    "halves of a pair apart": "\ud83d\ude00",
    "long text": LONG,
    "list": [1.0],
    "empty list": [],
    "object": {"a": 1},
    "empty object": {},
    "nested": [{"a": [[[]]]}],
}
ALWAYS = {"null", "NaN"}
UNIT = {"true", "false", "0", "-0.0"}
SMALL = {"true", "false", "0", "7", "-1", "0.5", "-0.0", "1e-320"}
COUNTS = UNIT | {"7"}
POSITIVE = {"true", "7", "0.5", "1e-320"}
TEXTS = {"number as text", "empty text", "text", "NUL", "time", "date", "clock", "half a surrogate pair"}
DECLARED: dict[str, tuple[Any, Any, set[str]]] = {  # field: family, a good value, what is understood
    "normal": (sm.Normal(), 1.0, SMALL),
    "student": (sm.StudentT(), 1.0, SMALL),
    "lat": (None, 1.0, SMALL),
    "lon": (None, 1.0, SMALL),
    "lognormal": (sm.LogNormal(), 1.0, POSITIVE | {"1e71", "1e300"}),
    "gamma": (sm.Gamma(), 1.0, POSITIVE),
    "beta": (sm.Beta(), 0.4, {"0.5", "1e-320"}),
    "exponential": (sm.Exponential(), 1.0, POSITIVE | UNIT),
    "poisson": (sm.Poisson(), 1, COUNTS),
    "negative": (sm.NegativeBinomial(), 1, COUNTS),
    "red": (None, 1, COUNTS),
    "green": (None, 2, COUNTS),
    "bernoulli": (sm.Bernoulli(), 1, UNIT),
    "binomial": (sm.Binomial(10), 3, COUNTS),
    "angle": (sm.VonMises(period=360), 30.0, SMALL | {"1e71", "1e300"}),
    "hour": (sm.VonMises(period="day"), 3.0, (SMALL - {"-1"}) | {"time", "clock"}),
    "weekday": (sm.VonMises(period="week"), 3.0, (SMALL - {"-1"}) | {"time", "date"}),
    "inflated": (sm.ZeroInflated(family=sm.Poisson()), 1, COUNTS),
    "uniform": (sm.Uniform(-2, 9), 1.0, SMALL),
    "level": (sm.Categorical(), "de", TEXTS | {"true", "false", "0", "7", "-1", "-0.0", "1e71", "1e300"}),
    "fixed": (sm.Fixed(stats.norm()), 1.0, SMALL),
}
INFERRED: dict[str, tuple[Any, Any, set[str]]] = {
    "number": (None, 1.5, SMALL),
    "flag": (None, True, UNIT),
    "word": (None, "de", TEXTS),
}


def good(fields, i=0):
    """A record that is fine; record i of a stream."""
    rng = np.random.default_rng(i)
    record = {
        name: value * rng.uniform(0.5, 1.5) if type(value) is float else value for name, (_, value, _) in fields.items()
    }
    return record | ({"word": ("de", "fr")[i % 2], "flag": i % 2 == 0} if "word" in fields else {})


def declared():
    families: dict[Any, Any] = {name: family for name, (family, _, _) in DECLARED.items() if family is not None}
    model = sm.Mixture(
        n_components=2,
        fields={**families, ("lat", "lon"): sm.MultivariateNormal(), ("red", "green"): sm.Multinomial()},
        warm_up=40,
        batch_size=4,
        seed=1,
    )
    for i in range(50):
        model.learn_one(good(DECLARED, i))
    return model


def inferred():
    model = sm.Mixture(n_components=2, warm_up=40, seed=1)
    for i in range(50):
        model.learn_one(good(INFERRED, i))
    return model


MODELS = {"declared": (declared, DECLARED), "inferred": (inferred, INFERRED)}


@pytest.fixture(scope="module")
def fresh():
    """Models that are adopted anew from their snapshot for each case."""
    made = {name: (make(), make()) for name, (make, _) in MODELS.items()}
    return {name: (model, first._snapshot()) for name, (model, first) in made.items()}


def held(model):
    """All that a model is."""
    snapshot = model._snapshot()
    states = [state.arrays() for state in (snapshot.state, snapshot.average) if state is not None]
    rest = {name: value for name, value in vars(snapshot).items() if name not in ("state", "average")}
    return bits([states, rest["levels"], rest["pending"], rest["buffer"], rest["new_fields"], rest["n_seen"]])


def by_one(model, record):
    model.learn_one(record)


def by_many(model, record):
    model.learn_many(pa.table({name: pa.array([value]) for name, value in record.items()}))


def by_list(model, record):
    for _, error in model.ingest([record]).rejected:
        raise error


def by_frame(model, record):
    for _, error in model.ingest(pa.table({name: pa.array([value]) for name, value in record.items()})).rejected:
        raise error


def by_pipeline(model, record):
    batch = decode_json(Batch("stdin", np.array([0]), texts=[json.dumps(record).encode()]))
    if batch.refused:
        raise sm.RecordError(batch.refused[0].reason)
    by_list(model, batch.records[0])


DOORS = {door.__name__: door for door in (by_one, by_many, by_list, by_frame, by_pipeline)}
NO_JSON = {"NaN", "Infinity", "-Infinity", "half a surrogate pair", "whole beyond doubles", "whole of 5,000 digits"}


def fits_arrow(value):
    try:
        return not isinstance(pa.array([value]), pa.ChunkedArray) and pa.array([value]).to_pylist() == [value]
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return value != value


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("what", VALUES)
def test_each_value_in_each_field(fresh, what, door):
    value = VALUES[what]
    if door in ("by_many", "by_frame") and not fits_arrow(value):
        pytest.skip("Arrow has no such value")
    if door == "by_pipeline" and what in ("whole of 5,000 digits", "halves of a pair apart"):
        pytest.skip("JSON as Python writes it has no such value")
    for name, (model, snapshot) in fresh.items():
        fields = MODELS[name][1]
        model._adopt(snapshot)
        before = held(model)
        for field, (_, _, understood) in fields.items():
            is_fine = what in understood | ALWAYS and not (door == "by_pipeline" and what in NO_JSON)
            if is_fine:
                DOORS[door](model, good(fields) | {field: value})
                assert model.n_seen == snapshot.n_seen + 1, field
                assert np.isfinite(model.weights).all(), field
                model._adopt(snapshot)
                continue
            with pytest.raises(sm.RecordError) as caught:
                DOORS[door](model, good(fields) | {field: value})
            assert held(model) == before, field
            message = str(caught.value)
            if door == "by_pipeline" and what in NO_JSON:
                assert message.startswith(f"field {field!r}: expected "), message
                continue
            shown = short(value)
            assert f"field {field!r}: expected " in message, message
            assert f"got {shown}" in message or (door != "by_one" and "got" in message), message
            assert caught.value.field == field


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("value", [1e71, 10**400, -1e300], ids=["1e71", "10**400", "-1e300"])
@pytest.mark.parametrize(("field", "limit"), [("normal", 70), ("lat", 50), ("red", 70), ("fixed", 70), ("number", 70)])
def test_a_number_too_large_is_told_the_limit(fresh, field, limit, value, door):
    if door in ("by_many", "by_frame") and not fits_arrow(value):
        pytest.skip("Arrow has no such value")
    for name, (model, snapshot) in fresh.items():
        if field in MODELS[name][1]:
            model._adopt(snapshot)
            with pytest.raises(sm.RecordError, match=rf"of a magnitude up to 1e\+{limit}, got"):
                DOORS[door](model, good(MODELS[name][1]) | {field: value})


def as_arrow(record):
    return {name: pa.scalar(value) for name, value in record.items()}


@pytest.mark.parametrize("name", MODELS)
def test_scalars_of_arrow_are_their_values(name):
    """In the warm-up and after it, of levels, numbers, times and fields that are new, and where they are null."""
    make, fields = MODELS[name]
    models = make(), make()
    records = [good(fields, i) for i in range(30)]
    records[5:8] = [{"late": 2.0} | records[5], {"late": "x"} | records[6], {"late": None} | records[7]]
    if name == "inferred":
        models = tuple(sm.Mixture(n_components=2, warm_up=15, seed=1) for _ in range(2))
        records[6] = {"late": 2.5} | records[7]
    else:
        records[3]["hour"], records[4]["weekday"] = datetime(2026, 1, 31, 9, 30), datetime(2026, 1, 31)
    for record in records:
        gone = next(iter(record))
        for x in (record, record | {gone: None}):
            models[0].learn_one(x)
            models[1].learn_one(as_arrow(x))
    assert held(models[0]) == held(models[1])
    field = "lat" if name == "declared" else "number"
    gap = records[0] | {field: None}
    assert models[1].impute_one(as_arrow(gap))[field] == models[0].impute_one(gap)[field]


@pytest.mark.parametrize("door", ["by_one", "by_list"])
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "the record is empty"),
        ([1, 2], "a record must be a dict of fields, not"),
        ("text", "a record must be a dict of fields, not 'text'"),
        (None, "a record must be a dict of fields, not None"),
        (7, "a record must be a dict of fields, not 7"),
        ({1: 2.0}, "a field's name must be a string, not 1"),
        ({None: 2.0}, "a field's name must be a string, not None"),
        ({b"x": 2.0}, "a field's name must be a string, not b'x'"),
        ({"unknown": None}, "none of the model's fields"),
    ],
    ids=repr,
)
def test_what_is_no_record(fresh, record, message, door):
    for model, snapshot in fresh.values():
        model._adopt(snapshot)
        before = held(model)
        with pytest.raises(sm.RecordError, match=message):
            DOORS[door](model, record)
        assert held(model) == before


def test_names_of_any_text_are_fields():
    model = sm.Mixture(n_components=2, warm_up=10, seed=1)
    for i in range(20):
        model.learn_one({"": float(i), " a.b ": float(i % 3), "größe\n": i % 2 == 0})
    assert model.infer_summary() == {",  a.b ": "MultivariateNormal()", "größe\n": "Bernoulli()"}


def test_of_a_key_that_stands_twice_the_last_counts():
    batch = decode_json(Batch("stdin", np.array([0]), texts=[b'{"normal": "x", "normal": 2.5}']))
    assert batch.records == [{"normal": 2.5}]


def test_a_bad_value_beside_good_ones_leaves_none_of_them():
    """Half a record is never learnt, whichever field comes first."""
    model = inferred()
    before = held(model)
    records: list[dict[str, Any]] = [
        {"word": "new level", "number": "x"},
        {"number": "x", "word": "new level"},
        {"late": 1.0, "word": "other", "number": []},
        {"number": 1.0, "late": HUGE, "word": "third"},
    ]
    for record in records:
        with pytest.raises(sm.RecordError):
            model.learn_one(record)
        assert [index for index, _ in model.ingest([record]).rejected] == [0]
        assert held(model) == before


def test_numbers_that_may_become_joint_are_smaller_until_they_are_not():
    """An inferred field may be one of a group until the warm-up is over."""
    model = sm.Mixture(n_components=1, warm_up=20, seed=1)
    with pytest.raises(sm.RecordError, match="1e\\+50"):
        model.learn_one({"x": 1e60})
    for i in range(20):
        model.learn_one({"x": 1e50 * (i / 20)})
    model.learn_one({"x": 1e60})
    assert math.isfinite(model.score_one({"x": 1e60}))


def test_a_score_is_never_minus_zero():
    for model in (sm.Mixture(), sm.AutoMixture(), sm.Mixture(components=[{"x": sm.Bernoulli(1.0)}])):
        scores = [model.score_one({"x": 1}), *model.score_many(pa.table({"x": [1]})).to_pylist()]
        assert [(score, math.copysign(1.0, score)) for score in scores] == [(0.0, 1.0)] * 2
