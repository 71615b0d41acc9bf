"""A challenge: the champion, polished, against other places for its components, on records that are set aside.

It is work for many records, cut into slices of bounded cost: a slice ends within an iteration of EM where the rows are
too many for one, and a proposal is made in several. Everything is counted in records and rows, never by the clock, and
all of it is plain data, but for what follows from the rest and is at hand so that it need not be computed twice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import engine_of, give_background
from streammix.auto.change import last_change
from streammix.auto.climb import CALL, ROW, Climb
from streammix.auto.evidence import z_of
from streammix.auto.member import densities
from streammix.auto.moves import START_ROWS, Move, displaced, moves, scaled, split_up, step_between, stepped, thinned
from streammix.auto.resolution import Atom, atoms_from, resolve_as
from streammix.core.engine import Engine
from streammix.core.table import Table
from streammix.em import Layout, reanchor
from streammix.errors import CheckpointError
from streammix.kmeans import kmeans
from streammix.packing import check_rows
from streammix.scales import shrink_scales, standardised
from streammix.schema import Schema
from streammix.state import State

__all__ = ["SLICE", "Challenge"]

FloatArray = NDArray[np.float64]

POLISH, SHORT, LONG, WHOLE = 30, 5, 30, 20  # iterations of EM
FINALISTS = 3
LLOYD = 3  # steps of every other fresh start
BEFORE = 0.4  # of the records that may lie before a change: where more do, all of them have their say
GAIN = 1e-4  # nats a record that a proposal has to be better than the polished champion

SLICE = 3_000_000  # (rows x parameters): somewhat more than half a millisecond's
STEP = 2_500_000  # of what can't be cut and goes by some of the rows only
CELL = 80  # of a training row and column, or component, where a proposal is made


class Challenge:
    """The state of a challenge, between two slices.

    Parameters
    ----------
    schema
        The model's.
    champion
        The statistics that are challenged; they are copied.
    rows, weights
        The records, one of each pair of which trains and the other validates, and their weights.
    n_parameters
        Of the mixture.
    spread
        Of the background's density, where there is one; it is copied.
    seed
        Of the fresh starts.
    atoms
        Values that many records have.
    """

    def __init__(
        self,
        schema: Schema,
        champion: State,
        rows: FloatArray,
        weights: FloatArray,
        n_parameters: int,
        spread: FloatArray | None,
        seed: int,
        atoms: Sequence[Atom] = (),
    ) -> None:
        self.schema = schema
        toss = np.random.default_rng([seed, 1 << 20]).integers(2, size=len(rows) // 2)
        pairs = 2 * np.arange(len(toss))  # a stream may have a rhythm of its own: which one of a pair trains is tossed
        order = np.concatenate([pairs + toss, pairs + 1 - toss])
        self.rows = np.ascontiguousarray(rows[order].T)
        self.weights = weights[order]
        self.n_parameters = n_parameters
        self.spread = None if spread is None else spread.copy()
        self.lag = (0.0, 0.0)  # gain of polishing, and its z
        self.seed = seed
        self.labels = list(range(champion.n_components))  # of the components that are challenged
        self.atoms = list(atoms)
        self.born = 0  # how many records there were
        self.halvings = 0  # of all weights, since it began
        self.learnt = 0  # how many records there were when the last one came that it has learnt
        self.changed = 0  # the training row from which on the shares of components stay the same
        self.stage = "polish"
        self.plan: list[Move] = []
        self.at = 0  # of the plan, or of the finalists
        self.kept: list[tuple[State, float, float, Move | None]] = []
        self.done: list[tuple[State, float, float, Move | None]] = []
        self.start = self.polished = champion.copy()
        self.merger: tuple[float, float, Move | None] = (0.0, 0.0, None)  # gain, z and move of two made one
        self.chosen: tuple[float, float, Move | None] = (0.0, 0.0, None)  # gain, z and move of what came out
        self.away = 0.0  # the share of the validating rows that it left to the background
        self._look()
        for block, unit in self._engine(self.polished).forks_needed(self.table, 0, self.n):
            self.polished.fork(block, unit)
        self._begin(self.polished.copy(), POLISH, self.n_training)

    @property
    def layout(self) -> Layout:
        """The blocks, as of now."""
        return self.schema.layout()

    @property
    def n(self) -> int:
        """How many rows there are."""
        return int(self.rows.shape[1])

    @property
    def n_training(self) -> int:
        """How many of them train: the first ones."""
        return self.n // 2

    @property
    def since(self) -> int:
        """How many records there were when the shares of components changed; 0 where they have not."""
        return self.born - self.n + 2 * self.changed if self.changed else 0

    @property
    def state(self) -> State:
        """The state that is worked on; what comes out, in the end."""
        return self.climb.state

    @property
    def _each(self) -> int:
        """What a row costs an iteration."""
        return self.n_parameters + ROW

    def _look(self) -> None:
        self.columns = list(self.rows)
        self.table = Table(self.columns)
        self.own_weights = None if (self.weights == 1.0).all() else self.weights
        self.forget()

    def forget(self) -> None:
        """Put away what follows from the rest: it follows from other things now."""
        self._made: NDArray[Any] | None = None  # labels of a fresh start, or responsibilities after a move
        self._trained: tuple[FloatArray, FloatArray] | None = None
        self._expected: FloatArray | None = None
        self._points: FloatArray | None = None

    def _engine(self, state: State) -> Engine:
        return engine_of(self.schema, state, (0, 1.0), self.spread)

    def _begin(self, state: State, iterations: int, n_rows: int) -> None:
        """Set out on iterations of EM over the first rows."""
        self.climb = Climb(
            self.schema, state, self.spread, self.table, self.own_weights, n_rows, iterations, self._each
        )

    def work(self, budget: int = SLICE) -> bool:
        """Do a slice; tell whether the challenge is over."""
        given = budget
        while budget > 0 and self.stage != "over":
            if self.climb.left:
                budget -= self.climb.go(budget)
                continue
            price = self._price()
            if budget < min(price, given):
                break  # what can't be cut has room in the next slice
            self._go_on()
            budget -= price
        return self.stage == "over"

    def _price(self) -> int:
        """What the next step beside the iterations costs."""
        if self.stage == "whole":
            return CALL
        n, cells = self.n_training, CELL * len(self.columns)
        if self.stage in ("propose", "scaled", "shrunk", "made") and self.at < len(self.plan):
            if self.plan[self.at][0] == "fresh":
                return max(STEP * min(n, START_ROWS) // START_ROWS, 6 * CALL)
            return n * (self._each + cells + CELL * self.state.n_components) + 4 * CALL
        return n * (cells if self.stage == "points" else self._each) + (15 if self.stage == "plan" else 6) * CALL

    def _go_on(self) -> None:
        """Take the next step beside the iterations: a score, a decision, a part of a proposal, the next climb."""
        if self.stage == "polish":
            self.polished = self.state
            self._expect()
            self.stage = "behind"
        elif self.stage == "behind":
            self.lag = self._gain(self.start)
            self.lag = -self.lag[0], -self.lag[1]
            self.start, self.stage = self.polished, "points"
        elif self.stage == "points":
            self._standardised()
            self.stage = "plan"
        elif self.stage == "plan":
            responsibilities = self._training()[0]
            self.changed = last_change(responsibilities)
            self.plan, self.stage, self.at = moves(responsibilities, len(self.atoms)), "propose", 0
        elif self.stage == "propose" and self.at < len(self.plan):
            self._made = self._make()
            self.stage = "scaled" if self.plan[self.at][0] == "fresh" else "made"
        elif self.stage == "scaled":
            units = enumerate(self.polished.mass_units)
            forks = [(block, unit) for block, own in units for unit, mass in enumerate(own) if mass]
            state = scaled(self.schema, self.state.n_components, forks, *self._thinned())
            self._begin(state, 0, self.n_training)
            self.stage = "shrunk"
        elif self.stage == "shrunk":
            shrink_scales(self.layout, self.state, self._thinned()[0], self._make())
            resolve_as(self.layout, self.state, self.polished)
            self.stage = "made"
        elif self.stage == "made":
            self._begin(self._proposed(), SHORT, self.n_training)
            self._made, self.stage = None, "tried"
        elif self.stage == "tried":
            if self.plan[self.at][0] == "merge":
                self.merger = (*self._gain(self.state), self.plan[self.at])
            else:
                self._keep(self.kept, self.plan[self.at])
            self.kept = sorted(self.kept, key=lambda one: -one[1])[:FINALISTS]
            self.stage, self.at = "propose", self.at + 1
        elif self.stage == "whole":
            reanchor(self.layout, self.state)
            give_background(self.state, self.away)
            self.stage = "over"
        else:
            self._go_on_with_finalists()

    def _go_on_with_finalists(self) -> None:
        if self.stage == "final":
            self._keep(self.done, self.kept[self.at][3])
            self.at += 1
        else:
            self.stage, self.at = "final", 0
        if self.at < len(self.kept):
            self._begin(self.kept[self.at][0].copy(), LONG, self.n_training)
            return
        best = max(self.done, key=lambda one: one[1], default=None)
        if best is None or best[1] <= GAIN:
            best = (self.polished, 0.0, 0.0, None)
        self.chosen = best[1:]
        self.away = self._share_of_background(best[0])
        self.kept, self.done = [], []
        self.stage = "whole"
        if 0 < self.changed <= BEFORE * self.n_training:
            self._pass_over(self.changed)
        self._begin(best[0].copy(), WHOLE, self.n)

    def _pass_over(self, first: int) -> None:
        """Put away the rows before a change."""
        training = np.arange(first, self.n_training)
        rows = np.concatenate([training, training + self.n_training])
        self.rows, self.weights = np.ascontiguousarray(self.rows[:, rows]), self.weights[rows]
        self.changed = 0
        self._look()

    def settle(self) -> None:
        """Let what came out weigh as records do by now."""
        for _ in range(self.halvings):
            self.state.halve()
        self.halvings = 0

    def _keep(self, into: list[tuple[State, float, float, Move | None]], move: Move | None) -> None:
        """Take down a state with its gain over the polished champion."""
        into.append((self.state, *self._gain(self.state), move))

    def _gain(self, state: State) -> tuple[float, float]:
        """How much better a state is on the validating rows than the polished champion; its z."""
        n = self.n_training
        found = densities(self._engine(state), self.table, n, self.n)
        clipped = np.clip(found - self._expect(), -100.0, 100.0)
        return z_of((len(clipped), float(clipped.sum()), float(clipped @ clipped)))

    def _share_of_background(self, state: State) -> float:
        """The share of the validating rows that the background made: of records that were learnt it makes too few."""
        if self.spread is None:
            return 0.0
        n = self.n_training
        responsibilities = np.empty((self.n, state.n_components))
        self._engine(state).accumulate(self.table, n, self.n, out_r=responsibilities, out_lp=np.empty(self.n))
        return float(1.0 - responsibilities[n:].sum() / (self.n - n))

    def _expect(self) -> FloatArray:
        """Log densities of the validating rows by the polished champion."""
        if self._expected is None:
            self._expected = densities(self._engine(self.polished), self.table, self.n_training, self.n)
        return self._expected

    def _training(self) -> tuple[FloatArray, FloatArray]:
        """Responsibilities and log densities of the training rows by the polished champion."""
        if self._trained is None:
            n = self.n_training
            responsibilities, log_density = np.empty((n, self.polished.n_components)), np.empty(n)
            engine = self._engine(self.polished)
            engine.accumulate(self.table, 0, n, out_r=responsibilities, out_lp=log_density)
            responsibilities[responsibilities < 1e-100] = 0.0  # subnormal numbers are slow
            self._trained = responsibilities, log_density
        return self._trained

    def _standardised(self) -> FloatArray:
        """The training rows as points."""
        if self._points is None:
            self._points = standardised(self.layout, self._training_columns()[0])
        return self._points

    def _training_columns(self) -> tuple[list[FloatArray], FloatArray | None]:
        n = self.n_training
        return [column[:n] for column in self.columns], None if self.own_weights is None else self.own_weights[:n]

    def _thinned(self) -> tuple[list[FloatArray], FloatArray | None]:
        return thinned(*self._training_columns())

    def _make(self) -> NDArray[Any]:
        """What a proposal needs first: the labels of a fresh start, or responsibilities after a move."""
        if self._made is None:
            what, number, _ = self.plan[self.at]
            if what == "fresh":
                rng = np.random.default_rng([self.seed, number])
                steps = 1 if number % 2 else LLOYD
                every = step_between(self.n_training)
                self._made = kmeans(self._standardised()[::every], self.state.n_components, steps, rng)
            else:
                weights, at_atom = self._training_columns()[1], None
                if what == "atom":
                    atom = self.atoms[self.plan[self.at][2]]
                    at_atom = np.abs(self.rows[atom.column, : self.n_training] - atom.value) <= atom.near
                self._made = displaced(self.plan[self.at], self._standardised(), weights, *self._training(), at_atom)
        return self._made

    def _proposed(self) -> State:
        """A proposal: one M-step of what was made for it."""
        made = self._make()
        if self.plan[self.at][0] == "fresh":
            some, weights = self._thinned()
            given = split_up(made, self.state.n_components, self.spread is not None)
            stepped(self.layout, self.state, Table(some), len(made), weights, given)
            return self.state
        state, weights = self.polished.copy(), self._training_columns()[1]
        stepped(self.layout, state, self.table, self.n_training, weights, made)
        return state

    def bind(self) -> None:
        """Bind the engine anew, after arrays were replaced."""
        self.forget()
        self.climb.bind()

    def states(self) -> dict[str, State]:
        """Return all statistics that are kept, by name."""
        found = {"polished": self.polished, "work": self.state}
        if self.stage in ("polish", "behind"):
            found["start"] = self.start
        found |= {f"kept{i}": one[0] for i, one in enumerate(self.kept)}
        return found | {f"done{i}": one[0] for i, one in enumerate(self.done)}

    def to_json(self) -> dict[str, Any]:
        """Return everything but states and arrays, as JSON can hold it."""
        return {
            "n_parameters": self.n_parameters,
            "lag": list(self.lag),
            "seed": self.seed,
            "atoms": [list(atom) for atom in self.atoms],
            "stage": self.stage,
            "halvings": self.halvings,
            "labels": list(self.labels),
            "born": self.born,
            "learnt": self.learnt,
            "changed": self.changed,
            "plan": [list(move) for move in self.plan],
            "at": self.at,
            "kept": [[gain, z, move] for _, gain, z, move in self.kept],
            "done": [[gain, z, move] for _, gain, z, move in self.done],
            "merger": list(self.merger),
            "chosen": list(self.chosen),
            "away": self.away,
            "climb": self.climb.to_json(),
        }

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays that are kept, by name."""
        found = {"rows": self.rows, "weights": self.weights}
        if self.climb.sums is not None:
            found["sums"] = self.climb.sums
        if self.spread is not None:
            found["spread"] = self.spread
        return found

    @classmethod
    def resumed(
        cls, schema: Schema, document: dict[str, Any], states: dict[str, State], arrays: dict[str, FloatArray]
    ) -> "Challenge":
        """Return the challenge that `to_json`, `states` and `arrays` were called of."""
        made = cls.__new__(cls)
        made.schema = schema
        made.rows, made.weights = np.ascontiguousarray(arrays["rows"]), arrays["weights"]
        made.n_parameters, made.lag = int(document["n_parameters"]), _pair(document["lag"])
        made.spread = arrays.get("spread")
        if made.spread is not None and made.spread.shape != (2, len(made.rows)):
            raise CheckpointError("the checkpoint's background contradicts itself")
        made.seed, made.stage, made.at = int(document["seed"]), str(document["stage"]), int(document["at"])
        made.halvings, made.born = int(document.get("halvings", 0)), int(document.get("born", 0))
        made.labels = [int(label) for label in document.get("labels", range(states["work"].n_components))]
        made.learnt, made.changed = int(document.get("learnt", made.born)), int(document.get("changed", 0))
        made.atoms = atoms_from(document.get("atoms", ()))
        made.plan = [_move(move) for move in document["plan"]]
        made.kept = [(states[f"kept{i}"], *_outcome(one)) for i, one in enumerate(document["kept"])]
        made.done = [(states[f"done{i}"], *_outcome(one)) for i, one in enumerate(document["done"])]
        made.merger = _outcome(document.get("merger", (0.0, 0.0, None)))
        made.chosen, made.away = _outcome(document["chosen"]), float(document.get("away", 0.0))
        made.polished = states["polished"]
        made.start = states.get("start", made.polished)
        n, climb = made.rows.shape[1], document.get("climb", document)  # once they were one
        if not 0 <= int(climb["n_rows"]) <= n or made.weights.shape != (n,):
            raise CheckpointError("the checkpoint's challenge contradicts itself")
        check_rows(made.rows.T, made.layout)
        made._look()
        made._begin(states["work"], 0, int(climb["n_rows"]))
        made.climb.resume(climb, arrays.get("sums"))
        return made


def _move(document: Any) -> Move:
    what, goes, split = document
    return str(what), int(goes), int(split)


def _pair(document: Any) -> tuple[float, float]:
    gain, z = document
    return float(gain), float(z)


def _outcome(document: Any) -> tuple[float, float, Move | None]:
    gain, z, move = document
    return float(gain), float(z), None if move is None else _move(move)
