"""One record at a time, from a dict: against reading its fields and doing nothing else, and against river."""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import data, peers
from benchmarks.harness import Budget, Missing, Row, Side, compare, each

__all__ = ["BENCHMARKS"]

Record = data.Record
Benchmark = Callable[[Budget], list[Row]]


def _floor(records: Sequence[Record]) -> Side:
    """The least that any model in Python does: look up the same fields in the dict."""
    return Side("operator.itemgetter", each(operator.itemgetter(*records[0]), records))


def _nothing(x: Record) -> None:
    """A call that does nothing."""


def _learn(shape: data.Shape, D: int, K: int, aim: float | None, budget: Budget) -> list[Row]:
    drawn = data.truth(D, K)
    records = data.records(drawn.rows)
    ours = Side("learn_one", each(data.model(shape, drawn).learn_one, records))
    others = [_floor(records), Side("a no-op call", each(_nothing, records))]
    fields = f"{D} Normal fields" if shape == "diagonal" else f"full covariance of {D} fields"
    return compare(budget, f"learn_one, {fields}, K={K}", ours, others, aims=[aim])


def _learn_mixed(budget: Budget) -> list[Row]:
    records, drawn = data.mixed_records(5), data.truth(10, 5)
    ours = Side("learn_one", each(data.mixed_model(5, records[:1_000]).learn_one, records))
    normals = Side(
        "learn_one, 10 Normal fields", each(data.model("diagonal", drawn).learn_one, data.records(drawn.rows))
    )
    return compare(budget, "learn_one, ten mixed fields, K=5", ours, [_floor(records), normals], aims=[5.0, 2.0])


def _answers(budget: Budget) -> list[Row]:
    drawn = data.truth(10, 5)
    records = data.records(drawn.rows)
    model = data.model("diagonal", drawn)
    others = [_floor(records)]
    rows: list[Row] = []
    for method, aim in (("predict_proba_one", 3.0), ("predict_one", None), ("score_one", None)):
        ours = Side(method, each(getattr(model, method), records))
        rows += compare(budget, f"{method}, 10 Normal fields, K=5", ours, others, aims=[aim])
    return rows


def _answers_of_peers(budget: Budget) -> list[Row]:
    drawn = data.truth(10, 5)
    records = data.records(drawn.rows)
    labels = _labels(drawn)
    model = data.model("diagonal", drawn)
    ours = {method: Side(method, each(getattr(model, method), records)) for method in _ANSWERS}
    means, bayes, trees = peers.river_answers(records, labels)
    job = "{}, 10 Normal fields, K=5"
    proba = [bayes, _sklearn_one(drawn, records)]
    return [
        *compare(budget, job.format("predict_proba_one"), ours["predict_proba_one"], proba, "speed-up"),
        *compare(budget, job.format("predict_one"), ours["predict_one"], [means], "speed-up"),
        *compare(budget, job.format("score_one"), ours["score_one"], [trees], "speed-up"),
    ]


_ANSWERS = ("predict_proba_one", "predict_one", "score_one")


def _sklearn_one(drawn: data.Truth, records: Sequence[Record]) -> Side | Missing:
    peer = peers.sklearn_mixture("diagonal", drawn)
    if peer is None:
        return Missing("scikit-learn predict_proba", "scikit-learn")

    def answer(x: Record) -> None:
        peer.predict_proba([list(x.values())])

    return Side("scikit-learn predict_proba", each(answer, records))


def _learn_of_peers(budget: Budget) -> list[Row]:
    drawn = data.truth(10, 5)
    records = data.records(drawn.rows)
    ours = Side("learn_one", each(data.model("diagonal", drawn).learn_one, records))
    others = peers.river_learn(records, _labels(drawn))
    return compare(budget, "learn_one, 10 Normal fields, K=5", ours, others, "speed-up")


def _labels(drawn: data.Truth) -> list[int]:
    gaps = drawn.rows[:, None, :] - drawn.means
    labels: list[int] = (gaps**2).sum(axis=2).argmin(axis=1).tolist()
    return labels


def _kinds(budget: Budget) -> list[Row]:
    """Each kind of number against floats of the same values, and a missing field against a full record."""
    drawn = data.truth(10, 5)
    whole = np.round(drawn.rows * 3)
    kinds: dict[str, tuple[Any, Any]] = {
        "ints": (whole, int),
        "bools": ((drawn.rows > 0).astype(float), bool),
        "numpy.float64": (drawn.rows, np.float64),
        "numpy.float32": (drawn.rows.astype(np.float32).astype(float), np.float32),
        "numpy.int64": (whole, np.int64),
    }
    rows: list[Row] = []
    for kind, (values, cast) in kinds.items():
        floats = data.records(values)
        same = [{key: cast(value) for key, value in x.items()} for x in floats]
        sides = [
            Side(name, each(data.model("diagonal", drawn).learn_one, records))
            for name, records in ((kind, same), ("floats", floats))
        ]
        rows += compare(budget, f"learn_one, 10 Normal fields given as {kind}", sides[0], [sides[1]], aims=[1.5])
    full = data.records(drawn.rows)
    gaps = [{key: value for j, (key, value) in enumerate(x.items()) if (i + j) % 10} for i, x in enumerate(full)]
    ours = Side("gaps", each(data.model("diagonal", drawn).learn_one, gaps))
    peer = Side("full records", each(data.model("diagonal", drawn).learn_one, full))
    return rows + compare(budget, "learn_one, one of 10 Normal fields missing", ours, [peer])


def _keys(budget: Budget) -> list[Row]:
    """Keys that are equal to the declared ones without being the same objects."""
    drawn = data.truth(10, 5)
    identical = data.records(drawn.rows)
    own = [_copied(key) for key in identical[0]]
    as_csv = [dict(zip(own, x.values(), strict=True)) for x in identical]
    as_json = [{_copied(key): value for key, value in x.items()} for x in identical]
    kinds = {
        "one other object a key, as from csv.DictReader": (as_csv, 1.05),
        "new objects in every record, as from json.loads": (as_json, None),
    }
    rows: list[Row] = []
    for kind, (records, aim) in kinds.items():
        ours = Side("equal keys", each(data.model("diagonal", drawn).learn_one, records))
        peer = Side("identical keys", each(data.model("diagonal", drawn).learn_one, identical))
        note = "the aim is 1, with 5 % for the noise" if aim else "not cached: each key is hashed and looked up"
        rows += compare(budget, f"learn_one, 10 Normal fields; {kind}", ours, [peer], aims=[aim], note=note)
    return rows


def _copied(key: str) -> str:
    """An equal string that is another object."""
    return "".join(list(key))


def _weights(budget: Budget) -> list[Row]:
    drawn = data.truth(10, 5)
    records = data.records(drawn.rows)
    weighted, plain = data.model("diagonal", drawn), data.model("diagonal", drawn)
    ours = Side("with w=2.0", each(lambda x: weighted.learn_one(x, w=2.0), records))
    peer = Side("without", each(lambda x: plain.learn_one(x), records))
    return compare(budget, "learn_one with a weight, 10 Normal fields, K=5", ours, [peer])


def _negligible(budget: Budget) -> list[Row]:
    """500 components that lie far apart: one responds to a record, the others should cost next to nothing."""
    few, many = data.truth(20, 5, distance=60), data.truth(20, 500, distance=60)
    ours, peer = (
        Side(f"K={len(drawn.means)}", each(data.model("full", drawn).learn_one, data.records(drawn.rows)))
        for drawn in (many, few)
    )
    note = "in proportion to K it would be 100"
    job = "learn_one, full covariance of 20 fields, components far apart, K=500"
    return compare(budget, job, ours, [peer], note=note)


_SHAPES = ((2, 3), (5, 7), (20, 30), (32, 16))

BENCHMARKS: dict[str, Benchmark] = {
    "record.learn.normal": partial(_learn, "diagonal", 10, 5, 2.0),
    "record.learn.full": partial(_learn, "full", 10, 5, 3.0),
    "record.learn.mixed": _learn_mixed,
    **{f"record.learn.normal.{D}x{K}": partial(_learn, "diagonal", D, K, None) for D, K in _SHAPES},
    **{f"record.learn.full.{D}x{K}": partial(_learn, "full", D, K, None) for D, K in _SHAPES},
    "record.answer": _answers,
    "record.kinds": _kinds,
    "record.keys": _keys,
    "record.weights": _weights,
    "record.negligible": _negligible,
    "peers.learn": _learn_of_peers,
    "peers.answer": _answers_of_peers,
}
