"""The E-step in parts: expected statistics of some records at fixed parameters, their merge, and the step they make.

Statistics of records that were taken at the same parameters add up, wherever and in whichever order they were taken:
other processes, other machines. Levels travel as values, so that a level that several places see first at once is
one; and a field that is missing somewhere has masses of its own from there on.

>>> import streammix as sm
>>> from streammix import partial
>>> model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(5, 1)}], seed=0)
>>> here = partial.expect(model, [{"x": 0.5}, {"x": 4.0}])
>>> there = partial.expect(model, [{"x": 6.0}, {"x": "six"}], place=1)
>>> both = partial.merge([here, there])
>>> both.n, both.n_refused, both.refused[0].reason
(3, 1, "field 'x': expected a finite number, got 'six'")
>>> partial.step(model, both)  # the step of a mini-batch of three records
>>> model.n_seen
3
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.columns import Encoded
from streammix.core.engine import Engine, rows_of, width_of
from streammix.core.json_lines import JsonLines
from streammix.errors import ConfigError, RecordError, StreammixError
from streammix.frames import Frame
from streammix.mixture import Mixture
from streammix.plain import IMPOSSIBLE
from streammix.running import Running
from streammix.schema import OTHER
from streammix.state import State
from streammix.statistics import KEPT, LONGEST_RECORD, Level, Partial, Refused, Unit, check_same, merge

__all__ = [
    "Level",
    "Partial",
    "Refused",
    "accumulator",
    "admit",
    "check_divisible",
    "check_timeless",
    "expect",
    "expect_scored",
    "fingerprint",
    "merge",
    "settle",
    "step",
]

FloatArray = NDArray[np.float64]


def fingerprint(model: Mixture) -> str:
    """Return a digest of a model's statistics, and so of its parameters; those of two models agree if all bits do."""
    running = _running(model)
    state, k = running.state, running.state.n_components
    levels = {name: list(codes) for name, codes in running.schema.codes.items()}
    about = [running.schema.fields, levels, state.mass_units, state.prior_weight.hex(), k]
    digest = hashlib.sha256(json.dumps(about).encode())
    for array in state.arrays():
        digest.update(np.ascontiguousarray(array[..., :k]).data)
    return digest.hexdigest()


def expect(model: Mixture, X: Any, place: int = 0, first_row: int = 0, closed: bool = False) -> Partial:
    """Return the expected statistics of records at a model's parameters: an E-step; the model stays as it is.

    Parameters
    ----------
    model
        The mixture, past its warm-up.
    X
        A frame as in `Mixture.learn_many`, or a list of dicts.
    place, first_row
        The partition that the records are from, and the number of the first of them there.
    closed
        Whether levels that the model does not know count as "(other)", into which it has folded levels before.

    Raises
    ------
    StreammixError
        If the model is still warming up.
    """
    return _expect(model, X, place, first_row, closed, None)


def expect_scored(model: Mixture, X: Any, place: int, out: tuple[FloatArray, FloatArray]) -> Partial:
    """Return what `expect` does, and write the responsibilities (n, K) and log densities (n,) of n records to `out`.

    Where new fields may join the model, records from the first one on that has one are not taken; scores are those of
    the records taken, the first rows of `out`.
    """
    return _expect(model, X, place, 0, False, out)


def _expect(
    model: Mixture, X: Any, place: int, first_row: int, closed: bool, out: tuple[FloatArray, FloatArray] | None
) -> Partial:
    running, records = _running(model), X if isinstance(X, list | JsonLines) else model._frame(X)
    learner = model._learner
    if out is None:
        learner.look_away()
    try:
        encoded, kept, errors = learner.encode(records)
    finally:
        learner.look_out()
    refused = [_refused(place, first_row, records, row, str(error)) for row, error in errors[:KEPT]]
    n_refused = len(errors)
    if running.schema.may_refuse and len(kept):
        encoded, kept, bad = _without_impossible(running.engine, encoded, kept)
        n_refused += len(bad)
        refused += [_refused(place, first_row, records, row, IMPOSSIBLE) for row in bad[:KEPT]]
    new = _codes_of_new(running, encoded, [first_row + row for row in kept], closed)
    n, engine, state = len(kept), running.engine, running.state
    forks = engine.forks_needed(encoded.table, 0, n)
    if forks or new:
        engine, state = _widened(running, forks, new)
    scores = (None, None) if out is None else (out[0][:n], out[1][:n])
    acc, log_likelihood, _ = engine.collect(encoded.table, 0, n, None, *scores)
    if out is not None and running.average is not None:
        out[0][:n], out[1][:n] = running.evaluate(encoded.table)
    totals = engine.compounded(encoded.table, 0, n)[1]
    k, rest = state.n_components, acc[len(state.masses) :]
    sums, levels = [], {}
    for i, first, stop in _rows(running, state):
        block = running.schema.blocks[i]
        known = len(running.schema.codes[block.names[0][0]]) if block.kind == "categorical" else stop - first
        sums.append(rest[first : first + known, :k])
        found = new.get(block.columns[0], {}) if block.kind == "categorical" else {}
        if found:
            counts = rest[first:stop, :k].copy()
            levels[block.names[0][0]] = {key: Level((place, row), counts[code]) for key, (code, row) in found.items()}
    own = {
        (i, u): (float(totals[m]), acc[m, :k].copy())
        for i, masses in enumerate(state.mass_units)
        for u, m in enumerate(masses)
        if m
    }
    whole = np.concatenate(sums) if sums else np.empty((0, k))
    return Partial(
        fingerprint(model), place, n, log_likelihood, acc[0, :k].copy(), whole, own, levels, n_refused, refused[:KEPT]
    )


def admit(model: Mixture, partial: Partial) -> bool:
    """Let a model know the new levels of a partial; tell whether there were any.

    They come in the order of their places, and of their first records there. The parameters are others then, and the
    statistics have to be taken again: a new level takes its share of the probability that is kept for unseen ones.

    Raises
    ------
    StreammixError
        If the partial was taken at other parameters than the model's.
    """
    check_same(fingerprint(model), partial.fingerprint)
    running = _running(model)
    for name, found in partial.levels.items():
        ordered = sorted(found.items(), key=lambda item: item[1].first)
        for key, _ in ordered:
            running.code_of(running.schema.column_of(name), key)
    model._sync()
    return bool(partial.levels)


def accumulator(model: Mixture, partial: Partial) -> tuple[FloatArray, FloatArray]:
    """Return (the core's accumulator, the records that each mass observes) of a partial; units that need it fork.

    Raises
    ------
    StreammixError
        If the partial was taken at other parameters, or has levels that the model does not know.
    """
    check_same(fingerprint(model), partial.fingerprint)
    if partial.levels:
        raise StreammixError(f"field {next(iter(partial.levels))!r} has levels that are new: admit them, then expect")
    running = _running(model)
    running.fork([(i, u) for i, u in sorted(partial.own) if not running.state.mass_units[i][u]])
    state, k = running.state, running.state.n_components
    acc, totals, at = running.engine.accumulator(), np.full(len(state.masses), float(partial.n)), 0
    acc[: len(state.masses), :k] = partial.masses
    for (i, u), (seen, masses) in partial.own.items():
        m = state.mass_units[i][u]
        totals[m], acc[m, :k] = seen, masses
    for i, first, stop in _rows(running, state):
        block = running.schema.blocks[i]
        rows = len(running.schema.codes[block.names[0][0]]) if block.kind == "categorical" else stop - first
        begin = len(state.masses) + first
        acc[begin : begin + rows, :k] = partial.sums[at : at + rows]
        at += rows
    return acc, totals


def step(model: Mixture, partial: Partial) -> None:
    """Move a model by the step of a mini-batch whose expected statistics these are.

    It is the step that `Mixture` makes with a mini-batch of as many records.

    Raises
    ------
    StreammixError
        As `accumulator`; the model is as before.
    """
    acc, totals = accumulator(model, partial)
    if not partial.n:
        return
    running = _running(model)
    model._hand_back()
    running.engine.blend(acc, running.engine.steps(totals), totals)
    running.state.clocks += totals
    running.engine.maximize()
    running.count(partial.n, partial.n)
    model._sync()


def settle(model: Mixture) -> None:
    """Let the records that wait for a full mini-batch make a step by themselves."""
    running = model._learner.running
    if running is not None:
        model._hand_back()
        running.settle()
        model._sync()


def check_divisible(model: Mixture) -> None:
    """Refuse a mixture whose statistics can't be taken in parts."""
    if type(model) is Mixture:
        return
    from streammix.auto.automixture import AutoMixture  # takes as long as all the rest, and workers don't need it

    if isinstance(model, AutoMixture):
        raise ConfigError("an AutoMixture learns in one place: parts of its statistics can't be taken elsewhere")


def check_timeless(model: Mixture) -> None:
    """Refuse a mixture that forgets by event time, whose records don't count alike."""
    if model._learner.clock is not None:
        raise ConfigError("a model that forgets by event time learns in one place: each record's weight is its own")


def _running(model: Mixture) -> Running:
    check_divisible(model)
    check_timeless(model)
    running = model._learner.running
    if running is None:
        raise StreammixError("the model is still warming up: it has no parameters to take statistics at")
    return running


def _rows(running: Running, state: State) -> list[tuple[int, int, int]]:
    """(block, first, stop) of each block's rows in an accumulator without its masses; levels have room to spare."""
    found, at = [], 0
    for i, (kind, columns, size, _, _) in enumerate(running.schema.layout()):
        each = state.statistics[i].shape[1] - 1 if kind == "categorical" else rows_of(kind, size)[3]
        stop = at + each * (len(columns) // width_of(kind, size))
        found.append((i, at, stop))
        at = stop
    return found


def _codes_of_new(
    running: Running, encoded: Encoded, rows: Sequence[int], closed: bool
) -> dict[int, dict[Any, tuple[int, int]]]:
    """Give unknown levels codes beyond the known ones: by column and key, the code and the first of its rows."""
    new: dict[int, dict[Any, tuple[int, int]]] = {}
    for row, column, key in encoded.unknown:
        codes = running.schema.levels(column)
        if closed and OTHER in codes:
            encoded.made[column][row] = codes[OTHER]
            continue
        found = new.setdefault(column, {})
        code, _ = found.setdefault(key, (len(codes) + len(found), rows[row]))
        encoded.made[column][row] = code
    return new


def _widened(running: Running, forks: Sequence[Unit], new: Mapping[int, Mapping[Any, Any]]) -> tuple[Engine, State]:
    """The same parameters, with masses for units that have gaps and room for the counts of new levels."""
    state, schema = running.state.copy(), running.schema
    for block, unit in forks:
        state.fork(block, unit)
    for column, found in new.items():
        levels = len(schema.levels(column)) + len(found)
        state.make_room(schema.block_of(column), levels, levels)
    return Engine(schema.layout(), state, running.step_size), state


def _without_impossible(
    engine: Engine, encoded: Encoded, kept: Sequence[int]
) -> tuple[Encoded, Sequence[int], list[int]]:
    """Leave out rows that no component can have made: (the others, their numbers, those that are left out)."""
    log_density = np.empty(len(kept))
    if engine.accumulate(encoded.table, 0, len(kept), out_lp=log_density)[1] < 0:
        return encoded, kept, []
    places = np.flatnonzero(~np.isneginf(log_density))
    number = {row: i for i, row in enumerate(places.tolist())}
    unknown = [(number[row], column, key) for row, column, key in encoded.unknown if row in number]
    rows = encoded.table.rows(0, len(kept))[places]
    bad = [kept[row] for row in np.flatnonzero(np.isneginf(log_density)).tolist()]
    return Encoded.of_rows(rows, unknown), [kept[row] for row in places.tolist()], bad


def _refused(place: int, first_row: int, records: list[Any] | JsonLines | Frame, row: int, reason: str) -> Refused:
    record = None
    with suppress(RecordError):  # text that is no record
        record = records[row] if isinstance(records, list | JsonLines) else records.slice(row, 1).to_pylist()[0]
    text = json.dumps(record, default=str)
    return Refused(place, first_row + row, reason, text[:LONGEST_RECORD])
