"""What happened, with its evidence."""

import logging
from typing import Any

__all__ = ["Events"]

log = logging.getLogger("streammix")

KEPT = 200


class Events:
    """The last events, and how many there were of each kind."""

    def __init__(self, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        self.kept: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}

    def note(self, n_seen: int, kind: str, **evidence: Any) -> None:
        """Take down an event, and say it in the log."""
        if self.is_silent:
            return
        told = {name: round(value, 6) if isinstance(value, float) else value for name, value in evidence.items()}
        self.kept = [*self.kept, {"n_seen": n_seen, "kind": kind, **told}][-KEPT:]
        self.counts[kind] = self.counts.get(kind, 0) + 1
        log.info("after %d records: %s %s", n_seen, kind, ", ".join(f"{name} {value}" for name, value in told.items()))
