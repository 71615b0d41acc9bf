"""The statistics of a mixture as arrays, and everything that a model is as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import aligned

__all__ = ["GROUP", "Snapshot", "State", "Supervision", "padded", "stacked"]

FloatArray = NDArray[np.float64]

GROUP = 8  # components come in groups of this many lanes


def padded(n_components: int) -> int:
    """Return the number of lanes that hold so many components."""
    return -(-n_components // GROUP) * GROUP


@dataclass(eq=False)
class State:
    """Running expected sufficient statistics.

    Every array's last axis is the component, padded to a multiple of 8 lanes. Mass 0 is the components' own: the
    mixing weights. A unit (a field, or a group of fields) shares it until a record comes without that unit; from
    then on the unit has a mass and a clock of its own.

    Parameters
    ----------
    n_components
        K.
    masses
        (masses, lanes): the running mean of the responsibilities of the records that the mass observes.
    counts
        (masses, lanes): how many records stand behind each component, at its last response.
    clocks
        (masses,): records (sum of weights) since the start.
    starts
        (masses,): how many records the start counts as.
    mass_units
        For each block, the mass of each of its units.
    statistics
        For each block, (units, statistics, lanes); see core/engine.h for the rows of each family.
    priors
        For each block, (units, rows, lanes): where the prior's pseudo-observations lie.
    prior_weight
        How many pseudo-observations the prior counts as.
    least
        For each column, what share of the prior's scale a Gaussian's variance is at the least; None for a tiny one.
    """

    n_components: int
    masses: FloatArray
    counts: FloatArray
    clocks: FloatArray
    starts: FloatArray
    mass_units: list[list[int]]
    statistics: list[FloatArray]
    priors: list[FloatArray]
    prior_weight: float
    least: FloatArray | None = None

    def arrays(self) -> list[FloatArray]:
        """Return all arrays, in a fixed order."""
        return [self.masses, self.counts, self.clocks, self.starts, *self.statistics, *self.priors]

    def copy(self) -> "State":
        """Return a deep copy."""
        return State(
            self.n_components,
            _copy(self.masses),
            _copy(self.counts),
            _copy(self.clocks),
            _copy(self.starts),
            [list(units) for units in self.mass_units],
            [_copy(array) for array in self.statistics],
            [_copy(array) for array in self.priors],
            self.prior_weight,
            self.least,
        )

    def assign(self, other: "State") -> None:
        """Take over the numbers of a state of the same shape, in place."""
        for mine, theirs in zip(self.arrays(), other.arrays(), strict=True):
            mine[...] = theirs

    def takes(self, other: "State") -> bool:
        """Tell whether the numbers of another state have the same places here, and the same meaning."""
        return (
            self.n_components == other.n_components
            and self.mass_units == other.mass_units
            and self.prior_weight == other.prior_weight
            and (self.least is other.least or np.array_equal(self.least, other.least))  # type: ignore[arg-type]
            and all(a.shape == b.shape for a, b in zip(self.arrays(), other.arrays(), strict=True))
        )

    def equals(self, other: "State") -> bool:
        """Tell whether two states are the same bit for bit, padding aside."""
        k = self.n_components
        mine, theirs = self.arrays(), other.arrays()
        return (
            k == other.n_components
            and self.mass_units == other.mass_units
            and self.prior_weight == other.prior_weight
            and len(mine) == len(theirs)
            and np.array_equal(self.least, other.least)  # type: ignore[arg-type]
            and all(
                a.shape == b.shape and a[..., :k].tobytes() == b[..., :k].tobytes()
                for a, b in zip(mine, theirs, strict=True)
            )
        )

    def fork(self, block: int, unit: int) -> None:
        """Give a unit a mass and a clock of its own, a copy of the components'."""
        self.mass_units[block][unit] = len(self.masses)
        self.masses = _append(self.masses)
        self.counts = _append(self.counts)
        self.clocks = _append(self.clocks)
        self.starts = _append(self.starts)

    def halve(self) -> None:
        """Let all records so far weigh half of what they did."""
        for array in (self.counts, self.clocks, self.starts):
            array *= 0.5

    def make_room(self, block: int, levels: int, most: int) -> bool:
        """Let a categorical block hold so many levels, of `most` there will be; tell whether its array was replaced."""
        old = self.statistics[block]
        if old.shape[1] >= 1 + levels:
            return False
        grown = aligned(1, 1 + max(levels, min(2 * (old.shape[1] - 1), most)), old.shape[2])
        grown[:, : old.shape[1]] = old
        self.statistics[block] = grown
        return True

    def level_counts(self, block: int, levels: int) -> FloatArray:
        """Return the expected number of records of each level of a categorical block."""
        values, count = self.statistics[block][0], self.counts[self.mass_units[block][0]]
        found = np.zeros(levels)
        for k in range(self.n_components):
            found += count[k] * (values[1 : 1 + levels, k] / values[0, k])
        return found

    def fold_levels(self, block: int, places: NDArray[np.intp], other: int) -> None:
        """Move level v of a categorical block to places[v]; those that meet at `other` add up."""
        counts = self.statistics[block][0, 1:]
        before, kept = counts[: len(places)].copy(), places != other
        counts[:] = 0.0
        counts[places[kept]] = before[kept]
        counts[other] = before[~kept].sum(axis=0)


@dataclass(eq=False)
class Supervision:
    """What a supervised model is beside its champion, as plain values and arrays.

    Parameters
    ----------
    document
        Counters, evidence, events and schedules, as JSON can hold them.
    states
        The statistics of each member by name.
    arrays
        Arrays of numbers by name: the reservoir, what a challenge has summed up so far.
    """

    document: dict[str, Any]
    states: dict[str, State]
    arrays: dict[str, FloatArray]


@dataclass(eq=False)
class Snapshot:
    """Everything that a model is, as plain values and arrays: what a checkpoint holds.

    Parameters
    ----------
    declaration
        The model's arguments in the form that JSON can hold.
    fields
        The fields in use, [[names, family as JSON], …], once they are known; None while warming up.
    levels
        For each field of levels, their keys in the order of their codes.
    n_seen
        Records learnt.
    random_state
        The state of the random generator, as numpy's `bit_generator.state`.
    state, average
        The statistics, and their running average where the model averages; None while warming up.
    pending, pending_weights
        Rows (n, columns) of a mini-batch that isn't full yet, and their weights.
    buffer, buffer_weights
        The records of the warm-up and their weights.
    new_fields
        Fields that were left out by inference, and values of fields that may join, as JSON can hold them.
    clock
        Where event time stands, as JSON can hold it; None of a model that does not go by it.
    supervision
        What a supervised model is beside this; None of a plain mixture, and while warming up.
    """

    declaration: Mapping[str, Any]
    fields: list[list[Any]] | None
    levels: dict[str, list[Any]]
    n_seen: int
    random_state: dict[str, Any]
    state: State | None
    average: State | None
    pending: FloatArray
    pending_weights: FloatArray
    buffer: list[dict[str, Any]] = field(default_factory=list)
    buffer_weights: list[float] = field(default_factory=list)
    new_fields: dict[str, Any] = field(default_factory=dict)
    clock: list[Any] | None = None
    supervision: Supervision | None = None


def _copy(array: FloatArray) -> FloatArray:
    result: FloatArray = aligned(*array.shape)
    result[...] = array
    return result


def stacked(*arrays: FloatArray) -> FloatArray:
    """Return arrays one below the other."""
    result: FloatArray = aligned(sum(map(len, arrays)), *arrays[0].shape[1:])
    np.concatenate(arrays, out=result)
    return result


def _append(array: FloatArray) -> FloatArray:
    result: FloatArray = aligned(len(array) + 1, *array.shape[1:])
    result[:-1] = array
    result[-1] = array[0]
    return result
