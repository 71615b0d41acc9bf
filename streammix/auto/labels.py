"""The numbers that components keep for ever."""

from collections.abc import Sequence

from streammix.auto.events import Events
from streammix.auto.past import Past

__all__ = ["Labels"]

FORMER = 4  # mixtures of the past, by which components are known when they come back


class Labels:
    """The number of each component of a line.

    Of a line that does not predict, components that have never been shown have numbers below 0, which nobody sees.

    Parameters
    ----------
    n_components
        K.
    is_shown
        Whether the line predicts.
    """

    def __init__(self, n_components: int, is_shown: bool = True) -> None:
        self.own = list(range(n_components)) if is_shown else list(range(-n_components, 0))
        self.free = n_components  # the next number
        self.hidden = -n_components - 1  # the next one below 0
        self.former = Past(FORMER)  # what predicted before it was found wrong, or another line took its place

    def take_over(self, heirs: Sequence[int | None], n_seen: int, events: Events) -> None:
        """Go on with other components, which have these numbers; None is one that is born."""
        shown = self.own
        for label in [label for label in shown if label not in heirs]:
            events.note(n_seen, "death", label=label)
        self.own = [self._new(n_seen, events) if label is None else label for label in heirs]
        for label in [label for label in heirs if label is not None and label not in shown]:
            events.note(n_seen, "return", label=label)

    def lead_after(self, leader: "Labels", heirs: Sequence[int | None], n_seen: int, events: Events) -> None:
        """Begin to predict in place of another line, with these numbers; None is one that is born."""
        self.own, self.free = leader.own, leader.free
        self.former, leader.former = leader.former, Past(FORMER)
        self.take_over(heirs, n_seen, events)

    def _new(self, n_seen: int, events: Events) -> int:
        """Return the number of a component that is born."""
        if events.is_silent:
            self.hidden -= 1
            return self.hidden + 1
        self.free += 1
        events.note(n_seen, "birth", label=self.free - 1)
        return self.free - 1
