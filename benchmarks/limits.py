"""How far each kernel is from what the machine can do: multiply-adds and bytes a second.

The limits are measured in the same rounds as the kernels: multiply-adds of a matrix product by numpy's BLAS, and the
bytes of a copy between arrays that fit a cache.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks import data
from benchmarks.harness import Budget, Limit, Side, measure, repeat
from streammix.core.table import Table

__all__ = ["LIMITS"]

SHAPES = ((8, 8), (32, 16), (16, 64))


class _Kernel(NamedTuple):
    """A kernel's work for one record, counted from its formula."""

    name: str
    side: Side
    multiply_adds: float
    moved: float


def _work(shape: data.Shape, D: int, K: int, steps: str) -> float:
    """Multiply-adds of a record: quadratic forms and weighted sums; exponentials count as ten."""
    if shape == "diagonal":
        each = {"E": 2 * D + 10, "EM": 4 * D + 10, "learn": 5 * D + 10}
    else:
        triangle = D * (D - 1) // 2
        each = {"E": triangle + 2 * D + 10, "EM": 2 * triangle + 5 * D + 10, "learn": 3 * triangle + 7 * D + 10}
    return float(K * each[steps])


def _kernels(shape: data.Shape, D: int, K: int) -> list[_Kernel]:
    drawn = data.truth(D, K)
    n = len(drawn.rows)
    columns = Table([np.ascontiguousarray(drawn.rows[:, j]) for j in range(D)])
    models = [data.model(shape, drawn, step_size=data.STILL) for _ in range(2)]
    still, moving = (data.engine_of(model) for model in models)
    densities = np.empty(n)
    sums = still.accumulator()
    state = K * 8.0 * (3 * D if shape == "diagonal" else 3 * D + D * (D - 1) / 2)
    what = f"{shape}, D={D}, K={K}"
    expect = partial(still.accumulate, columns, 0, n, None, None, None, None, densities)
    both = partial(still.accumulate, columns, 0, n, None, None, sums)
    learn = partial(moving.learn_rows, columns, 0, n, None, None, None)
    return [
        _Kernel(f"E-step of a block, {what}", Side("", repeat(expect), n), _work(shape, D, K, "E"), 8.0 * D),
        _Kernel(f"E-step and sums of a block, {what}", Side("", repeat(both), n), _work(shape, D, K, "EM"), 8.0 * D),
        # a record reads the whole state and writes it back
        _Kernel(f"one record, {what}", Side("", repeat(learn), n), _work(shape, D, K, "learn"), 2 * state),
    ]


def _limits(shape: data.Shape, D: int, K: int, budget: Budget) -> list[Limit]:
    kernels = _kernels(shape, D, K)
    size, length = 384, 8_192
    a, product = np.random.default_rng(0).normal(size=(size, size)), np.empty((size, size))
    source, target = np.ones(length), np.empty(length)
    matrix = Side("", repeat(lambda: np.matmul(a, a, out=product)), size**3)
    copy = Side("", repeat(lambda: np.copyto(target, source)), 2 * 8 * length)
    sides = [*(kernel.side for kernel in kernels), matrix, copy]
    *costs, per_multiply_add, per_byte = (median(rounds) for rounds in measure(budget, sides))
    return [
        Limit(
            kernel.name,
            cost,
            kernel.multiply_adds / cost,
            per_multiply_add * kernel.multiply_adds / cost,
            kernel.moved / cost,
            per_byte * kernel.moved / cost,
        )
        for kernel, cost in zip(kernels, costs, strict=True)
    ]


LIMITS: dict[str, Callable[[Budget], list[Limit]]] = {
    f"limits.{shape}.{D}x{K}": partial(_limits, shape, D, K) for shape in ("diagonal", "full") for D, K in SHAPES
}
