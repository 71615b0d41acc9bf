"""The learner of a supervised mixture: it makes the first state while the last records of the warm-up come."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.answers import Told
from streammix.auto import youth
from streammix.auto.background import Box, takes_background
from streammix.auto.beat import BEAT
from streammix.auto.crossing import held_out
from streammix.auto.keeping import resumed, supervision
from streammix.auto.labels import Labels
from streammix.auto.line import Line
from streammix.auto.moves import quick_start
from streammix.auto.reservoir import Reservoir, reservoir_size
from streammix.auto.resolution import LOOKED_AT, Resolution
from streammix.auto.settings import Settings
from streammix.auto.supervisor import Supervisor
from streammix.clock import Look
from streammix.columns import Encoded
from streammix.core.table import table_of
from streammix.core.values import short
from streammix.declaration import Declaration
from streammix.errors import CheckpointError, RecordError
from streammix.families import Family
from streammix.inference import Inferred, Ready, Values
from streammix.learner import FIRST_LOOK, Learner
from streammix.plain import IMPOSSIBLE
from streammix.running import Running
from streammix.schema import Schema
from streammix.standing import Names
from streammix.state import Snapshot
from streammix.steps import Steps, at_once
from streammix.warmup import free_parameters

__all__ = ["AutoLearner"]

FloatArray = NDArray[np.float64]
Made = tuple[dict[Names, Family], Supervisor]

FIRST = 50  # records that the first state is made by


class AutoLearner(Learner):
    """A learner whose mixture is supervised."""

    has_labels = True

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
        self._making: Steps[Made] | None = None  # what makes the first state; never saved, but made anew
        self._made = 0  # steps
        self._values = Values()  # of the records that are kept, as far as they were looked at
        self._found: tuple[int, tuple[Inferred, Ready]] = (-1, (Inferred({}, {}, {}), Ready({}, {}, [])))  # by how many
        self._enough: int | None = None  # records by which the first state is made, as soon as that is known
        super().__init__(declaration, rng)
        self.n_witnesses = 1  # there are several mixtures, whose components differ
        self.inferred_for = sizes[0]  # a joint family must not hang on the largest K: fewer components may stand in

    @property
    def is_gathering(self) -> bool:
        """Whether the first records are still kept: by all of them the fields are looked at once more."""
        return self.running is None or bool(self.buffer)

    def missing_records(self) -> int:
        """How many records are still kept, at least."""
        look = self._first or FIRST if self.running is None else self._looks_at or FIRST_LOOK
        return max(look - len(self.buffer), 1)

    @property
    def _first(self) -> int | None:
        """By how many records the first state is made; None before that can be told."""
        if self.declaration.warm_up is not None:
            return self.declaration.warm_up
        if self._enough is None:
            self._enough = _enough(self.buffer)
        return self._enough

    @property
    def _looks_at(self) -> int | None:
        """By how many records the fields are looked at once more; None before that can be told."""
        if self._needed is None and len(self.buffer) >= FIRST_LOOK:
            assert isinstance(self.running, Supervisor)
            n = len(self.buffer)
            needed = self._needed_by(self._said() if n == FIRST_LOOK else Values(self.buffer[:FIRST_LOOK]))
            own = youth.needs(self.running.n_parameters_of(self.sizes[-1])) if self._is_given else 0
            self._needed = max(needed, own)
        return self._needed

    @property
    def _stands_still(self) -> bool:
        """Whether all is being made anew from the records that were kept."""
        return self._looks_at is not None and len(self.buffer) >= self._looks_at

    @property
    def _is_given(self) -> bool:
        return isinstance(self.arguments["n_components"], int)

    def wait(self, record: Any, weight: float, told: Told | None = None) -> None:
        """Keep a record; learn it, where there is a state; make one, or look at the fields, when it is time for it."""
        kept = self._kept(record)
        self._take(kept, weight, told)
        if isinstance(self.running, Supervisor) and self.running.is_young and not self._stands_still:
            youth.hurry(self.running)

    def _take(self, kept: dict[str, Any], weight: float, told: Told | None = None) -> None:
        if isinstance(self.running, Supervisor) and self._stands_still:
            self._score_kept(self.running, kept, told)
        elif isinstance(self.running, Supervisor):
            self._learn_kept(self.running, kept, weight, told)
        self.buffer.append(kept)
        self.buffer_weights.append(weight)
        self._said()
        self._go_on()

    def _said(self) -> Values:
        """The values of the records that are kept: looked at as they come, so that none has to wait for all of it."""
        for record in self.buffer[self._values.n :]:
            self._values.take(record)
        return self._values

    def _learn_kept(self, running: Supervisor, kept: dict[str, Any], weight: float, told: Told | None = None) -> None:
        """Learn a record as it is kept; it may lack all of the fields."""
        row, unseen = running.schema.reader.row(running.schema.whole(kept))
        if running.schema.may_refuse and running.engine.expect(row) is None:
            raise RecordError(f"{IMPOSSIBLE}: {short(kept)}")
        encoded = Encoded.of_rows(row[None, :], [(0, column, key) for column, key in unseen])
        running.absorb(encoded, np.array([weight]), told)

    def _score_kept(self, running: Supervisor, kept: dict[str, Any], told: Told | None) -> None:
        """Score a record that waits until all is made anew, by what stands still meanwhile."""
        row, _ = running.schema.reader.row(running.schema.whole(kept))
        found = running.tell(table_of(row[None, :]))
        if np.isneginf(found.log_density[0]):
            raise RecordError(f"{IMPOSSIBLE}: {short(kept)}")
        if told is not None:
            told.put(slice(None), found)
        running.n_seen += 1

    def _go_on(self) -> None:
        """Take a step of what is being made, or begin to make something."""
        n = len(self.buffer)
        if self.running is None:
            if self._first is not None and n > self._first:
                self._step(self._first, n - self._first)
        elif self._looks_at is not None and n >= self._looks_at:
            if n > self._looks_at:
                self._step(self._looks_at, n - self._looks_at)
            else:
                self._look_again()

    def _look_again(self) -> None:
        """Go on without the records that were kept, where the fields are what the first of them said."""
        found = self.choose(self._said())
        if _in_json({**found[1].fields, **found[0].fields}) != _in_json(self.chosen or {}):
            self._found = len(self.buffer), found
            return
        assert self.chosen is not None
        assert isinstance(self.running, Supervisor)
        self.take_up(*found)
        levels = {name: len(codes) for name, codes in self.running.schema.codes.items()}
        youth.come_of_age(self.running, [free_parameters(self.chosen, k, levels) for k in self.sizes])
        self.buffer, self.buffer_weights, self._values = [], [], Values()
        self.look_out()

    def _step(self, n_records: int, n: int) -> None:
        """See that n steps are done of a state by so many records; go on from it after the last one."""
        if self._making is None:
            self._making = self._make(self.buffer[:n_records], self.buffer_weights[:n_records])
            self._made = 0
        try:
            while self._made < n:
                next(self._making)
                self._made += 1
        except StopIteration as end:
            chosen, made = end.value
            self._begin_with(chosen, made, n_records)

    def _begin_with(self, chosen: dict[Names, Family], made: Supervisor, n: int) -> None:
        """Go on from a first state; records that came while it was made are learnt as any others."""
        kept, weights = self.buffer, self.buffer_weights
        self._making, self._values = None, Values()
        self.set_out(chosen, made.schema, made, n)
        if made.is_young:
            self.buffer, self.buffer_weights = kept[:n], weights[:n]
            self.look_out()
            self._go_on()  # where nearly all cells are missing these are all that are kept
        for record, weight in zip(kept[n:], weights[n:], strict=True):
            if self.is_gathering:
                self._take(record, weight)
            else:
                self.learn_record(made.schema.whole(record), weight)

    def go_on(self, look: Look) -> bool:
        """Let the clock go on; where all weights were halved, those that the first state is made by, too."""
        was_halved = super().go_on(look)
        self._making = None if was_halved else self._making
        return was_halved

    def _make(self, records: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> Steps[Made]:
        """Make a first state, a step each time."""
        is_young = self.running is None and self.declaration.warm_up is None
        n = len(records)
        found = self._found[1] if self._found[0] == n else self.choose(Values(records))
        chosen, schema, columns, w = yield from self.read_start(records, weights, found)
        layout = schema.layout()
        rng = np.random.default_rng()
        rng.bit_generator.state = self.rng.bit_generator.state  # a step that is taken again draws the same
        rows, all_weights = np.stack(columns, axis=1), np.ones(n) if w is None else w
        box, settings = None, self.settings
        resolution = Resolution(len(columns), self._is_given)
        resolution.look(rows[:: -(-n // LOOKED_AT)], layout)
        if self.has_background if self.has_background is not None else takes_background(layout):
            box = Box(len(columns))
            box.steps = resolution.steps
            box.add(rows, layout)
            settings = replace(settings, spread=box.spread)
        levels = {name: len(codes) for name, codes in schema.codes.items()}
        wanted = self.sizes if is_young or not self._is_given else self.sizes[-1:]
        sizes = {k: free_parameters(chosen, k, levels) for k in wanted}
        born = [k for k, p in sizes.items() if not is_young or k == self.sizes[0] or youth.needs(p) <= n]
        yield
        lines = []
        for k in born:
            known = youth.responsibilities_for_all(self.running, k) if isinstance(self.running, Supervisor) else None
            start = quick_start(schema, columns, w, k, rng, box is not None, known, resolution)
            state = at_once(start) if is_young else (yield from start)  # of few records it is no more than a step
            lines.append(Line(schema, state, sizes[k], n, settings, n))
            yield
        tried: dict[int, float] = {}
        for k in born if is_young and not self._is_given and len(born) > 1 else ():
            for fold, score in enumerate(held_out(schema, columns, w, k, rng, settings.spread, resolution)):
                tried[k] = tried.get(k, 0.0) + score
                if fold % 2:
                    yield
        reservoir = Reservoir(reservoir_size(sizes[self.sizes[-1]]), len(columns))
        reservoir.add(rows, all_weights)
        yield
        made = Supervisor(
            self.declaration, schema, lines, settings, reservoir, np.random.default_rng(rng.integers(2**63))
        )
        made.box, made.resolution = box, resolution
        if is_young:
            youth.begin(made, self.sizes[len(born) :], self._is_given, n, list(tried.values()))
        for line in made.lines:
            line.labels = Labels(line.n_components, is_shown=line is made.line)
        self.rng.bit_generator.state = rng.bit_generator.state
        return chosen, made

    def snapshot(self, n_seen: int, seed: int | None) -> Snapshot:
        """Everything that the mixture is."""
        found = super().snapshot(n_seen, seed)
        found.declaration = {**found.declaration, **self.arguments, "batch_size": BEAT}
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


def _enough(records: Sequence[Mapping[str, Any]]) -> int | None:
    """Return how many of the first records are enough to start from: fifty, or more where most cells are missing."""
    values, names = 0, set[str]()
    for n, record in enumerate(records, 1):
        values += len(record)
        names.update(record)
        if n == FIRST_LOOK or (n >= FIRST and values >= FIRST / 2 * max(len(names), 1)):
            return n
    return None


def _in_json(fields: Mapping[Names, Family]) -> list[Any]:
    return [[names, family.to_json()] for names, family in fields.items()]
