"""Expected statistics of some records at fixed parameters, as values that add up.

The merge is associative and commutative to rounding, and that of all parts is what one pass over all records gives.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.errors import StreammixError

__all__ = ["KEPT", "LONGEST_RECORD", "Level", "Partial", "Refused", "check_same", "merge"]

FloatArray = NDArray[np.float64]
Unit = tuple[int, int]  # a block, and which of its units

KEPT = 10_000  # refused records of one call that are kept; more are counted
LONGEST_RECORD = 4_096  # characters of a refused record that are kept


@dataclass(frozen=True, order=True)
class Refused:
    """A record that was not taken.

    Parameters
    ----------
    place, row
        Where it stands: its partition, and its number there.
    reason
        One sentence.
    record
        The record as JSON, or the beginning of it.
    """

    place: int
    row: int
    reason: str
    record: str


@dataclass(frozen=True, eq=False)
class Level:
    """A level that the model does not know.

    Parameters
    ----------
    first
        Where it was first seen: (place, row).
    counts
        (K,): the expected number of its records in each component.
    """

    first: tuple[int, int]
    counts: FloatArray


@dataclass(frozen=True, eq=False)
class Partial:
    """Expected statistics of some records, all at the same parameters.

    Parameters
    ----------
    fingerprint
        Of the parameters.
    place
        The first of the places that they are from: a partition's number.
    n
        How many records.
    log_likelihood
        The sum of log p(x).
    masses
        (K,): the expected number of records of each component.
    sums
        (rows, K): the rows of the core's accumulator without the masses, of levels those that the model knows.
    own
        For each (block, unit) that some record lacks: how many records have it, and their masses (K,).
    levels
        Levels that the model does not know, by field and key.
    n_refused, refused
        How many records were refused, and which.
    """

    fingerprint: str
    place: int
    n: int
    log_likelihood: float
    masses: FloatArray
    sums: FloatArray
    own: Mapping[Unit, tuple[float, FloatArray]]
    levels: Mapping[str, Mapping[Any, Level]]
    n_refused: int = 0
    refused: Sequence[Refused] = ()


def merge(partials: Iterable[Partial]) -> Partial:
    """Return the statistics of all records of several partials, at least one; those of a lower place come first.

    Raises
    ------
    StreammixError
        If they were taken at different parameters.
    """
    first, *others = sorted(partials, key=lambda part: part.place)
    if not others:
        return first
    for other in others:
        check_same(first.fingerprint, other.fingerprint)
    masses, sums, n, log_likelihood = first.masses.copy(), first.sums.copy(), first.n, first.log_likelihood
    own, levels = dict(first.own), {name: dict(found) for name, found in first.levels.items()}
    for other in others:
        for unit in own.keys() | other.own.keys():
            seen, mass = own.get(unit, (n, masses))
            more_seen, more = other.own.get(unit, (other.n, other.masses))
            own[unit] = (seen + more_seen, mass + more)
        masses += other.masses
        sums += other.sums
        n += other.n
        log_likelihood += other.log_likelihood
        for name, found in other.levels.items():
            mine = levels.setdefault(name, {})
            for key, level in found.items():
                known = mine.get(key)
                if known is not None:
                    level = Level(min(known.first, level.first), known.counts + level.counts)
                mine[key] = level
    parts = [first, *others]
    refused = sorted(refusal for part in parts for refusal in part.refused)
    n_refused = sum(part.n_refused for part in parts)
    return Partial(first.fingerprint, first.place, n, log_likelihood, masses, sums, own, levels, n_refused, refused)


def check_same(ours: str, theirs: str) -> None:
    """Refuse statistics that were taken at other parameters."""
    if ours != theirs:
        raise StreammixError(
            f"statistics were taken at other parameters: their fingerprint is {theirs[:12]}, expected {ours[:12]}"
        )
