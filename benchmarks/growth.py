"""How the cost of a record grows with components, fields, vocabulary, batch size and threads."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import streammix as sm
from benchmarks import data
from benchmarks.harness import Budget, Point, Side, each, measure, repeat

__all__ = ["CURVES"]

Curve = Callable[[Budget], list[Point]]

BOTH: tuple[data.Shape, data.Shape] = ("diagonal", "full")


def _points(
    budget: Budget,
    panel: str,
    axis: str,
    curve: str,
    sides: dict[int, Side],
    clock: Callable[[], float] = time.process_time,
) -> list[Point]:
    """Measure the points of a curve in turn."""
    costs = measure(budget, list(sides.values()), clock)
    kind = "wall" if clock is time.perf_counter else "CPU"
    return [Point(panel, axis, curve, x, statistics.median(c), clock=kind) for x, c in zip(sides, costs, strict=True)]


def _chosen(budget: Budget, values: list[int]) -> list[int]:
    return values[:2] if budget.is_quick else values


def _learning(drawn: data.Truth, shape: data.Shape) -> Side:
    return Side("", each(data.model(shape, drawn).learn_one, data.records(drawn.rows)))


def _components(budget: Budget) -> list[Point]:
    points: list[Point] = []
    for distance, how in ((3.0, "close together"), (60.0, "far apart")):
        for shape in BOTH:
            sides = {
                K: _learning(data.truth(10, K, distance=distance), shape)
                for K in _chosen(budget, [1, 2, 4, 8, 16, 32, 64, 128, 256, 500])
            }
            points += _points(budget, "learn_one, D=10", "components K", f"{shape}, {how}", sides)
    return points


def _fields(budget: Budget) -> list[Point]:
    points: list[Point] = []
    for shape in BOTH:
        sides = {D: _learning(data.truth(D, 5), shape) for D in _chosen(budget, [1, 2, 4, 8, 16, 32, 64, 128])}
        points += _points(budget, "learn_one, K=5", "fields D", shape, sides)
    return points


def _vocabulary(budget: Budget) -> list[Point]:
    """A model of two categorical fields alone."""
    sides = {}
    for n_levels in _chosen(budget, [2, 10, 100, 1_000, 10_000]):
        fields: dict[Any, Any] = {"level0": sm.Categorical(), "level1": sm.Categorical()}
        records = [
            {name: f"level {(i * step) % n_levels}" for name, step in zip(fields, (7, 11), strict=True)}
            for i in range(max(data.N_RECORDS, n_levels))
        ]
        model = sm.Mixture(5, fields=fields, warm_up=len(records), seed=1)
        for x in records:
            model.learn_one(x)
        sides[n_levels] = Side("", each(model.learn_one, records[: data.N_RECORDS]))
    return _points(budget, "learn_one, two categorical fields, K=5", "levels", "categorical", sides)


def _batch_sizes(budget: Budget) -> list[Point]:
    points: list[Point] = []
    for shape in BOTH:
        drawn = data.truth(8, 8, 16_384)
        table = data.table(drawn.rows)
        sides = {}
        for size in _chosen(budget, [1, 4, 16, 64, 256, 1_024, 4_096, 16_384]):
            model = data.model(shape, drawn, batch_size=size, step_size=data.STILL)
            sides[size] = Side("", repeat(partial(model.learn_many, table)), table.num_rows)
        points += _points(budget, "learn_many, D=8, K=8", "batch size", shape, sides)
    return points


def _threads(budget: Budget) -> list[Point]:
    """Wall time; on a busy machine this shows little more than that threads do no harm."""
    points: list[Point] = []
    for shape in BOTH:
        drawn = data.truth(32, 16, 20_000)
        table = data.table(drawn.rows)
        sides = {
            n: Side("", repeat(partial(data.iterate, data.model(shape, drawn), table, 2, n)), 2 * table.num_rows)
            for n in _chosen(budget, [1, 2, 4])
        }
        points += _points(budget, "batch.fit, D=32, K=16 (wall time)", "threads", shape, sides, time.perf_counter)
    return points


CURVES: dict[str, Curve] = {
    "growth.components": _components,
    "growth.fields": _fields,
    "growth.vocabulary": _vocabulary,
    "growth.batch_size": _batch_sizes,
    "growth.threads": _threads,
}
