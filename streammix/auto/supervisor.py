"""What runs of a supervised mixture: lines that learn side by side in beats, and are judged in ticks.

Records wait until there is a beat of them. A beat moves every member of every line by one mini-batch and does a slice
of the work on challenges; each tenth beat ends a tick, when everything is judged. Where there are several lines they
take turns, each some records after the one before, so that no record waits for all of them. All of it goes by the
number of records: how they are handed over does not matter, and it can be saved between any two.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.answers import Told
from streammix.auto.background import Box
from streammix.auto.beat import BEAT, TICK, Beat
from streammix.auto.choice import FEWEST, Choice
from streammix.auto.doubts import doubts, left_out
from streammix.auto.events import Events
from streammix.auto.line import Line
from streammix.auto.matching import widened
from streammix.auto.member import Member, densities
from streammix.auto.reservoir import Kept, Reservoir
from streammix.auto.resolution import LOOKED_AT, Resolution
from streammix.auto.settings import Settings
from streammix.auto.strays import Strays
from streammix.auto.succession import lead_after
from streammix.auto.youth import bear, needs
from streammix.core.engine import Engine
from streammix.core.records import Waiting
from streammix.core.table import Table, most_responsible, table_of
from streammix.declaration import Declaration
from streammix.running import Running
from streammix.schema import Schema
from streammix.state import State

__all__ = ["Supervisor"]

FloatArray = NDArray[np.float64]

AVERAGING = 250
LOWEST = -1e4  # of a record's log density, where lines are compared
SILENT = Events(is_silent=True)  # of the lines that don't predict


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
        self.strays = Strays(reservoir.rows.shape[1])
        self.events = Events()
        self.rng = rng
        self.box: Box | None = None
        self.resolution = Resolution(reservoir.rows.shape[1])
        self.choice = Choice(len(lines))
        self.epoch = 0  # of the line that predicts, at the end of the last tick
        self.told: list[str] = []  # the signs of doubt that are in the log
        self.gathered = 0  # records of the next beat
        self.unborn: list[int] = []  # numbers of components whose lines come when there are more records
        self.is_young = False  # whether it is so early that the lines are judged at each beat
        self.is_given = False  # whether the last of them is wanted, and the others stand in
        self.beat = Beat(0, 0, 0, len(lines), [])
        self.share = declaration.batch_size
        self._is_made = False
        super().__init__(declaration, schema, lines[0].champion.state)
        self._is_made = True
        if self.waiting is None:
            self.waiting = Waiting(1, schema.reader.n_columns)
        self._take_rows(schema.reader.n_columns)

    def _take_rows(self, n_columns: int) -> None:
        """Make room for the rows of a beat."""
        self.rows, self.row_weights = np.empty((BEAT, n_columns)), np.zeros(BEAT)
        self.table = table_of(self.rows)

    @property
    def line(self) -> Line:
        """The line that predicts."""
        return self.lines[self.leader]

    @property
    def kept(self) -> Kept:
        """The records that are kept."""
        return Kept(self.reservoir, self.sample)

    @property
    def published(self) -> Engine:
        """The engine whose parameters are shown."""
        return self.shown.engine

    @property
    def published_state(self) -> State:
        """The state whose parameters are shown."""
        return self.shown.state

    @property
    def n_wanted(self) -> int:
        """How many components there are to be; of a range, how many predict."""
        most = [*(line.n_components for line in self.lines), *self.unborn][-1]
        return most if self.is_given else self.line.n_components

    @property
    def labels(self) -> list[int]:
        """For each component its own number; -1 of one that no record has made yet."""
        own = self.line.labels.own
        return [*own, *[-1] * (self.n_wanted - len(own))]

    def states(self) -> list[State]:
        """Return all statistics that are kept."""
        return [state for line in self.lines for state in line.states()]

    def halve(self) -> None:
        """Let all records so far, those that are kept as well, weigh half of what they did."""
        for line in self.lines:
            line.halve()
        for weights in (self.reservoir.weights, self.sample.weights, self.row_weights):
            weights *= 0.5
        if self.waiting is not None:
            self.waiting.weights[: self.waiting.n] *= 0.5
        self.rebind()

    def engines(self) -> list[Engine]:
        """Return the engines that are bound to them and stay so."""
        prepared = [line.challenge.climb.engine for line in self.lines if line.challenge is not None]
        return [member.engine for line in self.lines for member in line.members] + prepared

    def rebind(self) -> None:
        """Bind engines to the states anew, after arrays were replaced."""
        for line in self.lines if self._is_made else []:
            line.bind()
        self.point()

    def join(self, schema: Schema, part: State, rows: FloatArray) -> None:
        """Take in a field that `schema` has last: at first it is the same in every component."""
        old, at = self.schema, len(self.schema.reader.rules)
        more = schema.reader.n_columns - old.reader.n_columns
        self.reservoir.widen(at, more)
        self.sample.widen(at, more)
        self.strays.kept.widen(at, more)
        if self.box is not None:
            self.box.widen(at, rows)
            self.box.refresh(schema.layout())
            self.settings = replace(self.settings, spread=self.box.spread)
        self.resolution.widen(at, rows, schema.layout())
        for line in self.lines:
            line.join(old, schema, part, self.settings, self.n_seen)
        self._read_by(schema)
        self._take_rows(schema.reader.n_columns)
        self.look_at_beat()
        self._resolve()

    def code_of(self, column: int, key: Any) -> tuple[int, NDArray[np.intp] | None]:
        """Return the code of a level; with an unknown one, what was computed of the others changes."""
        is_known = key in self.schema.levels(column)
        found = super().code_of(column, key)
        if not is_known:
            for line in self.lines:
                if line.challenge is not None:
                    line.challenge.forget()
            self.point()
        return found

    def _fold(self, column: int, block: int) -> NDArray[np.intp]:
        """Fold the rarest levels, of the rows that are kept, too; challenges that are being prepared are dropped."""
        for line in self.lines:
            line.drop_challenge(self.n_seen)
        places = super()._fold(column, block)
        for rows in (
            self.reservoir.rows[: self.reservoir.n],
            self.sample.rows[: self.sample.n],
            self.strays.kept.rows[: self.strays.kept.n],
            self.rows[: self.beat.n],
        ):
            own = rows[:, column]
            seen = ~np.isnan(own)
            own[seen] = places[own[seen].astype(np.intp)]
        return places

    def point(self) -> None:
        """Let what a plain mixture has be what is published; those for which others stand in weigh next to nothing."""
        self.shown = self.line.published
        if self.shown.state.n_components < self.n_wanted:
            state = widened(self.shown.state, self.n_wanted)
            self.shown = Member(self.schema, state, self.shown.step, self.settings.spread)
        self.engine, self.state = self.published, self.published_state
        self.average_engine = None

    def _learn_batches(self, rows: Any, begin: int, end: int) -> None:
        while begin < end:
            begin = self._let_wait(rows, begin, end)

    def _learn_waiting(self, n: int, added: int) -> None:
        """Take in n rows, the last `added` of which are not counted yet; it may be a line's turn, or a beat's end."""
        waiting = self.waiting
        assert waiting is not None
        self.n_seen += added
        self.reservoir.add(waiting.rows[:n], waiting.weights[:n])
        self.gathered += n
        if self.beat.turn < len(self.lines):
            self._move_line()
        elif self.unborn and self.gathered < BEAT and self.n_seen >= needs(self.n_parameters_of(self.unborn[0])):
            bear(self, self.unborn.pop(0))
        if self.gathered == BEAT:
            self.gathered = 0
            self.set_share()
            self.beat = Beat(BEAT, self.reservoir.n, self.n_seen, 0, [])
            if n == BEAT:
                self.rows[:], self.row_weights[:] = waiting.rows, waiting.weights
            else:
                self.look_at_beat()
            self._move_line()
        self.point()

    def prepare(self, line: Line, now: int) -> None:
        """Do a slice of the work on a line's challenge."""
        if line is self.line and line.is_due(now):
            self._look_again(now)
        events = self.events if line is self.line else SILENT
        line.prepare(now, self.kept, self.rng, events, self.resolution.atoms)

    def set_share(self) -> None:
        """Let as many rows wait as come from one line's turn to the next: all of a beat where there is but one."""
        waiting = self.waiting
        assert waiting is not None
        size = BEAT - self.gathered if len(self.lines) == 1 and not self.unborn else self.share
        if waiting.size != size:
            self.waiting = Waiting(size, self.schema.reader.n_columns)
            self.waiting.add(waiting.rows[: waiting.n], waiting.weights[: waiting.n])
            self._full = table_of(self.waiting.rows)

    def look_at_beat(self) -> None:
        """Find the rows of the beat in the reservoir."""
        rows, weights = self.reservoir.last(self.reservoir.n - self.beat.at + self.beat.n)
        self.rows[: self.beat.n], self.row_weights[: self.beat.n] = rows[: self.beat.n], weights[: self.beat.n]

    def _move_line(self) -> None:
        """Let the line whose turn it is take in the beat; after the last of them all are judged."""
        beat = self.beat
        line, ends_tick = self.lines[beat.turn], beat.at % TICK < BEAT
        scores, shares = line.step(self.table, beat.n, self.row_weights, averages=beat.at % AVERAGING < BEAT)
        if line is self.line and self.box is not None:
            self.strays.add(self.rows[: beat.n], shares, beat.now)
        if len(self.lines) > 1:
            if ends_tick or self.is_young:
                line.surplus = self.resolution.surplus(line.schema.layout(), line.published, self.rows[: beat.n])
            if self.line.is_long and not self.is_young:
                scores = self._score_sample(line, beat)
            beat.scores.append(float(np.maximum(scores, LOWEST).sum()) - beat.n * line.surplus)
        if ends_tick:
            self._end_tick(line, beat.now)
        elif not self.is_young or (line.challenge is not None and beat.turn + 1 < len(self.lines)):
            self.prepare(line, beat.now)  # what is left of it is done by records between turns
        beat.turn += 1
        if beat.turn < len(self.lines):
            return
        if len(self.lines) > 1:
            self.choice.add(beat.n, beat.scores)
        if self.box is not None:
            before = self.box.volume
            self.box.add(self.rows, self.schema.layout())
            for line in self.lines if self.box.volume > before else ():
                line.look_at_background(self.box.volume - before, beat.now)
        if ends_tick:
            rows, weights = self.reservoir.last(self.reservoir.n - self.sample.n)
            news = beat.at - self.sample.n
            self.sample.sample(rows[:news], weights[:news], self.rng)
            self._judge(beat.now)
        elif self.is_young and len(self.lines) > 1:
            self._choose(beat.now)

    def _score_sample(self, line: Line, beat: Beat) -> FloatArray:
        """How a line explains as many records of the whole stream: those of a beat are of few stays, and say little.

        A challenge has fitted it to them: it explains all of them by a nat a parameter better than other records.
        """
        there = min(self.sample.n, len(self.sample.rows))
        rows = self.sample.rows[np.arange(beat.at, beat.at + beat.n) % there]
        return densities(line.published.engine, table_of(rows), 0, beat.n) - line.n_parameters / there

    def n_parameters_of(self, n_components: int) -> int:
        """Return how many parameters a mixture of so many components has."""
        return n_components * (self.line.n_parameters + 1) // self.line.n_components - 1

    def _look_again(self, now: int) -> None:
        """See how finely values are told apart by now, and let all states know where that is news."""
        n = now - self.line.epoch
        kept = self.sample if self.line.is_long or (n == now > len(self.reservoir.rows)) else self.reservoir
        if self.resolution.look(kept.some(n, LOOKED_AT), self.schema.layout()):
            self._resolve()

    def _resolve(self) -> None:
        """Let all states know how finely values are told apart."""
        for state in self.states():
            self.resolution.apply(self.schema.layout(), state)
        if self.box is not None:
            self.box.steps = self.resolution.steps
            self.box.refresh(self.schema.layout())
        self.rebind()

    def _end_tick(self, line: Line, now: int) -> None:
        """Judge a line; whether the stream dwells is for the one that predicts to say: the others could not compete."""
        dwelt = self.line.dwell.is_on
        if line is not self.line:
            line.judge(now, TICK, SILENT, self.kept, dwelt)
            return
        line.judge(now, TICK, self.events, self.kept, None)
        if line.dwell.is_on != dwelt:
            self.choice.forget()

    def _judge(self, now: int) -> None:
        """End a tick."""
        if len(self.lines) > 1:
            chased = self.line.dwell.is_on and any(line.crowns for line in self.lines)  # and are not made anew yet
            if chased or self.line.epoch > self.epoch:
                self.choice.forget()
            self._choose(now)
        self.epoch = self.line.epoch
        found = self.doubts
        signs = [doubt["sign"] for doubt in found]
        for doubt in found:
            if doubt["sign"] not in self.told:
                self.events.note(now, "doubt", **doubt)
        self.told = signs

    def _choose(self, now: int) -> None:
        """Let the number of components lead that predicts best for its size."""
        fewest = BEAT if self.is_young else FEWEST
        n_parameters = [0 if self.is_young else line.n_parameters for line in self.lines]
        best, gain = self.choice.best(n_parameters, self.leader, fewest)
        if best != self.leader:
            self.lead(best, gain, now)

    def lead(self, best: int, gain: float, now: int) -> None:
        """Let another number of components lead, its components in the places of those that they go on from."""
        old, new = self.line, self.lines[best]
        self.events.note(now, "components", was=old.n_components, now=new.n_components, gain=gain)
        lead_after(new, old, self.kept, now, self.events)
        self.leader = best

    @property
    def doubts(self) -> list[dict[str, Any]]:
        """The signs that the model may be wrong."""
        found, line = doubts(self.line, self.events, self.n_seen, is_given=len(self.lines) == 1), self.line
        if self.box is not None:
            group = self.strays.group(line.published.engine, self.box, self.schema.layout(), line.epoch, self.n_seen)
            found += left_out(*group)
        if line.n_components < self.n_wanted:
            text = f"{line.n_components} of {self.n_wanted} components stand in until there are more records"
            found.append({"sign": "standing in", "text": text, "components": line.n_components})
        return found + self.resolution.doubts(self.schema, self.line.published)

    def evaluate(self, table: Table) -> tuple[FloatArray, FloatArray]:
        """Return (responsibilities of the components, the background aside; log densities) of rows."""
        return self._look(table)[:2]

    def tell(self, table: Table) -> Told:
        """Return all that is said of rows; nothing is learnt."""
        responsibilities, log_density, outliers = self._look(table)
        return Told(responsibilities, log_density, self.labels_of(responsibilities), outliers)

    def tell_each(self, table: Table) -> Told:
        """Do as `tell`, to the last bit as of each row by itself."""
        outliers = np.empty(table.n_rows)
        responsibilities, log_density = self._evaluate_each(table, outliers)
        return Told(responsibilities, log_density, self.labels_of(responsibilities), outliers)

    def labels_of(self, responsibilities: FloatArray) -> NDArray[np.int64]:
        """Return the label of the most responsible component of each row."""
        return np.array(self.labels)[most_responsible(responsibilities)]

    def _look(self, table: Table) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return responsibilities, log densities, and how probably the background made each row."""
        responsibilities, log_density = super().evaluate(table)
        if self.box is None:
            return responsibilities, log_density, np.zeros(table.n_rows)
        total = np.add.accumulate(responsibilities.T)[-1]  # in one order, however many rows there are
        outliers = np.maximum(1.0 - total, 0.0)
        for row in np.flatnonzero(total < 1e-100).tolist():
            alone = self.published.alone(table.rows(row, row + 1)[0])
            responsibilities[row] = self.published.weights if alone is None else alone
            total[row] = 1.0
        responsibilities /= total[:, None]
        return responsibilities, log_density, outliers

    def _score(self, rows: Any, begin: int, end: int) -> int:
        found = self.tell(table_of(rows.table.rows(begin, end)))
        if rows.told is not None:
            rows.told.put(slice(begin, end), found)
        impossible = np.flatnonzero(np.isneginf(found.log_density))
        return begin + int(impossible[0]) if len(impossible) else -1

    def outliers(self, table: Table) -> FloatArray:
        """Return the probability that the background made each row, (n,)."""
        return self._look(table)[2]
