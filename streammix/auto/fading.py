"""Components that nearly no record comes to, and whether a challenge has looked for a better place for them."""

from collections.abc import Sequence
from typing import Any

__all__ = ["STARVED", "Fading"]

STARVED = 30.0  # records that a component has to rest on
RECOVERED = 60.0  # records from which on it does not starve any more


class Fading:
    """Which components starve, by label and since when, and of which a challenge has seen to it.

    One that starves although there is no better place is not missing anywhere: the model has one more than it needs.

    Examples
    --------
    >>> fading = Fading()
    >>> fading.look([0, 1], [500.0, 800.0], 1_000), fading.look([0, 1], [500.0, 12.0], 1_500)
    (False, True)
    >>> fading.settle(1_200), fading.is_settled(1), fading.settle(2_000), fading.is_settled(1)
    (None, False, None, True)
    >>> fading.look([0, 1], [500.0, 3.0], 2_500)
    False
    """

    def __init__(self) -> None:
        self.since: dict[int, int] = {}
        self.settled: list[int] = []

    def look(self, labels: Sequence[int], counts: Sequence[float], n_seen: int) -> bool:
        """Take in how many records each component rests on; tell whether one starves and nobody looked why."""
        self.since = {
            label: self.since.get(label, n_seen)
            for label, n in zip(labels, counts, strict=True)
            if n < (RECOVERED if label in self.since else STARVED)
        }
        self.settled = [label for label in self.settled if label in self.since]
        return len(self.settled) < len(self.since)

    def settle(self, born: int) -> None:
        """Take down that a challenge is over which was born after so many records: what starved by then may do so."""
        self.settled = [label for label, since in self.since.items() if since <= born or label in self.settled]

    def is_settled(self, label: int) -> bool:
        """Tell whether a component starves and a challenge has found no better place for it."""
        return label in self.settled

    def to_json(self) -> list[Any]:
        """Return everything as JSON can hold it."""
        return [[[label, since] for label, since in self.since.items()], list(self.settled)]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> "Fading":
        """Return what `to_json` was called of."""
        since, settled = document
        made = cls()
        made.since = {int(label): int(n_seen) for label, n_seen in since}
        made.settled = [int(label) for label in settled]
        return made
