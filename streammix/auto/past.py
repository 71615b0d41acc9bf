"""What mixtures were a while ago, with the numbers of their components."""

from collections.abc import Sequence
from typing import NamedTuple

from streammix.auto.matching import shared
from streammix.running import joined
from streammix.schema import Schema
from streammix.state import State

__all__ = ["Law", "Past"]

EVERY = 1_000  # records from one copy to the next
KEPT = 2


class Law(NamedTuple):
    """A mixture as it was.

    Parameters
    ----------
    labels
        The numbers of its components.
    state
        Its statistics.
    """

    labels: list[int]
    state: State


class Past:
    """Copies of statistics, the oldest first.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self.laws: list[Law] = []

    @property
    def oldest(self) -> Law | None:
        """The oldest, of before the last thousand records or more; None where there are too few."""
        return self.laws[0] if len(self.laws) == self.most else None

    @property
    def states(self) -> list[State]:
        """The statistics."""
        return [law.state for law in self.laws]

    def add(self, labels: Sequence[int], state: State) -> None:
        """Keep a copy; where there are too many, the oldest goes."""
        self.laws = [*self.laws, Law(list(labels), state.copy())][-self.most :]

    def take(self, n_seen: int, tick: int, labels: Sequence[int], state: State) -> None:
        """End a tick of so many records: now and then a copy is kept."""
        if n_seen % EVERY < tick:
            self.add(labels, state)

    def halve(self) -> None:
        """Let all records so far weigh half of what they did."""
        for state in self.states:
            state.halve()

    def join(self, old: Schema, schema: Schema, part: State) -> None:
        """Take in a field, of which `part` is what a single component knows."""
        self.laws = [Law(own, joined(state, old, schema, shared(part, state))) for own, state in self.laws]

    def rename(self, names: dict[int, int]) -> None:
        """Let components have other numbers, those that have one in `names`."""
        self.laws = [Law([names.get(label, label) for label in own], state) for own, state in self.laws]
