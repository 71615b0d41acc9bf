"""A member of a supervised mixture: another step, and another's statistics, taken in place."""

import numpy as np

from streammix.auto.member import Member
from streammix.core.engine import Engine
from streammix.core.table import table_of
from streammix.families import Categorical, Normal
from streammix.schema import Schema
from streammix.warmup import warm_state

ROWS = np.stack([np.random.default_rng(3).normal(size=400), np.arange(400) % 3.0], axis=1)


def member(step: tuple[int, float], seed: int = 1) -> Member:
    schema = Schema([{("x",): Normal(), ("c",): Categorical()}] * 2, ["c"])
    schema.first_levels(1, ["a", "b", "c"])
    columns = [np.ascontiguousarray(column) for column in ROWS.T]
    return Member(schema, warm_state(schema, columns, None, 2, np.random.default_rng(seed)), step, None)


def scores(engine: Engine) -> bytes:
    found = np.empty(len(ROWS))
    engine.accumulate(table_of(ROWS), 0, len(ROWS), out_lp=found)
    return found.tobytes()


def test_another_step_is_as_one_from_the_start() -> None:
    one, other = member((0, 0.6)), member((1, 0.01))
    assert scores(one.engine) != scores(other.engine)  # what the prior weighs goes by the step
    one.set_step((1, 0.01))
    assert scores(one.engine) == scores(other.engine)


def test_statistics_are_taken_over_as_a_copy() -> None:
    one, other = member((0, 0.6)), member((0, 0.6), seed=2)
    other.catch_up(ROWS[:100], np.ones(100), 50)
    assert not one.state.equals(other.state)
    one.become(other.state)
    assert one.state.equals(other.state)
    assert scores(one.engine) == scores(other.engine)
    before = scores(other.engine)
    one.catch_up(ROWS[:50], np.ones(50), 50)
    assert scores(other.engine) == before


def test_of_another_shape_they_are_copied() -> None:
    one, other = member((0, 0.6)), member((0, 0.6))
    other.state.fork(0, 0)
    other.bind()
    one.become(other.state)
    assert one.state.equals(other.state)
    assert scores(one.engine) == scores(other.engine)
