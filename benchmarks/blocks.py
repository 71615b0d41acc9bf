"""Blocks of 2,000 rows and whole EM iterations, against scikit-learn and pomegranate; mixed records against stepmix."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

import streammix as sm
from benchmarks import data, peers
from benchmarks.harness import Budget, Missing, Row, Side, compare, repeat
from streammix.core.engine import level_name
from streammix.errors import ConfigError

__all__ = ["BENCHMARKS"]

Benchmark = Callable[[Budget], list[Row]]

SHAPES = ((2, 3), (8, 8), (32, 16), (16, 64))
AIMS = {("diagonal", 8, 8): 8.0, ("full", 8, 8): 8.0, ("diagonal", 32, 16): 3.5, ("full", 32, 16): 7.0}
CHUNK = peers.CHUNK
ITERATIONS = 5


def _job(what: str, shape: str, D: int, K: int) -> str:
    return f"{what}, {'diagonal' if shape == 'diagonal' else 'full covariance'}, D={D}, K={K}"


def _responding(model: sm.Mixture, rows: pa.Table) -> str:
    """How many of all responsibilities are large enough to count."""
    proba = model.predict_proba_many(rows)
    share = np.mean([np.asarray(column) > 1e-17 for column in proba.columns])
    return f"{share:.0%} of the responsibilities count"


@contextmanager
def _level(name: str | None) -> Iterator[None]:
    """Build models for one instruction set."""
    before = os.environ.get("STREAMMIX_LEVEL")
    if name:
        os.environ["STREAMMIX_LEVEL"] = name
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("STREAMMIX_LEVEL", None)
        else:
            os.environ["STREAMMIX_LEVEL"] = before


def _mini_batch(shape: data.Shape, D: int, K: int, budget: Budget, level: str | None = None) -> list[Row]:
    """A mini-batch of 2,000 rows learnt from an Arrow table, through the public method."""
    drawn = data.truth(D, K)
    with _level(level):
        model = data.model(shape, drawn, batch_size=CHUNK, step_size=data.STILL)
    rows = data.table(drawn.rows)
    ours = Side("learn_many", repeat(partial(model.learn_many, rows)), CHUNK)
    others = [peers.sklearn_step(shape, drawn), peers.pomegranate_step(shape, drawn)]
    what = "mini-batch of 2,000" + (f" without {_LACKING[level]}" if level else "")
    aims = [(_AIMS_BELOW if level else AIMS).get((shape, D, K))]
    note = _responding(model, rows)
    return compare(budget, _job(what, shape, D, K), ours, others[: 1 if level else 2], "speed-up", aims, note=note)


_LACKING = {"v1": "AVX2", "v3": "AVX-512"}
_AIMS_BELOW = dict.fromkeys(AIMS, 1.0)


def _lower_level(level: str, shape: data.Shape, D: int, K: int, budget: Budget) -> list[Row]:
    try:
        level_name(level)
    except ConfigError as error:
        return [Row(_job(f"mini-batch of 2,000, level {level}", shape, D, K), None, note=str(error))]
    return _mini_batch(shape, D, K, budget, level)


def _iteration(shape: data.Shape, D: int, K: int, budget: Budget) -> list[Row]:
    """An iteration of batch EM over 20,000 rows; the peers take them in chunks of 2,000."""
    drawn = data.truth(D, K, 10 * CHUNK)
    model = data.model(shape, drawn)
    rows = data.table(drawn.rows)
    fit = partial(data.iterate, model, rows, ITERATIONS)
    ours = Side("batch.fit", repeat(fit), ITERATIONS * len(drawn.rows))
    others = [peers.sklearn_step(shape, drawn), peers.pomegranate_step(shape, drawn)]
    aim = AIMS.get((shape, D, K))
    fit()
    note = _responding(model, rows)
    return compare(budget, _job("EM iteration over 20,000", shape, D, K), ours, others, "speed-up", [aim], note=note)


def _answers(budget: Budget) -> list[Row]:
    """The E-step alone: responsibilities and log densities of 2,000 rows."""
    rows: list[Row] = []
    for shape in _BOTH:
        for D, K in ((8, 8), (32, 16)):
            drawn = data.truth(D, K)
            table = data.table(drawn.rows)
            model = data.model(shape, drawn)
            peer = peers.sklearn_mixture(shape, drawn)
            for ours, theirs in (("predict_proba_many", "predict_proba"), ("score_many", "score_samples")):
                own = Side(ours, repeat(partial(getattr(model, ours), table)), CHUNK)
                name = f"scikit-learn {theirs}"
                other: Side | Missing = Missing(name, "scikit-learn")
                if peer is not None:
                    other = Side(name, repeat(partial(getattr(peer, theirs), drawn.rows)), CHUNK)
                rows += compare(budget, _job(f"{ours} of 2,000", shape, D, K), own, [other], "speed-up")
    return rows


_BOTH: tuple[data.Shape, data.Shape] = ("diagonal", "full")


def _inputs(budget: Budget) -> list[Row]:
    """The same rows in other containers, against an Arrow table of float64 columns."""
    drawn = data.truth(8, 8)
    plain = data.table(drawn.rows)
    narrow = pa.table({name: pa.array(plain[name].to_numpy().astype(np.float32)) for name in plain.column_names})
    null = np.arange(CHUNK) % 100 == 7
    gaps = pa.table({name: pa.array(plain[name].to_numpy(), mask=null) for name in plain.column_names})
    forms: dict[str, Any] = {
        "float32 columns": narrow,
        "columns with 1 % nulls": gaps,
        "a RecordBatch": plain.to_batches()[0],
        "a C-ordered array": np.ascontiguousarray(drawn.rows),
        "an F-ordered array of float32": np.asfortranarray(drawn.rows.astype(np.float32)),
    }
    pandas, polars = peers.found("pandas"), peers.found("polars")
    if pandas is not None:
        matrix = np.ascontiguousarray(drawn.rows)
        forms["a pandas frame over a C-ordered matrix"] = pandas.DataFrame(matrix, columns=data.names(8))
    if polars is not None:
        forms["a polars frame"] = polars.from_arrow(plain)
    rows: list[Row] = []
    for form, frame in forms.items():
        models = [data.model("diagonal", drawn, batch_size=CHUNK, step_size=data.STILL) for _ in range(2)]
        ours = Side(form, repeat(partial(models[0].learn_many, frame)), CHUNK)
        peer = Side("an Arrow table", repeat(partial(models[1].learn_many, plain)), CHUNK)
        rows += compare(budget, f"mini-batch of 2,000 from {form}, diagonal, D=8, K=8", ours, [peer])
    return rows


def _mixed(budget: Budget) -> list[Row]:
    """Ten fields of three families, as stepmix has them, from the same table."""
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {f"normal{i}": rng.normal(size=CHUNK) for i in range(5)}
    columns |= {f"flag{i}": rng.integers(2, size=CHUNK) for i in range(3)}
    columns |= {f"level{i}": rng.integers(20, size=CHUNK) for i in range(2)}
    fields: dict[Any, Any] = {name: _FAMILIES[name.rstrip("0123456789")] for name in columns}
    table = pa.table(columns)
    model = sm.Mixture(5, fields=fields, warm_up=1_000, batch_size=CHUNK, seed=1)
    model.learn_many(table)
    measurement = {
        "normal": {"model": "gaussian_diag", "n_columns": 5},
        "flag": {"model": "binary", "n_columns": 3},
        "level": {"model": "categorical", "n_columns": 2},
    }
    other = peers.stepmix_step(np.column_stack(list(columns.values())).astype(float), measurement, 5)
    ours = Side("learn_many", repeat(partial(model.learn_many, table)), CHUNK)
    job = "mini-batch of 2,000, 5 Normal, 3 Bernoulli, 2 Categorical of 20, K=5"
    return compare(budget, job, ours, [other], "speed-up")


_FAMILIES = {"normal": sm.Normal(), "flag": sm.Bernoulli(), "level": sm.Categorical()}

BENCHMARKS: dict[str, Benchmark] = {
    **{f"batch.{shape}.{D}x{K}": partial(_mini_batch, shape, D, K) for shape in _BOTH for D, K in SHAPES},
    **{f"em.{shape}.{D}x{K}": partial(_iteration, shape, D, K) for shape in _BOTH for D, K in SHAPES},
    **{
        f"level.{level}.{shape}.{D}x{K}": partial(_lower_level, level, shape, D, K)
        for level in ("v3", "v1")
        for shape in _BOTH
        for D, K in ((8, 8), (32, 16))
    },
    "batch.mixed": _mixed,
    "batch.answers": _answers,
    "batch.inputs": _inputs,
}
