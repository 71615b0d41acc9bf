"""A queue that delivers at least once: it begins before where it was, and sends records again and late."""

import json
import random
from pathlib import Path

import numpy as np

from streammix.pipeline.flow import Batch


class Repeating:
    """Delivers the lines of ``events.ndjson`` beside the configuration, by their numbers."""

    def __init__(self, directory, position=None):
        self._lines = (Path(directory) / "events.ndjson").read_bytes().splitlines()
        self._at = max((position["at"] if position else 0) - 30, 0)
        self._rng = random.Random(self._at)

    def read(self, limit):
        """Return the next records, and some of the earlier ones."""
        if self._at == len(self._lines):
            return None
        again = min(self._rng.randrange(10), limit - 1, self._at)
        end = min(self._at + min(limit - again, 40), len(self._lines))
        order = list(range(self._at - again, end))
        if len(order) < limit and self._rng.random() < 0.5:
            order.append(order[0])  # late
        self._at = end
        return Batch("queue", np.array(order), texts=[self._lines[i] for i in order])

    def position(self):
        """Return where the next read begins."""
        return {"at": self._at}

    def acknowledge(self):
        """Do nothing."""

    def close(self):
        """Do nothing."""


def text_of(records):
    """Return records as lines."""
    return "".join(json.dumps(record) + "\n" for record in records)
