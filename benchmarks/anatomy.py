"""Where the time of a record goes: parts measured by leaving the others out."""

from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from benchmarks import data
from benchmarks.harness import Budget, Row, Side, each, measure, repeat
from streammix.core.table import Table

__all__ = ["BENCHMARKS"]

Benchmark = Callable[[Budget], list[Row]]


def _record(shape: data.Shape, D: int, K: int, budget: Budget) -> list[Row]:
    """A record from a dict: the call, reading, the kernel, the answer."""
    drawn = data.truth(D, K)
    records = data.records(drawn.rows)
    columns = Table([np.ascontiguousarray(drawn.rows[:, j]) for j in range(D)])
    models = [data.model(shape, drawn) for _ in range(4)]
    engine = data.engine_of(models[0])
    sides = [
        Side("", each(lambda x: None, records)),
        Side("", repeat(lambda: engine.learn_rows(columns, 0, columns.n_rows, None, None, None)), len(records)),
        Side("", each(models[1].learn_one, records)),
        Side("", each(models[2].predict_one, records)),
        Side("", each(models[3].predict_proba_one, records)),
    ]
    call, kernel, learn, predict, answer = (median(costs) for costs in measure(budget, sides))
    reading = learn - kernel - call
    learnt = {"a call": call, "reading the dict": reading, "E-step, step and M-step": kernel}
    answered = {"a call": call, "reading the dict": reading, "E-step": predict - reading - call}
    what = f"{'diagonal' if shape == 'diagonal' else 'full covariance'}, D={D}, K={K}"
    return [
        *_parts(f"learn_one, {what}", learn, learnt),
        *_parts(f"predict_proba_one, {what}", answer, answered | {"the dict of the answer": answer - predict}),
    ]


def _batch(shape: data.Shape, D: int, K: int, budget: Budget) -> list[Row]:
    """A mini-batch of 2,000 rows from Arrow: the E-step, the sums, the step, what surrounds them."""
    drawn = data.truth(D, K)
    n = len(drawn.rows)
    table = data.table(drawn.rows)
    columns = Table([np.ascontiguousarray(drawn.rows[:, j]) for j in range(D)])
    models = [data.model(shape, drawn, batch_size=n, step_size=data.STILL) for _ in range(3)]
    engine, stepped = data.engine_of(models[0]), data.engine_of(models[1])
    densities, sums, given = np.empty(n), engine.accumulator(), stepped.accumulator()
    stepped.accumulate(columns, 0, n, None, None, given)
    gamma, total = stepped.compounded(columns, 0, n, None)

    def step() -> None:
        stepped.blend(given, gamma, total)
        stepped.maximize()

    sides = [
        Side("", repeat(partial(engine.accumulate, columns, 0, n, None, None, None, None, densities)), n),
        Side("", repeat(partial(engine.accumulate, columns, 0, n, None, None, sums)), n),
        Side("", repeat(step), n),
        Side("", repeat(partial(models[2].learn_many, table)), n),
    ]
    expect, both, moved, learn = (median(costs) for costs in measure(budget, sides))
    parts = {
        "E-step": expect,
        "sums": both - expect,
        "step and M-step": moved,
        "encoding, checks, calls": learn - both - moved,
    }
    what = f"{'diagonal' if shape == 'diagonal' else 'full covariance'}, D={D}, K={K}"
    return _parts(f"mini-batch of 2,000, {what}", learn, parts)


def _parts(job: str, whole: float, parts: dict[str, float]) -> list[Row]:
    rows = [Row(f"{job}: {part}", cost, note=f"{cost / whole:.0%}") for part, cost in parts.items()]
    return [Row(job, whole, note="all of it"), *rows]


_BOTH: tuple[data.Shape, data.Shape] = ("diagonal", "full")

BENCHMARKS: dict[str, Benchmark] = {
    **{
        f"parts.record.{shape}.{D}x{K}": partial(_record, shape, D, K)
        for shape in _BOTH
        for D, K in ((10, 5), (32, 16))
    },
    **{f"parts.batch.{shape}.{D}x{K}": partial(_batch, shape, D, K) for shape in _BOTH for D, K in ((8, 8), (32, 16))},
}
