"""What challenges found out about the champion, and whether the stream bears it out."""

from collections.abc import Mapping, Sequence
from typing import Any

from streammix.auto.member import Member

__all__ = ["AUDIT", "LAG", "Findings"]

AUDIT = ((0.003, 2.0), (0.01, 1.0))  # (nats a record, z) by which another model predicts better
LAG = (0.005, 2.0)  # (nats a record, z) that polishing gains
STALE = 5_000  # records after which a challenge's doubts are settled: who was better has won by then
REFUTED = 2  # standard errors between what a challenger gains and what would matter
FEWEST, MOST = 2, 4  # ticks that say so
ASKED = 2  # challenges that have to take two components for one


class Findings:
    """What the last challenge said of the champion, and which two components challenges take for one.

    Each challenge sends what came out of it beside the champion: where that turns out to predict no better, there was
    nothing in what the challenge said.
    """

    def __init__(self) -> None:
        self.audit = (0.0, 0.0)  # gain and z of the best proposal of the last challenge
        self.lag = (0.0, 0.0)  # of polishing what is published
        self.at: int | None = None  # when that was
        self.pair: list[int] = []  # labels of the two components that are most alike
        self.asked, self.records, self.gain = 0, 0, 0.0  # challenges, validating records, what one in their place gave

    def take(self, audit: tuple[float, float], lag: tuple[float, float], n_seen: int) -> None:
        """Take in what a challenge says of the champion."""
        self.audit, self.lag, self.at = audit, lag, n_seen

    def compare(self, pair: Sequence[int], gain: float, records: int) -> None:
        """Take in what one component gives so many records in the place of two; no pair where none are alike."""
        if set(pair) != set(self.pair):
            self.pair, self.asked, self.records, self.gain = sorted(pair), 0, 0, 0.0
        self.asked, self.records, self.gain = self.asked + 1, self.records + records, self.gain + records * gain

    @property
    def alike(self) -> list[int]:
        """Labels of two components that one would do for, by what several challenges have found; or none."""
        return self.pair if self.asked >= ASKED and self.gain > 0.0 else []

    def settle(self, n_seen: int, challengers: Sequence[Member]) -> None:
        """End a tick: put doubts away that are old, or that what came out of the challenge does not bear out."""
        if self.at is None:
            return
        own = [one.scores for one in challengers if one.born == self.at]
        is_refuted = not own or (
            own[0].n_ticks >= FEWEST and own[0].at_most(min(own[0].n_ticks, MOST), REFUTED) < AUDIT[0][0]
        )
        if is_refuted or n_seen - self.at > STALE:
            self.forget()

    def forget(self) -> None:
        """Put away what was said of the champion."""
        self.audit, self.lag, self.at = (0.0, 0.0), (0.0, 0.0), None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "audit": list(self.audit),
            "lag": list(self.lag),
            "doubted": self.at,
            "pair": [list(self.pair), self.asked, self.records, self.gain],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Findings":
        """Return what `to_json` was called of."""
        made = cls()
        (gain, z), (lag, lag_z) = document["audit"], document["lag"]
        made.audit, made.lag = (float(gain), float(z)), (float(lag), float(lag_z))
        made.at = None if document["doubted"] is None else int(document["doubted"])
        pair, asked, records, total = document.get("pair", ([], 0, 0, 0.0))
        made.pair = [int(label) for label in pair]
        made.asked, made.records, made.gain = int(asked), int(records), float(total)
        return made
