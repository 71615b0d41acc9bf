"""What runs of a supervised mixture: lines that learn side by side in beats, and are judged in ticks.

Records wait until there is a beat of them. A beat moves every member of every line by one mini-batch, fills the
reservoir and does a slice of the work on challenges. Each tenth beat ends a tick, when everything is judged. All of it
goes by the number of records: how they are handed over does not matter, and it can be saved between any two.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.events import Events
from streammix.auto.line import Line, Settings
from streammix.auto.reservoir import Reservoir
from streammix.core.engine import Engine
from streammix.declaration import Declaration
from streammix.errors import CheckpointError
from streammix.packing import check_rows
from streammix.running import Running
from streammix.schema import Schema
from streammix.state import State, Supervision

__all__ = ["BEAT", "TICK", "Supervisor"]

FloatArray = NDArray[np.float64]

BEAT = 50
TICK = 500
AVERAGING = 250
SMALLEST, LARGEST = 4_000, 20_000  # records in the reservoir
PER_PARAMETER = 10


def reservoir_size(n_parameters: int) -> int:
    """Return how many records are kept: ten a parameter, from 4,000 to 20,000."""
    return min(max(SMALLEST, PER_PARAMETER * n_parameters), LARGEST)


class Supervisor(Running):
    """The lines of a supervised mixture, and what moves them."""

    def __init__(
        self,
        declaration: Declaration,
        schema: Schema,
        lines: list[Line],
        settings: Settings,
        reservoir: Reservoir,
        rng: np.random.Generator,
    ) -> None:
        self.lines = lines
        self.leader = 0
        self.settings = settings
        self.reservoir = reservoir
        self.events = Events()
        self.rng = rng
        super().__init__(declaration, schema, lines[0].champion.state)

    @property
    def line(self) -> Line:
        """The line that predicts."""
        return self.lines[self.leader]

    @property
    def published(self) -> Engine:
        """The engine whose parameters are shown."""
        return self.line.published.engine

    @property
    def published_state(self) -> State:
        """The state whose parameters are shown."""
        return self.line.published.state

    def states(self) -> list[State]:
        """Return all statistics that are kept."""
        return [state for line in self.lines for state in line.states()]

    def engines(self) -> list[Engine]:
        """Return the engines that are bound to them and stay so."""
        prepared = [line.challenge.engine for line in self.lines if line.challenge is not None]
        return [member.engine for line in self.lines for member in line.members] + prepared

    def rebind(self) -> None:
        """Bind engines to the states anew, after arrays were replaced."""
        for line in self.lines:
            line.bind()
        self._point()

    def _point(self) -> None:
        """Let what a plain mixture has be what is published."""
        self.engine, self.state = self.published, self.published_state
        self.average_engine = None

    def _learn_batches(self, rows: Any, begin: int, end: int) -> None:
        while begin < end:
            begin = self._let_wait(rows, begin, end)

    def _learn_waiting(self, n: int, added: int) -> None:
        """A beat: of n rows, the last `added` of which are not counted yet."""
        waiting = self.waiting
        assert waiting is not None
        self.n_seen += added
        now = self.n_seen
        self.reservoir.add(waiting.rows[:n], waiting.weights[:n])
        for line in self.lines:
            line.step(self._full, n, waiting.weights, now, self.reservoir.n % AVERAGING < BEAT)
        if self.reservoir.n % TICK < BEAT:
            for line in self.lines:
                line.judge(now, TICK, self.events, self.reservoir)
        for line in self.lines:
            line.prepare(now, self.reservoir, self.rng)
        self._point()

    def supervision(self) -> Supervision:
        """Return what is kept beside the champion, as plain data."""
        rows, weights = self.reservoir.last(self.reservoir.n)
        states: dict[str, State] = {}
        arrays = {"reservoir": rows, "reservoir weights": weights}
        for i, line in enumerate(self.lines):
            states |= {f"line{i} {name}": state.copy() for name, state in line.named_states().items()}
            if line.challenge is not None:
                arrays |= {f"line{i} {name}": array.copy() for name, array in line.challenge.arrays().items()}
        document = {
            "leader": self.leader,
            "lines": [line.to_json() for line in self.lines],
            "reservoir": [self.reservoir.n, len(self.reservoir.rows)],
            "events": list(self.events.kept),
            "counts": dict(self.events.counts),
            "random_state": dict(self.rng.bit_generator.state),
        }
        return Supervision(document, states, arrays)

    @classmethod
    def resumed(cls, declaration: Declaration, schema: Schema, settings: Settings, kept: Supervision) -> "Supervisor":
        """Return what `supervision` was called of."""
        document = kept.document
        n, size = (int(value) for value in document["reservoir"])
        rows, weights = kept.arrays["reservoir"], kept.arrays["reservoir weights"]
        if len(rows) != len(weights) or len(rows) != min(n, size) or size > LARGEST:
            raise CheckpointError("the checkpoint's reservoir contradicts itself")
        check_rows(rows, schema.layout())
        reservoir = Reservoir(size, schema.reader.n_columns)
        reservoir.n = n - len(rows)
        reservoir.add(rows, weights)
        lines = []
        for i, own in enumerate(document["lines"]):
            prefix = f"line{i} "
            states = {name.removeprefix(prefix): s.copy() for name, s in kept.states.items() if name.startswith(prefix)}
            arrays = {name.removeprefix(prefix): a.copy() for name, a in kept.arrays.items() if name.startswith(prefix)}
            lines.append(Line.resumed(schema, settings, own, states, arrays))
        rng = np.random.default_rng()
        rng.bit_generator.state = document["random_state"]
        made = cls(declaration, schema, lines, settings, reservoir, rng)
        made.leader = int(document["leader"])
        made.events.kept = [dict(event) for event in document["events"]]
        made.events.counts = {str(kind): int(n) for kind, n in document["counts"].items()}
        made._point()
        return made
