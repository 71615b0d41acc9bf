"""What the champion's average was a while ago: before the records that show that it has become wrong."""

from streammix.auto.matching import shared
from streammix.running import joined
from streammix.schema import Schema
from streammix.state import State

__all__ = ["Past"]

EVERY = 1_000  # records from one copy to the next
KEPT = 2


class Past:
    """Copies of statistics, the oldest first."""

    def __init__(self) -> None:
        self.copies: list[State] = []

    @property
    def before(self) -> State | None:
        """What they were before the last thousand records or more; None where they are too young."""
        return self.copies[0] if len(self.copies) == KEPT else None

    def take(self, n_seen: int, tick: int, state: State) -> None:
        """End a tick of so many records."""
        if n_seen % EVERY < tick:
            self.copies = [*self.copies, state.copy()][-KEPT:]

    def halve(self) -> None:
        """Let all records so far weigh half of what they did."""
        for state in self.copies:
            state.halve()

    def join(self, old: Schema, schema: Schema, part: State) -> None:
        """Take in a field, of which `part` is what a single component knows."""
        self.copies = [joined(state, old, schema, shared(part, state)) for state in self.copies]
