"""The numbers that components keep for ever."""

from collections.abc import Sequence

from streammix.auto.events import Events

__all__ = ["Labels"]


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

    def take_over(self, old: Sequence[int], n_seen: int, events: Events) -> None:
        """Give each component the number of the one whose place it takes, by `old`, or a new one where that is -1."""
        labels = self.own
        for label in [label for k, label in enumerate(labels) if k not in old]:
            events.note(n_seen, "death", label=label)
        self.own = [labels[k] if k >= 0 else self._new(n_seen, events) for k in old]

    def lead_after(self, leader: "Labels", old: Sequence[int], n_seen: int, events: Events) -> None:
        """Begin to predict in place of another line, whose components go on by `old`; others may have been shown."""
        for label in [label for k, label in enumerate(leader.own) if k not in old]:
            events.note(n_seen, "death", label=label)
        mine, self.free = self.own, leader.free
        self.own = [leader.own[k] if k >= 0 else -1 for k in old]
        for place, k in enumerate(old):
            if k < 0 and mine[place] >= 0 and mine[place] not in self.own:
                self.own[place] = mine[place]
                events.note(n_seen, "return", label=mine[place])
            elif k < 0:
                self.own[place] = self._new(n_seen, events)

    def _new(self, n_seen: int, events: Events) -> int:
        """Return the number of a component that is born."""
        if events.is_silent:
            self.hidden -= 1
            return self.hidden + 1
        self.free += 1
        events.note(n_seen, "birth", label=self.free - 1)
        return self.free - 1
