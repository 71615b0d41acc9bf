"""A challenge: the champion, polished, against other places for its components, on records that are set aside.

It is work for many records, cut into slices of bounded cost: a slice ends within an iteration of EM where the rows are
too many for one. Everything is counted in records and rows, never by the clock, and all of it is plain data.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import engine_of
from streammix.auto.evidence import z_of
from streammix.auto.member import densities
from streammix.auto.moves import Move, fresh, moved, moves
from streammix.core.engine import Engine
from streammix.core.table import Table
from streammix.em import Layout, iterate, reanchor
from streammix.errors import CheckpointError
from streammix.packing import check_rows
from streammix.schema import Schema
from streammix.state import State

__all__ = ["SLICE", "Challenge"]

FloatArray = NDArray[np.float64]

POLISH, SHORT, LONG, WHOLE = 30, 5, 30, 20  # iterations of EM
FINALISTS = 3
LLOYD = 3  # steps of every other fresh start
GAIN = 1e-4  # nats a record that a proposal has to be better than the polished champion
CONVERGED = 1e-7  # nats a record

# Work is counted in (rows x parameters); a slice is about a millisecond's
SLICE = 2_000_000
START = 2_500_000  # of a fresh start
CALL = 100_000  # of a call, however few its rows
ROW = 40  # parameters that a row costs in any case


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
        self.stage = "polish"
        self.plan: list[Move] = []
        self.at = 0  # of the plan, or of the finalists
        self.kept: list[tuple[State, float, float, Move | None]] = []
        self.done: list[tuple[State, float, float, Move | None]] = []
        self.start = self.polished = champion.copy()
        self.chosen: tuple[float, float, Move | None] = (0.0, 0.0, None)  # gain, z and move of what came out
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

    def _look(self) -> None:
        self.columns = list(self.rows)
        self.table = Table(self.columns)
        self.own_weights = None if (self.weights == 1.0).all() else self.weights

    def _engine(self, state: State) -> Engine:
        return engine_of(self.schema, state, (0, 1.0), self.spread)

    def _begin(self, state: State, iterations: int, n_rows: int) -> None:
        """Set out on iterations of EM over the first rows."""
        self.state = state
        self.engine = self._engine(state)
        self.left, self.n_rows, self.row = iterations, n_rows, 0
        self.before = -np.inf
        self.sums: FloatArray | None = None
        self.log_likelihood = 0.0
        self.totals = self.engine.compounded(self.table, 0, n_rows, self.own_weights)[1]

    def work(self, budget: int = SLICE) -> bool:
        """Do a slice; tell whether the challenge is over."""
        given = budget
        while budget > 0 and self.stage != "over":
            if not self.left and budget < min(self._price(), given):
                break  # what can't be cut has room in the next slice
            budget -= self._iterate(budget) if self.left else self._go_on()
        return self.stage == "over"

    def _iterate(self, budget: int) -> int:
        each = self.n_parameters + ROW
        end = min(self.n_rows, self.row + max((budget - CALL) // each, 256))
        sums, log_likelihood, _ = self.engine.collect(self.table, self.row, end, self.own_weights)
        cost = CALL + (end - self.row) * each
        self.log_likelihood += log_likelihood
        self.row = end
        if self.sums is not None or end < self.n_rows:
            self.sums = self.engine.accumulator() if self.sums is None else self.sums
            self.sums += sums
            sums = self.sums
        if end < self.n_rows:
            return cost
        iterate(self.engine, self.state, sums, self.totals)
        self.left -= 1
        if self.log_likelihood - self.before < CONVERGED * float(self.totals[0]):
            self.left = 0
        self.before, self.row, self.sums, self.log_likelihood = self.log_likelihood, 0, None, 0.0
        return cost

    def _price(self) -> int:
        """What the next step beside the iterations costs: a score of the validating rows, or a proposal."""
        each = self.n_parameters + ROW
        if self.stage == "propose" and self.at < len(self.plan):
            if self.plan[self.at][0] == "fresh":
                return START
            return self.n_training * (each + 100 * (len(self.columns) + self.state.n_components)) + 4 * CALL
        return CALL if self.stage == "whole" else self.n * each + 2 * CALL

    def _go_on(self) -> int:
        """What comes after the iterations: a score, a decision, the next state. Returns what it costs."""
        price = self._price()
        if self.stage == "polish":
            self.polished = self.state
            self.lag = self._gain(self.engine, self.start)
            self.start = self.polished
            self.plan = moves(self._training()[0])
            self.stage, self.at = "propose", 0
        elif self.stage == "tried":
            self._keep(self.kept, self.plan[self.at])
            self.kept = sorted(self.kept, key=lambda one: -one[1])[:FINALISTS]
            self.stage, self.at = "propose", self.at + 1
            return price
        elif self.stage == "final":
            self._keep(self.done, self.kept[self.at][3])
            self.at += 1
        elif self.stage == "whole":
            reanchor(self.layout, self.state)
            self.stage = "over"
            return price
        if self.stage == "propose" and self.at == len(self.plan):
            self.stage, self.at = "final", 0
        if self.stage == "propose":
            self._begin(self._proposed(self.plan[self.at]), SHORT, self.n_training)
            self.stage = "tried"
            return price
        if self.at < len(self.kept):
            self._begin(self.kept[self.at][0].copy(), LONG, self.n_training)
            return price
        best = max(self.done, key=lambda one: one[1], default=None)
        if best is None or best[1] <= GAIN:
            best = (self.polished, 0.0, 0.0, None)
        self.chosen = best[1:]
        self.kept, self.done = [], []
        self.stage = "whole"
        self._begin(best[0].copy(), WHOLE, self.n)
        return price

    def _keep(self, into: list[tuple[State, float, float, Move | None]], move: Move | None) -> None:
        """Take down a state with its gain over the polished champion."""
        into.append((self.state, *self._gain(self.engine, self.polished), move))

    def _gain(self, engine: Engine, reference: State) -> tuple[float, float]:
        """How much better an engine's state is than another on the validating rows, and its z."""
        n = self.n_training
        before = densities(self._engine(reference), self.table, n, self.n)
        difference = densities(engine, self.table, n, self.n) - before
        clipped = np.clip(difference, -100.0, 100.0)
        return z_of((len(clipped), float(clipped.sum()), float(clipped @ clipped)))

    def _training(self) -> tuple[FloatArray, FloatArray]:
        """Responsibilities and log densities of the training rows by the polished champion."""
        n = self.n_training
        responsibilities, log_density = np.empty((n, self.polished.n_components)), np.empty(n)
        engine = self._engine(self.polished)
        engine.accumulate(self.table, 0, n, out_r=responsibilities, out_lp=log_density)
        responsibilities[responsibilities < 1e-100] = 0.0  # subnormal numbers are slow
        return responsibilities, log_density

    def _proposed(self, move: Move) -> State:
        what, number, _ = move
        n = self.n_training
        weights = None if self.own_weights is None else self.own_weights[:n]
        if what == "fresh":
            rng = np.random.default_rng([self.seed, number])
            columns = [column[:n] for column in self.columns]
            steps = 1 if number % 2 else LLOYD
            k = self.polished.n_components
            return fresh(self.schema, k, columns, weights, steps, self.spread is not None, rng)
        r, log_density = self._training()
        return moved(self.layout, self.polished, move, self.table, self.columns, n, weights, r, log_density)

    def bind(self) -> None:
        """Bind the engine anew, after arrays were replaced; an iteration that no longer fits them starts again."""
        self.engine = self._engine(self.state)
        if self.sums is not None and self.sums.shape != self.engine.accumulator().shape:
            self.row, self.sums, self.log_likelihood = 0, None, 0.0

    def states(self) -> dict[str, State]:
        """Return all statistics that are kept, by name."""
        found = {"polished": self.polished, "work": self.state}
        if self.stage == "polish":
            found["start"] = self.start
        found |= {f"kept{i}": one[0] for i, one in enumerate(self.kept)}
        return found | {f"done{i}": one[0] for i, one in enumerate(self.done)}

    def to_json(self) -> dict[str, Any]:
        """Return everything but states and arrays, as JSON can hold it."""
        return {
            "n_parameters": self.n_parameters,
            "lag": list(self.lag),
            "seed": self.seed,
            "stage": self.stage,
            "plan": [list(move) for move in self.plan],
            "at": self.at,
            "kept": [[gain, z, move] for _, gain, z, move in self.kept],
            "done": [[gain, z, move] for _, gain, z, move in self.done],
            "chosen": list(self.chosen),
            "left": self.left,
            "n_rows": self.n_rows,
            "row": self.row,
            "before": self.before if np.isfinite(self.before) else None,
            "log_likelihood": self.log_likelihood,
        }

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays that are kept, by name."""
        found = {"rows": self.rows, "weights": self.weights}
        if self.sums is not None:
            found["sums"] = self.sums
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
        made.plan = [_move(move) for move in document["plan"]]
        made.kept = [(states[f"kept{i}"], *_outcome(one)) for i, one in enumerate(document["kept"])]
        made.done = [(states[f"done{i}"], *_outcome(one)) for i, one in enumerate(document["done"])]
        made.chosen = _outcome(document["chosen"])
        made.polished, made.state = states["polished"], states["work"]
        made.start = states.get("start", made.polished)
        n = made.rows.shape[1]
        made.left, made.n_rows, made.row = int(document["left"]), int(document["n_rows"]), int(document["row"])
        if not 0 <= made.row <= made.n_rows <= n or made.weights.shape != (n,):
            raise CheckpointError("the checkpoint's challenge contradicts itself")
        check_rows(made.rows.T, made.layout)
        made._look()
        made.engine = made._engine(made.state)
        made.before = -np.inf if document["before"] is None else float(document["before"])
        made.log_likelihood = float(document["log_likelihood"])
        made.sums = made.engine.accumulator() if "sums" in arrays else None
        if made.sums is not None:
            made.sums[...] = arrays["sums"]
        made.totals = made.engine.compounded(made.table, 0, made.n_rows, made.own_weights)[1]
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
