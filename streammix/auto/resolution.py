"""How finely a field's values are told apart, and what follows where they repeat.

A Gaussian on a value that comes again and again gains without end as it narrows. Where values repeat, no variance is
less than step**2 / 2 pi, step being the distance from one value to the next: at its mean such a component's density is
one over the step, so it says of a value what its probability says, and gains nothing over a wide one. Where K is given
a component may be a value that stands out, as in any batch fit: it is nearly as narrow as it likes.

Nor does a field have an end to its gains that is a sum of multiples of others: components would divide what rounding
leaves. Its variance given the others has a least, too, by which none of them wins.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streammix.auto.member import Member
from streammix.core.engine import INFLATING, LEAST_SHARE, width_of
from streammix.em import Layout
from streammix.errors import CheckpointError
from streammix.products import crossed
from streammix.scales import LEAST_VARIANCE, mean_variance
from streammix.schema import Schema
from streammix.state import State

__all__ = ["Atom", "Resolution", "atoms_from", "resolve_as"]

FloatArray = NDArray[np.float64]
Said = tuple[str, float, float]  # what is said, the value, its share

GAUSSIAN = ("normal", "lognormal", "mvn")
LOOKED_AT = 1_000  # rows
TOLD = 200  # rows from which on it is told what repeats
REPEATED = 5  # rows of one value that are no chance
NOISE = 16 * np.finfo(np.float64).eps  # of the greatest value: what lies nearer is the same but for rounding
FEW = 0.1  # the share of rows whose values came once that may be left out of what a step is
MOST = 709.0  # of a logarithm, that exp can take
ALL = 0.97  # the share of rows that a step of logarithms is good for: it shrinks as values grow
CHANGED = 10.0  # times, by which a step has to differ from the one that is known to take its place

REPEATS, TOO_FINE, FOLLOWS = "repeated values", "too fine", "dependent"  # signs
FINEST = 1e-63  # of a range: variances stay above 1e-130, that their products be normal numbers
FEW_VALUES, FEWEST = 5, 3  # values that no Gaussian field has so few of, where all are common or in any case
ATOM = 0.02  # the share of rows that one value has to have to be common
TRIED, TWICE = 0.01, 2  # the share of rows, and times those beside it, from which a component is tried on a value
ATOMS = 3  # that are tried
PEAK = 10.0  # how many times as common as those beside it a value is that doesn't belong to them
NARROW = 1.05  # times the least variance, up to which a component is one value alone
ALONE = 0.05  # the weight of one that is told of
FINER = 1e-3  # of a step, where K is given and values stand out
DEPENDENT = 1e-10  # the share of a column's variance, given those before it, below which it follows from them
KEPT, KEPT_FINE = 1e-4, 1e-8  # of that column's variance are the least, then; the latter where K is given


class Column(NamedTuple):
    """A Gaussian column: where its scale is in a state, and its field."""

    number: int
    block: int
    unit: int
    row: int
    size: int
    is_logarithm: bool


class Repeats(NamedTuple):
    """What the last look at a column saw: how many values, the commonest, its share, the next's, and the rarest's.

    `next` is the greater share of the two values beside the commonest, where they are a step away.
    """

    values: int
    commonest: float
    share: float
    next: float
    rarest: float


class Atom(NamedTuple):
    """A value of a column that is far commoner than those beside it: its share, and how near a number is the same."""

    column: int
    value: float
    share: float
    near: float


class Resolution:
    """The step of each Gaussian column; 0 where its values don't repeat."""

    def __init__(self, n_columns: int, is_given: bool = False) -> None:
        self.is_given = is_given  # whether K is
        self.dependent: set[int] = set()  # columns that follow from those before them in their group
        self.steps = np.zeros(n_columns)
        self.grids = np.zeros(n_columns)  # the same of x, where the column holds log x
        self.seen: dict[int, Repeats] = {}
        self.too_fine: set[int] = set()  # columns whose range is too small
        self.atoms: list[Atom] = []  # the greatest come first

    @property
    def least(self) -> FloatArray | None:
        """For each column, what its variance is at the least, of its prior's scale; None where nothing is known."""
        return np.where(self.steps > 0.0, 1.0, LEAST_SHARE) if self.steps.any() else None

    def look(self, rows: FloatArray, layout: Layout) -> bool:
        """Look at rows; tell whether a step has changed."""
        before = self._variances()
        self._look_for_dependence(rows, layout)
        for column in _columns(layout):
            values = rows[:, column.number]
            kind = layout[column.block][0]
            values = values[np.isfinite(values)]
            if kind.startswith(INFLATING) and not column.is_logarithm:
                values = values[values != 0.0]
            if len(values) >= REPEATED:
                self._look_at(column, values)
        return self._variances() != before

    def _variances(self) -> list[float]:
        """The least variance of each column; 0 where there is none."""
        return [self._least(number) if step > 0.0 else 0.0 for number, step in enumerate(self.steps.tolist())]

    def _least(self, number: int) -> float:
        one, step = self.seen.get(number), float(self.steps[number])
        stands_out = one is not None and one.values > 1 and _said("", one) is not None
        is_fine = self.is_given and stands_out and number not in self.dependent
        return _least_variance(FINER * step if is_fine else step)

    def _look_for_dependence(self, rows: FloatArray, layout: Layout) -> None:
        """Find the columns that are sums of multiples of those before them."""
        kept = KEPT_FINE if self.is_given else KEPT
        for kind, columns, size, is_fixed, _ in layout:
            if kind != "mvn" or is_fixed:
                continue
            own = rows[:, columns]
            own = own[np.isfinite(own).all(axis=1)]
            if len(own) < max(2 * size, REPEATED):
                continue
            spread = own.std(axis=0)
            own = (own - own.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
            for number, share, sd in zip(columns, _left(own), spread.tolist(), strict=True):
                was = number in self.dependent
                if sd > 0.0 and share < DEPENDENT:
                    self.dependent.add(number)
                    self.steps[number] = self.steps[number] if was else math.sqrt(2 * math.pi * kept) * sd
                    self.grids[number] = 0.0
                elif was:
                    self.dependent.remove(number)
                    self.steps[number] = 0.0

    def _look_at(self, column: Column, values: FloatArray) -> None:
        found, counts = _distinct(values)
        self.seen.pop(column.number, None)
        self.atoms = [atom for atom in self.atoms if atom.column != column.number]
        self.too_fine.discard(column.number)
        if len(found) > 1 and found[-1] - found[0] < FINEST:
            self.too_fine.add(column.number)
        if counts.max() < REPEATED:
            return
        step, known = _step(found, counts, column.is_logarithm), float(self.steps[column.number])
        is_other = not known or (len(found) > 1 and not known / CHANGED < step < known * CHANGED)
        if is_other and (column.number not in self.dependent or step > known):
            self.steps[column.number] = self.grids[column.number] = step
            if column.is_logarithm:
                again = np.exp(np.minimum(found[counts > 1], MOST))
                self.grids[column.number] = np.diff(again).min() if len(again) > 1 else 0.0
        if len(values) < TOLD:
            return
        at, n, beside = int(counts.argmax()), len(values), _beside(found, counts, step)
        peaks = np.flatnonzero((counts >= TRIED * n) & (counts >= TWICE * beside) & (len(found) > 1))
        found_atoms = [Atom(column.number, float(found[i]), int(counts[i]) / n, 1e-3 * step) for i in peaks]
        self.atoms = sorted([*self.atoms, *found_atoms], key=lambda atom: -atom.share)[:ATOMS]
        commonest = math.exp(min(found[at], MOST)) if column.is_logarithm else float(found[at])
        share, following, rarest = (int(count) / n for count in (counts[at], beside[at], counts.min()))
        self.seen[column.number] = Repeats(len(found), commonest, share, following, rarest)

    def apply(self, layout: Layout, state: State) -> None:
        """Let the least variances of a state be those of the steps."""
        state.least = self.least
        for column in _columns(layout):
            step = self.steps[column.number]
            if step > 0.0:
                state.priors[column.block][column.unit, column.row] = self._least(column.number)

    def surplus(self, layout: Layout, member: Member, rows: FloatArray) -> float:
        """Return by how many nats a record narrow components overstate the values that there can be.

        The densities of a Normal of variance v at values a step d apart add up to 1/d (1 + 2 exp(-2 pi**2 v / d**2)),
        nearly: a model of many narrow ones would win by what is more than their probabilities add up to.
        """
        total, k, engine = 0.0, member.state.n_components, member.engine
        for i, (kind, columns, _, is_fixed, _) in enumerate(layout):
            known = np.flatnonzero(self.grids[columns])
            if is_fixed or not len(known):
                continue
            theta, values = engine.theta[i], member.state.statistics[i]
            own = [columns[j] for j in known]
            variances = theta[0, known, :k] if kind == "mvn" else theta[known, 0, :k]
            steps = np.repeat(self.grids[own][:, None], k, axis=1)
            if kind.endswith("lognormal"):
                means = values[known, 0, :k] + values[known, 1, :k]
                steps = np.exp(np.clip(np.log(steps) - means, -300.0, 300.0))
            total += float(np.isfinite(rows[:, own]).mean(axis=0) @ _excess(variances, steps) @ engine.weights)
        return total * (1.0 - engine.background)

    def widen(self, at: int, rows: FloatArray, layout: Layout) -> None:
        """Make room for the columns of a field that joins, of which there are these rows so far, and look at them."""
        more = rows.shape[1]
        self.steps, self.grids = (np.insert(one, [at] * more, 0.0) for one in (self.steps, self.grids))
        self.seen = {number + more * (number >= at): one for number, one in self.seen.items()}
        self.too_fine = {number + more * (number >= at) for number in self.too_fine}
        self.dependent = {number + more * (number >= at) for number in self.dependent}
        self.atoms = [atom._replace(column=atom.column + more * (atom.column >= at)) for atom in self.atoms]
        wide = np.full((len(rows), len(self.steps)), np.nan)
        wide[:, at : at + more] = rows
        self.look(wide, layout)

    def to_json(self) -> list[Any]:
        """Return everything as JSON can hold it."""
        seen = [[number, *one] for number, one in self.seen.items()]
        found = [self.steps.tolist(), self.grids.tolist(), seen, sorted(self.too_fine), list(self.atoms)]
        return [*found, sorted(self.dependent), self.is_given]

    @classmethod
    def from_json(cls, document: Sequence[Any], n_columns: int) -> "Resolution":
        """Return what `to_json` was called of."""
        steps, grids, seen, too_fine, atoms, dependent, is_given = document
        made = cls(n_columns, bool(is_given))
        made.steps, made.grids = np.array(steps, dtype=np.float64), np.array(grids, dtype=np.float64)
        for known in (made.steps, made.grids):
            if known.shape != (n_columns,) or not (np.isfinite(known) & (known >= 0.0)).all():
                raise CheckpointError("the checkpoint's steps between values contradict themselves")
        made.seen = {int(number): Repeats(int(values), *map(float, rest)) for number, values, *rest in seen}
        made.too_fine = {int(number) for number in too_fine}
        made.dependent = {int(number) for number in dependent}
        made.atoms = atoms_from(atoms)
        return made

    def doubts(self, schema: Schema, member: Member) -> list[dict[str, Any]]:
        """Return the signs that a field's values are no Gaussian's: what repeats, and how to declare it."""
        found: list[dict[str, Any]] = []
        for column in _columns(schema.layout()):
            name = schema.blocks[column.block].names[column.unit][column.row]
            if column.number in self.dependent:
                text = f"{name!r} follows from the fields before it, as a sum of multiples: leave it out"
                found.append({"sign": FOLLOWS, "text": text, "field": name})
                continue
            one = self.seen.get(column.number)
            about = None if one is None else _said(name, one) or self._alone(name, column, member)
            if about is not None:
                text, value, share = about
                value = float(f"{value:.12g}")
                found.append({"sign": REPEATS, "text": text, "field": name, "value": value, "share": round(share, 6)})
            if column.number in self.too_fine:
                text = f"{name!r} varies by less than {FINEST:g}, too little for any two values to be told apart"
                found.append({"sign": TOO_FINE, "text": text, "field": name})
        return found

    def _alone(self, name: str, column: Column, member: Member) -> Said | None:
        """What is to be said of components that are one value of a column alone."""
        state, theta, row, k = member.state, member.engine.theta[column.block], column.row, member.state.n_components
        values, size = state.statistics[column.block][column.unit], column.size
        variances = theta[column.unit, row, :k].copy()
        for j in range(row):  # of a joint Normal they are those given the coordinates before
            variances += values[3 * size + row * (row - 1) // 2 + j, :k] ** 2 * theta[0, j, :k]
        is_alone = variances <= NARROW * _least_variance(float(self.steps[column.number]))
        weights = np.where(is_alone, member.engine.weights * (1.0 - member.engine.background), 0.0)
        at = int(weights.argmax())
        if weights[at] < ALONE:
            return None
        value = float(values[row, at] + values[size + row, at])
        value = math.exp(min(value, MOST)) if column.is_logarithm else value
        return _atom(name, value, float(weights[at]))


def resolve_as(layout: Layout, state: State, other: State) -> None:
    """Let the least variances of a state be another's."""
    least = state.least = other.least
    for column in _columns(layout):
        if least is not None and least[column.number] == 1.0:
            at = column.block, column.unit, column.row
            state.priors[at[0]][at[1:]] = other.priors[at[0]][at[1:]][0]


def _columns(layout: Layout) -> Iterator[Column]:
    """The columns that learnt Gaussians read."""
    for block, (kind, columns, size, is_fixed, _) in enumerate(layout):
        bare = kind.removeprefix(INFLATING)
        if is_fixed or bare not in GAUSSIAN:
            continue
        width = width_of(kind, size)
        for i, number in enumerate(columns):
            yield Column(number, block, i // width, i % width, width, bare == "lognormal")


def _left(points: FloatArray) -> list[float]:
    """The share of each standardised column's variance that those before it leave."""
    common = crossed(points, points) / len(points)
    for j, share in enumerate(np.diagonal(common)):  # a view: it changes as columns are taken off those after them
        if share > DEPENDENT:
            common[j + 1 :, j + 1 :] -= np.outer(common[j, j + 1 :], common[j, j + 1 :] / share)
    left: list[float] = np.diagonal(common).tolist()
    return left


def _distinct(values: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """The values that differ by more than rounding, ascending, and how many rows each has."""
    ordered = np.sort(values)
    noise = NOISE * max(abs(float(ordered[0])), abs(float(ordered[-1])))
    first = np.flatnonzero(ordered[1:] - ordered[:-1] > noise) + 1
    ends = np.concatenate(([0], first, [len(ordered)]))
    return ordered[ends[:-1]], ends[1:] - ends[:-1]


def _step(found: FloatArray, counts: NDArray[np.intp], is_logarithm: bool = False) -> float:
    """How far the nearest other value is from most rows: at least half, or nearly all where it is one of logarithms."""
    if len(found) == 1:
        return math.sqrt(2 * math.pi * mean_variance(found)[1])
    again = counts > 1
    if again.sum() > 1 and counts[again].sum() >= (1 - FEW) * counts.sum():
        found, counts = found[again], counts[again]
    gaps = np.diff(found)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    order = np.argsort(nearest, kind="stable")
    most = np.searchsorted(np.cumsum(counts[order]), counts.sum() * (ALL if is_logarithm else 0.5))
    return float(nearest[order[most]])


def _excess(variances: FloatArray, steps: FloatArray) -> FloatArray:
    """The logarithm of what the probabilities of values so far apart add up to, for a Normal on one of them."""
    with np.errstate(over="ignore"):  # what is wide beyond measure adds up to 1
        ratio = np.maximum(variances / steps / steps, 1e-300)
    narrow = (1.0 + 2.0 * np.exp(-0.5 / ratio)) / np.sqrt(2 * math.pi * ratio)
    return np.asarray(np.log(np.where(ratio > 0.5 / math.pi, 1.0 + 2.0 * np.exp(-2 * math.pi**2 * ratio), narrow)))


def atoms_from(document: Sequence[Any]) -> list[Atom]:
    """Return the atoms that JSON has held."""
    return [Atom(int(column), *map(float, rest)) for column, *rest in document]


def _beside(found: FloatArray, counts: NDArray[np.intp], step: float) -> NDArray[np.intp]:
    """Of each value, the greater count of the two that may be a step beside it."""
    is_near = np.diff(found) < 1.5 * step
    below = np.insert(np.where(is_near, counts[:-1], 0), 0, 0)
    above = np.append(np.where(is_near, counts[1:], 0), 0)
    return np.asarray(np.maximum(below, above))


def _least_variance(step: float) -> float:
    return max(step**2 / (2 * math.pi), LEAST_VARIANCE)


def _said(name: str, one: Repeats) -> Said | None:
    """What is to be said of a column's values, if anything."""
    if one.values == 1:
        text = f"{name!r} has always been {one.commonest:.12g}: nothing is known of its spread"
        return text, one.commonest, one.share
    if one.values <= FEWEST or (one.values <= FEW_VALUES and one.rarest >= ATOM):
        text = f"{name!r} has only {one.values} values: Categorical, or a family of counts, would describe it"
        return text, one.commonest, one.share
    return _atom(name, one.commonest, one.share) if one.share >= max(ATOM, PEAK * one.next) else None


def _atom(name: str, value: float, share: float) -> Said:
    better = "ZeroInflated" if abs(value) < 1e-9 else "a Bernoulli field of its own for whether it is"
    return f"{share:.0%} of {name!r} are {value:.6g} exactly: {better} would describe it", value, share
