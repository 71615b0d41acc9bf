"""Which component of a mixture goes on from which, and so which number each has, when one takes another's place."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its subpackages load when they are first asked for: scipy.optimize takes half a second
from numpy.typing import NDArray

from streammix.auto.background import engine_of
from streammix.auto.events import Events
from streammix.auto.matching import arranged, overlap, responsibilities
from streammix.auto.reservoir import Kept
from streammix.core.engine import Engine

if TYPE_CHECKING:
    from streammix.auto.line import Line

__all__ = ["assigned", "heirs", "lead_after", "placed"]

FloatArray = NDArray[np.float64]

MATCHED = 1_000  # records by which components are matched
SAME = 0.2  # the overlap, from 0 to 1, from which on two components are one and the same
WAS_SAME, WAS = 0.5, 0.9  # that with one of the past; and what such a one is worth, beside one that is there
OWN = 0.5  # what it is worth that a component has had a number before
ALIKE = 0.5  # overlap, weights aside
WEIGHTLESS = 0.005  # share of a component that nobody misses


def heirs(line: "Line", new: Engine, mine: Sequence[int], kept: Kept) -> tuple[list[int], list[int | None]]:
    """Match the components of a mixture with those of a line's champion, in whose place it comes, and of the past.

    Parameters
    ----------
    line
        What it takes the place of.
    new
        The mixture.
    mine
        The numbers that its components had when they were last shown; below 0 where they never were.
    kept
        The records, of which they are matched by a thousand.

    Returns
    -------
    tuple[list[int], list[int | None]]
        For each place, which component goes there, and its number; None where it is born.
    """
    rows = kept.typical(MATCHED)
    own, there = responsibilities(rows, new), responsibilities(rows, line.champion.engine)
    claims = dict(zip(line.labels.own, overlap(there, own), strict=True))
    for labels, state in line.labels.former.laws:
        engine = engine_of(line.schema, state, (0, 1.0), line.settings.spread)
        was = overlap(responsibilities(rows[::2], engine), own[::2])
        for label, found in zip(labels, np.where(was >= WAS_SAME, WAS * was, 0.0), strict=True):
            if label >= 0:
                claims[label] = np.maximum(claims.get(label, 0.0), found)
    for place, label in enumerate(mine):
        if label >= 0:
            claims[label] = np.maximum(claims.get(label, 0.0), np.where(np.arange(len(mine)) == place, OWN, 0.0))
    found = assigned(claims, own.shape[1])
    _share_out(found, line.labels.own, there, own)
    return placed(found, line.labels.own)


def assigned(claims: Mapping[int, FloatArray], n_components: int) -> list[int | None]:
    """Return the number of each component, by how much each number has a claim to each; None where none has.

    Examples
    --------
    >>> assigned({4: np.array([0.9, 0.6, 0.0]), 7: np.array([0.8, 0.1, 0.1])}, 3)
    [7, 4, None]
    """
    labels: list[int] = list(claims)
    found: list[int | None] = [None] * n_components
    worth = np.array([claims[label] for label in labels])
    worth[worth < SAME] = 0.0
    for row, column in zip(*scipy.optimize.linear_sum_assignment(-worth), strict=True):
        if worth[row, column] > 0.0:
            found[column] = labels[row]
    return found


def _share_out(found: list[int | None], shown: Sequence[int], there: FloatArray, own: FloatArray) -> None:
    """Let those without a number have one that is left, where only their weights differ, or nobody will miss them."""
    born = [place for place, label in enumerate(found) if label is None]
    gone = [place for place, label in enumerate(shown) if label not in found]
    if born and gone:
        alike = overlap(_of_one(there[:, gone]), _of_one(own[:, born]))
        alike[alike < ALIKE] = 0.0
        alike[:, own[:, born].mean(axis=0) < WEIGHTLESS] += SAME
        claims = {shown[place]: claim for place, claim in zip(gone, alike, strict=True)}
        for place, label in zip(born, assigned(claims, len(born)), strict=True):
            found[place] = label


def _of_one(shares: FloatArray) -> FloatArray:
    """Return shares of records, (n, K), as those of components that have one record each."""
    made: FloatArray = shares / np.maximum(shares.sum(axis=0), 1e-300)
    return made


def placed(found: Sequence[int | None], shown: Sequence[int]) -> tuple[list[int], list[int | None]]:
    """Return which component goes to which place, and the number of each: a number that is shown stays where it is.

    Where there are fewer places than numbers, later ones move up.

    Examples
    --------
    >>> placed([None, 4, 7], [7, 4])
    ([2, 1, 0], [7, 4, None])
    """
    spare = [j for j, label in enumerate(found) if label not in shown]
    order = []
    for label in shown:
        if label in found:
            order.append(found.index(label))
        elif spare:
            order.append(spare.pop(0))
    order += spare
    return order, [found[j] for j in order]


def lead_after(new: "Line", old: "Line", kept: Kept, n_seen: int, events: Events) -> None:
    """Let a line predict in place of another, its components in the places of those that they go on from."""
    order, found = heirs(old, new.champion.engine, new.labels.own, kept)
    for member in [new.champion, new.average, *new.experts]:
        member.state = arranged(member.state, order)
        member.bind()
    mine = [new.labels.own[k] for k in order]
    old.labels.former.add(old.labels.own, old.champion.state)
    new.labels.lead_after(old.labels, found, n_seen, events)
    new.past.rename({was: now for was, now in zip(mine, new.labels.own, strict=True) if was < 0})
