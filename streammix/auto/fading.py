"""Components that were well founded once and that nearly no record comes to any more."""

from collections.abc import Sequence
from typing import Any

__all__ = ["STARVED", "Fading"]

STARVED = 30.0  # records that a component has to rest on
FOUNDED = 300.0


class Fading:
    """Which components have faded, by label, and whether a challenge has looked for a better place for them.

    One that has faded although there is no better place is not missing anywhere: the model has one more than it needs.

    Examples
    --------
    >>> fading = Fading()
    >>> fading.look([0, 1], [500.0, 800.0]), fading.look([0, 1], [500.0, 12.0])
    (False, True)
    >>> fading.settle()
    >>> fading.look([0, 1], [500.0, 3.0]), fading.is_settled(1)
    (False, True)
    """

    def __init__(self) -> None:
        self.peaks: dict[int, float] = {}
        self.faded: list[int] = []
        self.settled: list[int] = []

    def look(self, labels: Sequence[int], counts: Sequence[float]) -> bool:
        """Take in how many records each component rests on; tell whether one has faded and nobody looked why."""
        self.peaks = {label: max(self.peaks.get(label, 0.0), n) for label, n in zip(labels, counts, strict=True)}
        few = [label for label, n in zip(labels, counts, strict=True) if n < STARVED]
        self.faded = [label for label in few if self.peaks[label] >= FOUNDED]
        self.settled = [label for label in self.settled if label in self.faded]
        return len(self.settled) < len(self.faded)

    def settle(self) -> None:
        """Take down that a challenge is over: what has faded may be so."""
        self.settled = list(self.faded)

    def is_settled(self, label: int) -> bool:
        """Tell whether a component has faded and a challenge has found no better place for it."""
        return label in self.settled

    def to_json(self) -> list[Any]:
        """Return everything as JSON can hold it."""
        return [[[label, peak] for label, peak in self.peaks.items()], list(self.faded), list(self.settled)]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> "Fading":
        """Return what `to_json` was called of."""
        peaks, faded, settled = document
        made = cls()
        made.peaks = {int(label): float(peak) for label, peak in peaks}
        made.faded, made.settled = [int(label) for label in faded], [int(label) for label in settled]
        return made
