"""The learner of a supervised mixture: it makes the first state while the last records of the warm-up come."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import Box, takes_background
from streammix.auto.keeping import resumed, supervision
from streammix.auto.line import Line
from streammix.auto.moves import forks_of, partition, scaled, split_up, stepped, thinned
from streammix.auto.reservoir import Reservoir
from streammix.auto.resolution import LOOKED_AT, Resolution
from streammix.auto.settings import Settings
from streammix.auto.supervisor import Supervisor, reservoir_size
from streammix.clock import Look
from streammix.core.table import Table
from streammix.declaration import Declaration
from streammix.errors import CheckpointError
from streammix.families import Family
from streammix.learner import Learner
from streammix.running import Running
from streammix.scales import shrink_scales
from streammix.schema import Schema
from streammix.standing import Names
from streammix.state import Snapshot
from streammix.warmup import free_parameters

__all__ = ["AutoLearner"]

FloatArray = NDArray[np.float64]
Made = tuple[dict[Names, Family], Supervisor]

LLOYD = 3  # steps of the first partition
USUAL = 3
STEPS, STEPS_OF_LINE = 4, 4  # in which the first state is made


class AutoLearner(Learner):
    """A learner whose mixture is supervised."""

    def __init__(
        self,
        declaration: Declaration,
        settings: Settings,
        sizes: Sequence[int],
        has_background: bool | None,
        arguments: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> None:
        self.settings = settings
        self.arguments = arguments
        self.sizes = sizes
        self.has_background = has_background
        self._making: Iterator[Made | None] | None = None  # what makes the first state; never saved, but made anew
        self._made = 0  # steps
        super().__init__(declaration, rng)
        self.n_witnesses = 1  # there are several mixtures, whose components differ
        if len(sizes) > 1:
            self.inferred_for = min(sizes[-1], USUAL)  # a joint family must not hang on the largest K

    def missing_records(self) -> int:
        """How many records the warm-up still takes; the first state is made while the last of them come."""
        missing = super().missing_records()
        return missing if self._needed is None else max(self._needed + self._n_steps - len(self.buffer), 0)

    @property
    def _n_steps(self) -> int:
        """In how many steps the first state is made, one a record."""
        return STEPS + STEPS_OF_LINE * len(self.sizes)

    def wait(self, record: Any, weight: float) -> None:
        """Put a record into the warm-up's buffer, take a step where it is full, and start after the last one."""
        super().wait(record, weight)
        if self.running is None and self._needed is not None and len(self.buffer) > self._needed:
            self._step(len(self.buffer) - self._needed)

    def _step(self, n: int) -> Made | None:
        """See that n steps are done; return what came out of the last one."""
        assert self._needed is not None
        if self._making is None:
            self._making, self._made = self._make(self.buffer[: self._needed], self.buffer_weights[: self._needed]), 0
        made = None
        while self._made < n:
            made = next(self._making)
            self._made += 1
        return made

    def go_on(self, look: Look) -> bool:
        """Let the clock go on; where all weights were halved, those that the first state is made by, too."""
        was_halved = super().go_on(look)
        self._making = None if was_halved else self._making
        return was_halved

    def start(self, records: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> Running:
        """Go on from the first state; records that came while it was made are learnt as any others."""
        made = self._step(self._n_steps)
        assert made is not None
        assert self._needed is not None
        late = list(zip(records, weights, strict=True))[self._needed :]
        self._making = None
        self.set_out(made[0], made[1].schema, made[1], self._needed)
        assert self.schema is not None
        for record, weight in late:
            self.learn_record({self.schema.names[0]: None} | dict(record), weight)  # it may lack all of the fields
        return made[1]

    def _make(self, records: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> Iterator[Made | None]:
        """Make the first state, a step each time."""
        chosen, schema, columns, w = self.read_start(records, weights)
        yield None
        n, layout = len(records), schema.layout()
        rng = np.random.default_rng()
        rng.bit_generator.state = self.rng.bit_generator.state  # a step that is taken again draws the same
        rows, all_weights = np.stack(columns, axis=1), np.ones(n) if w is None else w
        box, settings = None, self.settings
        resolution = Resolution(len(columns))
        resolution.look(rows[:: -(-n // LOOKED_AT)], layout)
        if self.has_background if self.has_background is not None else takes_background(layout):
            box = Box(len(columns))
            box.steps = resolution.steps
            box.add(rows, layout)
            settings = replace(settings, spread=box.spread)
        levels = {name: len(codes) for name, codes in schema.codes.items()}
        yield None
        lines = []
        for k in self.sizes:
            some, own = thinned(columns, w)
            labels = partition(layout, some, k, LLOYD, rng)
            yield None
            state = scaled(schema, k, forks_of(layout, columns), some, own)
            yield None
            shrink_scales(layout, state, some, labels)
            resolution.apply(layout, state)
            yield None
            stepped(layout, state, Table(some), len(labels), own, split_up(labels, k, box is not None))
            lines.append(Line(schema, state, free_parameters(chosen, k, levels), n, settings, n))
            yield None
        reservoir = Reservoir(reservoir_size(lines[-1].n_parameters), len(columns))
        reservoir.add(rows, all_weights)
        yield None
        made = Supervisor(
            self.declaration, schema, lines, settings, reservoir, np.random.default_rng(rng.integers(2**63))
        )
        made.box, made.resolution = box, resolution
        self.rng.bit_generator.state = rng.bit_generator.state
        yield chosen, made

    def snapshot(self, n_seen: int, seed: int | None) -> Snapshot:
        """Everything that the mixture is."""
        found = super().snapshot(n_seen, seed)
        found.declaration = {**found.declaration, **self.arguments}
        if isinstance(self.running, Supervisor):
            found.supervision = supervision(self.running)
        return found

    def _resume(self, schema: Schema, snapshot: Snapshot) -> Running:
        if snapshot.supervision is None:
            raise CheckpointError("the checkpoint's model is supervised, but what supervises it is missing")
        made = resumed(self.declaration, schema, self.settings, snapshot.supervision)
        assert made.waiting is not None
        surplus = len(snapshot.pending) // made.waiting.size * made.waiting.size
        if surplus:  # kept before lines took turns
            made.reservoir.add(snapshot.pending[:surplus], snapshot.pending_weights[:surplus])
            made.gathered += surplus
            snapshot.pending = snapshot.pending[surplus:]
            snapshot.pending_weights = snapshot.pending_weights[surplus:]
        return made
