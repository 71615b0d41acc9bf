"""Law 4: a refused record changes nothing, and the error names the field, the value and what was expected."""

import math
from typing import Any

import numpy as np
import pytest
from laws import BLOCKS, draw_records, explicit, state_of, table_of

import streammix as sm

ALL = sorted(BLOCKS)
GOOD = draw_records(ALL, 60, np.random.default_rng(0))

#: What the error must say was expected of each field.
EXPECTED = {
    "height": "a finite number",
    "lat": "a finite number",
    "lon": "a finite number",
    "amount": "a positive number",
    "wait": "a number, 0 or more",
    "items": "a whole number, 0 or more",
    "returned": "0 or 1",
    "heads": "a whole number from 0 to 10",
    "country": "a string",
    "noise": "a finite number",
}
BAD_CELLS: list[tuple[str, Any]] = [
    ("height", "tall"),
    ("height", "1.5"),
    ("height", [1.0]),
    ("height", {"cm": 170}),
    ("height", 1 + 2j),
    ("height", object()),
    ("height", math.inf),
    ("height", -math.inf),
    ("height", np.float64("inf")),
    ("height", 10**400),
    ("lat", "north"),
    ("lon", math.inf),
    ("amount", 0.0),
    ("amount", 0),
    ("amount", -0.0),
    ("amount", -3.5),
    ("amount", math.inf),
    ("amount", "12 EUR"),
    ("wait", -0.001),
    ("wait", math.inf),
    ("wait", "soon"),
    ("items", -1),
    ("items", 2.5),
    ("items", math.inf),
    ("items", "three"),
    ("items", 10**400),
    ("returned", 2),
    ("returned", -1),
    ("returned", 0.5),
    ("returned", "yes"),
    ("heads", 11),
    ("heads", -1),
    ("heads", 4.5),
    ("heads", "ten"),
    ("country", ["de"]),
    ("country", {"code": "de"}),
    ("country", 0.5),
    ("noise", "loud"),
    ("noise", math.inf),
]
BAD_RECORDS: list[tuple[Any, str]] = [
    ({}, "empty"),
    ({1: 2.0}, "string"),
    ({"height": 1.0, 7: 2.0}, "string"),
    ({None: 1.0}, "string"),
    ({("lat", "lon"): 1.0}, "string"),
    (None, "dict"),
    ([1.0, 2.0], "dict"),
    ("height", "dict"),
    (3.0, "dict"),
]


def models() -> dict[str, sm.Mixture]:
    """A model at each stage: untouched, inside its warm-up, inside a mini-batch, and well under way."""
    declared = {BLOCKS[name].key: BLOCKS[name].unlearnt for name in ALL}
    made = {
        "explicit start, untouched": explicit(ALL, 2),
        "warm-up, first record": sm.Mixture(n_components=2, fields=declared, warm_up=50, seed=1),
        "inside the warm-up": sm.Mixture(n_components=2, fields=declared, warm_up=50, seed=1),
        "the record that would end the warm-up": sm.Mixture(n_components=2, fields=declared, warm_up=50, seed=1),
        "inside a mini-batch": explicit(ALL, 2, batch_size=8),
        "the record that would fill a mini-batch": explicit(ALL, 2, batch_size=8),
        "under way": sm.Mixture(n_components=2, fields=declared, warm_up=20, averaging=True, seed=1),
    }
    n_learnt = [0, 0, 30, 49, 11, 15, 60]
    for model, n in zip(made.values(), n_learnt, strict=True):
        for x in GOOD[:n]:
            model.learn_one(x)
    return made


@pytest.fixture(scope="module")
def stages() -> dict[str, tuple[sm.Mixture, Any]]:
    """Each stage and its state; no test here may change either, so they can share them."""
    return {name: (model, state_of(model)) for name, model in models().items()}


def brief(value: Any) -> str:
    """A test's name that is the same in every process."""
    return "an object" if type(value) is object else repr(value)[:20]


@pytest.mark.parametrize(("field", "value"), BAD_CELLS, ids=brief)
def test_a_bad_cell_is_named_and_nothing_moves(stages: Any, field: str, value: Any) -> None:
    for stage, (model, before) in stages.items():
        with pytest.raises(sm.RecordError) as caught:
            model.learn_one(GOOD[0] | {field: value})
        message = str(caught.value)
        assert field in message, stage
        assert caught.value.field == field, stage
        assert shortened(value) in message, (stage, message)
        expected = EXPECTED[field]
        if field == "country" and ("mini-batch" in stage or "explicit" in stage):
            expected = "one of 'de', 'fr', 'it'"  # levels that were given with their probabilities are all there are
        assert expected in message, (stage, message)
        assert state_of(model) == before, stage


def shortened(value: Any) -> str:
    """How a value is recognised in a message: its repr, or the beginning of a long one."""
    if isinstance(value, np.floating):
        return str(float(value))
    return repr(value)[:6] if isinstance(value, int) else repr(value)[:20]


@pytest.mark.parametrize(("record", "expected"), BAD_RECORDS, ids=brief)
def test_a_bad_record_is_refused_whole(stages: Any, record: Any, expected: str) -> None:
    for stage, (model, before) in stages.items():
        with pytest.raises(sm.RecordError, match=expected):
            model.learn_one(record)
        assert state_of(model) == before, stage


def test_a_number_too_long_to_print_is_refused_like_any_other(stages: Any) -> None:
    """Python itself refuses to print a whole number of more than 4,300 digits."""
    for stage, (model, before) in stages.items():
        for field in ("height", "items", "heads", "noise"):
            with pytest.raises(sm.RecordError, match=field):
                model.learn_one(GOOD[0] | {field: 10**5000})
        assert state_of(model) == before, stage


@pytest.mark.parametrize("bad_last", [False, True])
def test_good_cells_beside_a_bad_one_are_not_learnt(stages: Any, bad_last: bool) -> None:
    """Whichever cell is read first."""
    bad = {"heads": 11}
    record = GOOD[0] | bad if bad_last else bad | {k: v for k, v in GOOD[0].items() if k != "heads"}
    for stage, (model, before) in stages.items():
        with pytest.raises(sm.RecordError, match=r"heads.*11"):
            model.learn_one(record)
        assert state_of(model) == before, stage


@pytest.mark.parametrize("w", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_weight_is_refused(stages: Any, w: Any) -> None:
    for stage, (model, before) in stages.items():
        with pytest.raises(sm.RecordError, match="weight"):
            model.learn_one(GOOD[0], w=w)
        with pytest.raises(sm.RecordError, match="weight"):
            model.learn_many(table_of(GOOD[:3]), w=[1.0, w, 1.0])
        assert state_of(model) == before, stage


@pytest.mark.parametrize("w", ["2", [1.0]], ids=repr)
def test_a_weight_that_is_no_number_is_a_type_error(stages: Any, w: Any) -> None:
    for stage, (model, before) in stages.items():
        with pytest.raises((TypeError, sm.RecordError)):
            model.learn_one(GOOD[0], w=w)
        assert state_of(model) == before, stage


def test_no_weight_is_a_weight_of_one(stages: Any) -> None:
    for model, _ in stages.values():
        plain, weighted = model.clone(), model.clone()
        for x in GOOD:
            plain.learn_one(x)
            weighted.learn_one(x, w=None)
        assert state_of(weighted) == state_of(plain)


@pytest.mark.parametrize("how", ["predict_proba_one", "predict_one", "score_one", "log_density_one"])
def test_scoring_refuses_the_same_records(stages: Any, how: str) -> None:
    for stage in ("explicit start, untouched", "under way"):
        model, before = stages[stage]
        for field, value in BAD_CELLS:
            with pytest.raises(sm.RecordError, match=field):
                getattr(model, how)(GOOD[0] | {field: value})
        assert state_of(model) == before


BAD_COLUMNS = [
    ("height", math.inf),
    ("lon", -math.inf),
    ("amount", 0.0),
    ("wait", -2.0),
    ("items", -1),
    ("heads", 11),
    ("returned", 2),
]


@pytest.mark.parametrize(("field", "value"), BAD_COLUMNS, ids=brief)
@pytest.mark.parametrize("as_pandas", [False, True])
def test_a_table_with_a_bad_row_is_refused_whole(stages: Any, field: str, value: Any, as_pandas: bool) -> None:
    """No row is learnt, not even those before the bad one, and the error says which row it was."""
    rows = [dict(x) for x in GOOD[:20]]
    if field == "returned":
        rows = [row | {"returned": int(row["returned"])} for row in rows]
    rows[13][field] = value
    table = table_of(rows)
    for stage, (model, before) in stages.items():
        with pytest.raises(sm.RecordError, match=field) as caught:
            model.learn_many(table.to_pandas() if as_pandas else table)
        assert caught.value.field == field
        assert caught.value.row == 13, stage
        assert state_of(model) == before, stage


def test_a_column_of_the_wrong_type_is_refused(stages: Any) -> None:
    table = table_of(GOOD[:20])
    at = table.column_names.index("height")
    wrong = table.set_column(at, "height", [[str(v) for v in table.column("height").to_pylist()]])
    for stage, (model, before) in stages.items():
        with pytest.raises(sm.RecordError, match="height"):
            model.learn_many(wrong)
        assert state_of(model) == before, stage


def test_ingest_refuses_bad_records_one_by_one_and_learns_the_rest() -> None:
    bad = {
        3: {"heads": 11},
        4: {"amount": 0.0},
        17: {"items": -1},
        30: {"height": math.inf},
        31: {"country": ["de"]},
    }
    rows = [x | bad.get(i, {}) for i, x in enumerate(GOOD)]
    empty = 45
    rows[empty] = {}
    for name, model in models().items():
        if model.n_seen:
            continue
        expected = model.clone()
        for i, x in enumerate(GOOD):
            if i not in bad and i != empty:
                expected.learn_one(x)
        result = model.ingest(rows)
        assert [i for i, _ in result.rejected] == [*bad, empty], name
        assert [e.field for _, e in result.rejected] == [*(next(iter(v)) for v in bad.values()), None], name
        assert all(isinstance(e, sm.RecordError) for _, e in result.rejected)
        assert result.rows.tolist() == [i for i in range(60) if i not in bad and i != empty], name
        assert len(result.responsibilities) == len(result.log_density) == len(result.rows)
        assert state_of(model) == state_of(expected), name


def test_ingest_of_a_table_refuses_the_same_rows() -> None:
    rows = [dict(x) for x in GOOD]
    rows[5]["heads"], rows[40]["wait"], rows[59]["amount"] = 11, -1.0, -1.0
    by_table = explicit(ALL, 2, batch_size=4)
    by_dicts = by_table.clone()
    of_table, of_dicts = by_table.ingest(table_of(rows)), by_dicts.ingest(rows)
    assert [(i, e.field) for i, e in of_table.rejected] == [(5, "heads"), (40, "wait"), (59, "amount")]
    assert [str(e) for _, e in of_table.rejected] == [str(e) for _, e in of_dicts.rejected]
    assert of_table.rows.tolist() == of_dicts.rows.tolist()
    assert state_of(by_table) == state_of(by_dicts)


def test_inferred_fields_refuse_what_they_cannot_be() -> None:
    """Nothing is declared yet, but a list or an infinity is no value of any kind of field."""
    model = sm.Mixture(n_components=2, warm_up=10, seed=0)
    model.learn_one({"a": 1.0, "b": "x"})
    before = state_of(model)
    for bad in (
        {"a": [1.0]},
        {"a": {"b": 1}},
        {"a": math.inf},
        {"a": object()},
        {"a": 1j},
        {"a": b"x"},
        {},
        {3: 1.0},
    ):
        with pytest.raises(sm.RecordError):
            model.learn_one(bad)
        assert state_of(model) == before, bad


def test_a_refused_record_leaves_no_trace_later() -> None:
    """Refusals between good records: the state at the end is that of the good records alone."""
    for name, clean in models().items():
        if clean.n_seen:
            continue
        dirty = clean.clone()
        for i, x in enumerate(GOOD):
            for field, value in BAD_CELLS[i % 5 :: 5]:
                with pytest.raises(sm.RecordError):
                    dirty.learn_one(x | {field: value})
            clean.learn_one(x)
            dirty.learn_one(x)
        assert state_of(dirty) == state_of(clean), name


def test_numbers_of_other_types_are_numbers() -> None:
    """The check of the checks: NumPy's scalars, ints, bools and whole floats are taken."""
    model = explicit(ALL, 2)
    same = model.clone()
    plain = {"height": 1.0, "amount": 2.0, "items": 3, "heads": 4, "returned": True}
    model.learn_one(plain)
    same.learn_one(
        {
            "height": np.float64(1),
            "amount": np.float32(2),
            "items": np.int64(3),
            "heads": 4.0,
            "returned": np.bool_(True),
        }
    )
    assert state_of(model) == state_of(same)
