"""A supervised mixture of few records: lines begin as there are records for them; then it comes of age."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streammix.auto.choice import Choice
from streammix.auto.labels import Labels
from streammix.auto.line import Line
from streammix.auto.moves import quick_start
from streammix.auto.reservoir import LARGEST, reservoir_size
from streammix.core.table import table_of
from streammix.steps import at_once
from streammix.warmup import usual_records

if TYPE_CHECKING:
    from streammix.auto.supervisor import Supervisor

__all__ = ["bear", "begin", "come_of_age", "hurry", "needs", "responsibilities_for_all"]

FloatArray = NDArray[np.float64]

BIRTH = 1  # records a parameter from which on there is a line


def begin(
    running: "Supervisor", unborn: Sequence[int], is_given: bool, n: int = 0, held_out: Sequence[float] = ()
) -> None:
    """Begin with few records, n; lines of so many components as are unborn come when there are more.

    One that is given leads if it is there; else the one does by which the first records are held out best.
    """
    running.is_young, running.is_given, running.unborn = True, is_given, list(unborn)
    for line in running.lines:
        line.is_young = True
    if is_given:
        running.leader = len(running.lines) - 1
    elif held_out:
        running.choice.begin(n, held_out)
        running.leader = max(range(len(held_out)), key=lambda i: held_out[i])
    running.point()


def needs(n_parameters: int) -> int:
    """Return how many records there have to be for a line of so many parameters."""
    return min(BIRTH * n_parameters, LARGEST)


def bear(running: "Supervisor", n_components: int) -> None:
    """Let one more line begin, by a quick start on the records of the epoch."""
    rows, weights = running.reservoir.last(running.n_seen - running.line.epoch)
    columns = [np.ascontiguousarray(column) for column in rows.T]
    own = None if (weights == 1.0).all() else weights
    has_background = running.box is not None
    state = at_once(
        quick_start(
            running.schema, columns, own, n_components, running.rng, has_background, resolution=running.resolution
        )
    )
    p = running.n_parameters_of(n_components)
    first = len(rows) if running.is_young else usual_records(p)
    line = Line(running.schema, state, p, first, running.settings, running.n_seen)
    line.epoch, line.is_young, line.dwell.is_on = running.line.epoch, running.is_young, running.line.dwell.is_on
    line.set_pace()
    line.labels = Labels(n_components, is_shown=False)
    running.lines.append(line)
    running.choice.grow()
    running.beat.turn = len(running.lines)


def hurry(running: "Supervisor") -> None:
    """Do a slice of the work on a challenge, or begin one: while there are few records, each one may be waited for.

    Nothing is done where a line has just had its turn, or was born: that was work enough.
    """
    waiting = running.waiting
    if waiting is not None and waiting.size > 1 and not waiting.n:
        return
    for line in [running.line, *running.lines]:
        if line.challenge is not None or line.is_due(running.n_seen):
            running.prepare(line, running.n_seen)
            running.point()
            return


def responsibilities_for_all(running: "Supervisor", n_components: int) -> FloatArray | None:
    """Return the responsibilities of so many components for all records so far; None where no line has so many."""
    assert running.waiting is not None
    for line in running.lines:
        if line.n_components == n_components:
            rows = np.vstack([running.reservoir.last(running.n_seen)[0], running.waiting.rows[: running.waiting.n]])
            responsibilities, log_density = np.empty((len(rows), n_components)), np.empty(len(rows))
            line.published.engine.accumulate(table_of(rows), 0, len(rows), out_r=responsibilities, out_lp=log_density)
            return responsibilities
    return None


def come_of_age(running: "Supervisor", n_parameters: Sequence[int]) -> None:
    """Go on as one that has seen many records, with lines of so many parameters; what stood in goes."""
    running.is_young = False
    if running.is_given and running.unborn:
        bear(running, running.unborn.pop())
    if running.is_given and len(running.lines) > 1:
        last = len(running.lines) - 1
        running.beat.turn = 0 if running.beat.turn <= last else 1
        running.beat.scores = []
        if running.leader < last:
            running.lead(last, 0.0, running.n_seen)
        running.lines, running.leader, running.choice = running.lines[last:], 0, Choice(1)
        running.set_share()
        running.point()
    for kept in (running.reservoir, running.sample):
        kept.make_room(reservoir_size(n_parameters[-1]))
    for line, p in zip(running.lines, n_parameters[-1:] if running.is_given else n_parameters, strict=False):
        line.come_of_age(p, usual_records(p), running.n_seen)
