"""The first records → the first state: several starts of batch EM, the likeliest is taken.

Starts are k-means++ partitions in standardised space, with one or ten Lloyd steps. Each runs a few iterations of EM,
the best few run to convergence, and the best of those by likelihood is the state that the stream goes on from.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import Engine
from streammix.core.table import Table
from streammix.em import blank, collect, iterate, reanchor
from streammix.families import (
    Categorical,
    Dirichlet,
    Family,
    Fixed,
    Multinomial,
    MultivariateNormal,
    ZeroInflated,
)
from streammix.given import fill_given
from streammix.inference import MOST_RECORDS, RECORDS_PER_PARAMETER
from streammix.kmeans import kmeans
from streammix.scales import PRIOR_WEIGHT, fill_scales, settle, shrink_scales, standardised
from streammix.schema import Schema
from streammix.standing import Names
from streammix.state import State

__all__ = [
    "free_parameters",
    "given_state",
    "needed_records",
    "newcomer_state",
    "usual_records",
    "warm_state",
]

FloatArray = NDArray[np.float64]

STARTS = 10
SHORT = 15  # iterations of each start
FINALISTS = 3
LONG = 200  # iterations of a finalist at the most
LEAST_RECORDS = 1_000


def free_parameters(fields: Mapping[Names, Family], n_components: int, levels: Mapping[str, int]) -> int:
    """Return the number of free parameters of a mixture."""
    each = 0
    for names, family in fields.items():
        if isinstance(family, Fixed):
            continue
        if isinstance(family, MultivariateNormal):
            each += len(names) * (len(names) + 3) // 2
        elif isinstance(family, Dirichlet):
            each += len(names)
        elif isinstance(family, Multinomial):
            each += len(names) - 1
        elif isinstance(family, Categorical):
            each += max(levels.get(names[0], 2) - 1, 1)
        else:
            inner = family.family if isinstance(family, ZeroInflated) else family
            each += len(inner.parameter_names) + isinstance(family, ZeroInflated)
    return n_components * each + n_components - 1


def needed_records(fields: Mapping[Names, Family], n_components: int, levels: Mapping[str, int]) -> int:
    """Return how many records a warm-up takes by default: five a free parameter, from 1,000 to 4,000."""
    return usual_records(free_parameters(fields, n_components, levels))


def usual_records(n_parameters: int) -> int:
    """Return how many records a warm-up of so many parameters takes."""
    return min(max(RECORDS_PER_PARAMETER * n_parameters, LEAST_RECORDS), MOST_RECORDS)


def given_state(schema: Schema, weights: Sequence[float], start: float) -> State:
    """Return the state of explicit parameters, counted as `start` records, without a prior."""
    layout = schema.layout()
    n_components = len(weights)
    state = blank(layout, n_components, 0.0)
    state.masses[0, :n_components] = np.maximum(weights, 1e-300)
    state.starts[:] = start
    fill_given(schema, state)
    settle(state)
    state.counts[0] = np.maximum(state.masses[0] * start, 1e-300)
    return state


def warm_state(
    schema: Schema,
    columns: Sequence[FloatArray],
    weights: FloatArray | None,
    n_components: int,
    rng: np.random.Generator,
) -> State:
    """Return the state that the warm-up's rows, as columns, lead to; the rows then count as the start."""
    layout = schema.layout()
    table = Table(list(columns))
    state = blank(layout, n_components, PRIOR_WEIGHT)
    fill_given(schema, state)
    fill_scales(layout, state, columns, weights)
    for block, unit in Engine(layout, state, (0, 1.0)).forks_needed(table, 0, table.n_rows):
        state.fork(block, unit)
    settle(state)
    engine = Engine(layout, state, (0, 1.0))
    totals = engine.compounded(table, 0, table.n_rows, weights)[1]
    space = standardised(layout, columns)
    candidates = []
    first = state.copy()
    for start in range(STARTS):
        state.assign(first)
        labels = kmeans(space, n_components, 1 if start % 2 else 10, rng)
        shrink_scales(layout, state, columns, labels)
        acc = engine.accumulator()
        engine.accumulate(table, 0, table.n_rows, weights, np.eye(n_components)[labels], acc)
        iterate(engine, state, acc, totals)
        candidates.append((_climb(engine, state, table, weights, totals, SHORT), state.copy()))
        if n_components == 1:
            break
    finals = []
    for candidate in _ranked(candidates, totals)[:FINALISTS]:
        state.assign(candidate)
        engine.maximize()
        finals.append((_climb(engine, state, table, weights, totals, LONG), state.copy()))
    best = _ranked(finals, totals)[0]
    reanchor(layout, best)
    return best


def newcomer_state(
    schema: Schema, columns: Sequence[FloatArray], weights: FloatArray, responsibilities: FloatArray
) -> State:
    """Return the state of a field alone whose records' responsibilities are known: one M-step."""
    layout = schema.layout()
    table = Table(list(columns))
    state = blank(layout, responsibilities.shape[1], PRIOR_WEIGHT)
    fill_scales(layout, state, columns, weights)
    settle(state)
    engine = Engine(layout, state, (0, 1.0))
    totals = engine.compounded(table, 0, table.n_rows, weights)[1]
    acc = engine.accumulator()
    engine.accumulate(table, 0, table.n_rows, weights, responsibilities, acc)
    iterate(engine, state, acc, totals)
    reanchor(layout, state)
    return state


def _ranked(candidates: Sequence[tuple[float, State]], totals: FloatArray) -> list[State]:
    """States by their log-likelihood: those less than a ten-thousandth of a nat a record apart are ties, in order.

    What counts is how far each is from the best: the likelihoods themselves depend on the fields' units.
    """
    best = max(log_likelihood for log_likelihood, _ in candidates)
    ranks = [round((best - log_likelihood) / float(totals[0]) * 1e4) for log_likelihood, _ in candidates]
    return [candidates[i][1] for i in sorted(range(len(candidates)), key=ranks.__getitem__)]


def _climb(
    engine: Engine, state: State, table: Table, weights: FloatArray | None, totals: FloatArray, iterations: int
) -> float:
    """Run EM until it gains less than 1e-6 nats a record; return the last log-likelihood seen."""
    before = -np.inf
    for _ in range(iterations):
        acc, log_likelihood, _ = collect(engine, table, 0, table.n_rows, weights)
        if log_likelihood - before < 1e-6 * totals[0]:
            break
        before = log_likelihood
        iterate(engine, state, acc, totals)
    return float(log_likelihood)
