"""What the first records say of numbers of components before any has predicted: cross-validation."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import engine_of
from streammix.auto.climb import Climb
from streammix.auto.member import densities
from streammix.auto.moves import quick_start
from streammix.auto.resolution import Resolution
from streammix.core.table import Table
from streammix.schema import Schema
from streammix.steps import at_once

__all__ = ["held_out"]

FloatArray = NDArray[np.float64]

FOLDS, ITERATIONS = 4, 10


def held_out(
    schema: Schema,
    columns: Sequence[FloatArray],
    weights: FloatArray | None,
    n_components: int,
    rng: np.random.Generator,
    spread: FloatArray | None,
    resolution: Resolution,
) -> Iterator[float]:
    """Yield for each fold the sum of the log densities of its rows, by a fit to the others."""
    fold = np.arange(len(columns[0])) % FOLDS
    for left_out in range(FOLDS):
        some = [column[fold != left_out] for column in columns]
        others = [column[fold == left_out] for column in columns]
        own = None if weights is None else weights[fold != left_out]
        state = at_once(quick_start(schema, some, own, n_components, rng, spread is not None, resolution=resolution))
        table, rest = Table(some), Table(others)
        climb = Climb(schema, state, spread, table, own, table.n_rows, ITERATIONS, 1)
        while climb.left:
            climb.go(1 << 40)
        engine = engine_of(schema, state, (0, 1.0), spread)
        for block, unit in engine.forks_needed(rest, 0, rest.n_rows):
            state.fork(block, unit)
        yield float(densities(engine_of(schema, state, (0, 1.0), spread), rest, 0, rest.n_rows).sum())
