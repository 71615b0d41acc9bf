"""What runs of a supervised mixture: lines that learn side by side in beats, and are judged in ticks.

Records wait until there is a beat of them. A beat moves every member of every line by one mini-batch, fills the
reservoir and does a slice of the work on challenges. Each tenth beat ends a tick, when everything is judged. All of it
goes by the number of records: how they are handed over does not matter, and it can be saved between any two.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import Box
from streammix.auto.choice import Choice
from streammix.auto.doubts import doubts
from streammix.auto.events import Events
from streammix.auto.line import Line, Settings
from streammix.auto.reservoir import Reservoir
from streammix.core.engine import Engine
from streammix.core.table import Table, table_of
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
LOWEST = -1e4  # of a record's log density, where lines are compared
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
        self.sample = Reservoir(len(reservoir.rows), reservoir.rows.shape[1])
        self.sample.sample(*reservoir.last(reservoir.n), rng)
        self.events = Events()
        self.rng = rng
        self.box: Box | None = None
        self.choice = Choice(len(lines))
        self.told: list[str] = []  # the signs of doubt that are in the log
        super().__init__(declaration, schema, lines[0].champion.state)
        import_module(
            "scipy.optimize"
        )  # which `matching` asks for: it takes half a second, here rather than amid the stream

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

    def join(self, schema: Schema, part: State) -> None:
        """Take in a field that `schema` has last: at first it is the same in every component."""
        old, at = self.schema, len(self.schema.reader.rules)
        more = schema.reader.n_columns - old.reader.n_columns
        self.reservoir.widen(at, more)
        self.sample.widen(at, more)
        if self.box is not None:
            self.box.widen(at, more)
            self.box.refresh(schema.layout())
            self.settings = replace(self.settings, spread=self.box.spread)
        for line in self.lines:
            line.join(old, schema, part, self.settings, self.n_seen)
        self._read_by(schema)
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
        self.sample.sample(waiting.rows[:n], waiting.weights[:n], self.rng)
        averages = self.reservoir.n % AVERAGING < BEAT
        scores = [line.step(self._full, n, waiting.weights, averages) for line in self.lines]
        self.choice.add(n, [float(np.maximum(score, LOWEST).sum()) for score in scores])
        if self.box is not None:
            self.box.add(waiting.rows[:n], self.schema.layout())
        if self.reservoir.n % TICK < BEAT:
            self._judge(now)
        for line in self.lines:
            line.prepare(now, self.sample if line.is_long else self.reservoir, self.rng, self.events)
        self._point()

    def _judge(self, now: int) -> None:
        """End a tick."""
        epoch = self.line.epoch
        for line in self.lines:
            line.judge(now, TICK, self.events if line is self.line else Events(is_silent=True), self.reservoir)
        self.choice.close()
        if self.line.epoch > epoch:
            self.choice.forget()
        best, gain = self.choice.best([line.n_parameters for line in self.lines], self.leader)
        if best != self.leader:
            self._lead(best, gain, now)
        signs = [doubt["sign"] for doubt in self.doubts]
        for doubt in self.doubts:
            if doubt["sign"] not in self.told:
                self.events.note(now, "doubt", **doubt)
        self.told = signs

    def _lead(self, best: int, gain: float, now: int) -> None:
        """Let another number of components lead, its components in the places of those that they go on from."""
        old, new = self.line, self.lines[best]
        order, before = new.match(old.champion.engine, new.champion.engine, self.reservoir)
        new.arrange(order)
        self.events.note(now, "components", was=old.n_components, now=new.n_components, gain=gain)
        new.inherit(old.labels, old.next_label, before, now, self.events)
        self.leader = best

    @property
    def doubts(self) -> list[dict[str, Any]]:
        """The signs that the model may be wrong."""
        return doubts(self.line, self.events, self.n_seen)

    def evaluate(self, table: Table) -> tuple[FloatArray, FloatArray]:
        """Return (responsibilities of the components, the background aside; log densities) of rows."""
        responsibilities, log_density = super().evaluate(table)
        if self.box is not None:
            total = responsibilities.sum(axis=1)
            for row in np.flatnonzero(total < 1e-100).tolist():
                alone = self.published.alone(table.rows(row, row + 1)[0])
                if alone is not None:
                    responsibilities[row] = alone
            responsibilities /= responsibilities.sum(axis=1, keepdims=True)
        return responsibilities, log_density

    def _score(self, rows: Any, begin: int, end: int) -> int:
        responsibilities, log_density = self.evaluate(table_of(rows.table.rows(begin, end)))
        if rows.out_lp is not None:
            rows.out_r[begin:end] = 0.0  # there may be fewer components than columns
            rows.out_r[begin:end, : responsibilities.shape[1]] = responsibilities
            rows.out_lp[begin:end] = log_density
        impossible = np.flatnonzero(np.isneginf(log_density))
        return begin + int(impossible[0]) if len(impossible) else -1

    def outliers(self, table: Table) -> FloatArray:
        """Return the probability that the background made each row, (n,)."""
        responsibilities = np.empty((table.n_rows, self.published.n_components))
        self.published.accumulate(table, 0, table.n_rows, out_r=responsibilities, out_lp=np.empty(table.n_rows))
        return np.maximum(1.0 - responsibilities.sum(axis=1), 0.0) if self.box is not None else np.zeros(table.n_rows)

    def supervision(self) -> Supervision:
        """Return what is kept beside the champion, as plain data."""
        rows, weights = self.reservoir.last(self.reservoir.n)
        states: dict[str, State] = {}
        arrays = {"reservoir": rows, "reservoir weights": weights}
        arrays |= dict(zip(("sample", "sample weights"), self.sample.all(), strict=True))
        for i, line in enumerate(self.lines):
            states |= {f"line{i} {name}": state.copy() for name, state in line.named_states().items()}
            if line.challenge is not None:
                arrays |= {f"line{i} {name}": array.copy() for name, array in line.challenge.arrays().items()}
        document = {
            "leader": self.leader,
            "lines": [line.to_json() for line in self.lines],
            "reservoir": [self.reservoir.n, len(self.reservoir.rows)],
            "sample": self.sample.n,
            "box": None if self.box is None else [_finite(self.box.low), _finite(self.box.high)],
            "choice": self.choice.to_json(),
            "told": list(self.told),
            "events": list(self.events.kept),
            "counts": dict(self.events.counts),
            "random_state": dict(self.rng.bit_generator.state),
        }
        return Supervision(document, states, arrays)

    @classmethod
    def resumed(cls, declaration: Declaration, schema: Schema, settings: Settings, kept: Supervision) -> "Supervisor":
        """Return what `supervision` was called of."""
        document, n_columns = kept.document, schema.reader.n_columns
        n, size = (int(value) for value in document["reservoir"])
        kept_rows = []
        for name, n_rows in (("reservoir", n), ("sample", int(document["sample"]))):
            rows, weights = kept.arrays[name], kept.arrays[f"{name} weights"]
            if len(rows) != len(weights) or len(rows) != min(n_rows, size) or size > LARGEST:
                raise CheckpointError(f"the checkpoint's {name} contradicts itself")
            check_rows(rows, schema.layout())
            kept_rows.append((rows, weights))
        reservoir = Reservoir(size, n_columns)
        reservoir.n = n - len(kept_rows[0][0])
        reservoir.add(*kept_rows[0])
        box = None
        if document["box"] is not None:
            box = Box(n_columns)
            low, high = document["box"]
            box.low[:], box.high[:] = _infinite(low, 1), _infinite(high, -1)
            box.refresh(schema.layout())
            settings = replace(settings, spread=box.spread)
        lines = []
        for i, own in enumerate(document["lines"]):
            prefix = f"line{i} "
            states = {name.removeprefix(prefix): s.copy() for name, s in kept.states.items() if name.startswith(prefix)}
            arrays = {name.removeprefix(prefix): a.copy() for name, a in kept.arrays.items() if name.startswith(prefix)}
            lines.append(Line.resumed(schema, settings, own, states, arrays))
        rng = np.random.default_rng()
        rng.bit_generator.state = document["random_state"]
        made = cls(declaration, schema, lines, settings, reservoir, rng)
        made.sample = Reservoir(size, n_columns)
        made.sample.add(*kept_rows[1])
        made.sample.n = int(document["sample"])
        made.box = box
        made.leader = int(document["leader"])
        made.choice = Choice.from_json(document["choice"])
        made.told = [str(sign) for sign in document["told"]]
        made.events.kept = [dict(event) for event in document["events"]]
        made.events.counts = {str(kind): int(n) for kind, n in document["counts"].items()}
        made._point()
        return made


def _finite(values: FloatArray) -> list[float | None]:
    """Numbers as JSON can hold them: None where there is none yet."""
    return [float(value) if np.isfinite(value) else None for value in values]


def _infinite(values: Sequence[float | None], sign: int) -> list[float]:
    return [sign * np.inf if value is None else float(value) for value in values]
