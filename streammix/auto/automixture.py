"""AutoMixture: the face of a mixture that supervises itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streammix.auto.line import Line, Settings
from streammix.auto.reservoir import Reservoir
from streammix.auto.supervisor import BEAT, Supervisor, reservoir_size
from streammix.declaration import Declaration, checked, from_json
from streammix.errors import CheckpointError, ConfigError
from streammix.families import Family
from streammix.learner import Learner
from streammix.mixture import Mixture
from streammix.running import Running
from streammix.schema import Schema
from streammix.state import Snapshot
from streammix.stepsize import HalfLife, PowerDecay, RunningMean, StepSize, step_size_to_json
from streammix.warmup import free_parameters, warm_state

__all__ = ["AutoMixture"]

FloatArray = NDArray[np.float64]


class AutoLearner(Learner):
    """A learner whose mixture is supervised."""

    def __init__(
        self, declaration: Declaration, settings: Settings, arguments: Mapping[str, Any], rng: np.random.Generator
    ) -> None:
        self.settings = settings
        self.arguments = arguments
        super().__init__(declaration, rng)

    def _parameters(self, schema: Schema, n_components: int) -> int:
        assert self.chosen is not None
        levels = {name: len(codes) for name, codes in schema.codes.items()}
        return free_parameters(self.chosen, n_components, levels)

    def _begin(self, schema: Schema, columns: Sequence[FloatArray], weights: FloatArray | None) -> Running:
        k, n = self.declaration.n_components, len(columns[0])
        state = warm_state(schema, columns, weights, k, self.rng)
        n_parameters = self._parameters(schema, k)
        line = Line(schema, state, n_parameters, n, self.settings, n)
        reservoir = Reservoir(reservoir_size(n_parameters), len(columns))
        reservoir.add(np.stack(columns, axis=1), np.ones(n) if weights is None else weights)
        reservoir.n = 0 + n
        rng = np.random.default_rng(self.rng.integers(2**63))
        return Supervisor(self.declaration, schema, [line], self.settings, reservoir, rng)

    def snapshot(self, n_seen: int, seed: int | None) -> Snapshot:
        """Everything that the mixture is."""
        found = super().snapshot(n_seen, seed)
        found.declaration = {**found.declaration, **self.arguments}
        if isinstance(self.running, Supervisor):
            found.supervision = self.running.supervision()
        return found

    def _resume(self, schema: Schema, snapshot: Snapshot) -> Running:
        if snapshot.supervision is None:
            raise CheckpointError("the checkpoint's model is supervised, but what supervises it is missing")
        return Supervisor.resumed(self.declaration, schema, self.settings, snapshot.supervision)


class AutoMixture(Mixture):
    """Finite mixture that learns unattended: a `Mixture` that supervises itself.

    A champion learns as `Mixture` does. Beside it run its average, experts that forget fast, and challengers, which
    come from other places for its components, tried out on a reservoir of the last records. Who predicts, who takes
    over and when the stream has changed is decided by how well each predicted the records before it learnt them.

    Statistics move every 50 records, judgement is passed every 500: all by the number of records, so that neither the
    cuts of the stream nor saving and loading make a difference to a single bit.

    Parameters
    ----------
    n_components
        K, the number of components.
    fields, infer
        As in `Mixture`.
    drift
        "auto": the stream may change at any time. "none": it doesn't, however long it dwells in one component; all
        records weigh the same, and nothing chases the present. `HalfLife`: forget at this rate.
    warm_up
        How many records the warm-up takes, as in `Mixture`.
    seed
        Makes the starts, the challenges and `sample` reproducible.

    Raises
    ------
    ConfigError
        If arguments contradict each other or a family does not fit its fields.

    Examples
    --------
    >>> import random
    >>> import streammix as sm
    >>> rng = random.Random(1)
    >>> model = sm.AutoMixture(n_components=2, fields={"seconds": sm.Normal()}, seed=7)
    >>> for _ in range(4_000):
    ...     model.learn_one({"seconds": rng.gauss(10, 1) if rng.random() < 0.25 else rng.gauss(30, 2)})
    >>> sorted(round(c["seconds"].mean) for c in model.parameters)
    [10, 30]
    """

    def __init__(
        self,
        n_components: int = 3,
        fields: Mapping[Any, Family | None] | None = None,
        drift: str | HalfLife = "auto",
        warm_up: int | None = None,
        seed: int | None = None,
        infer: bool = False,
    ) -> None:
        step: StepSize = PowerDecay(0.6)
        if isinstance(drift, HalfLife):
            step = drift
        elif drift == "none":
            step = RunningMean()
        elif drift != "auto":
            raise ConfigError(f'drift must be "auto", "none" or a HalfLife, not {drift!r}')
        declared = checked(n_components, fields, None, None, step, BEAT, warm_up, False, seed, infer)
        is_auto = drift == "auto"
        settings = Settings(step.core, is_auto, drift != "none", not isinstance(drift, HalfLife), False)
        self.n_components = n_components
        self.fields = fields
        self.drift = drift
        self.warm_up = warm_up
        self.seed = seed
        self.infer = infer
        arguments = {"model": "AutoMixture", "drift": drift if isinstance(drift, str) else step_size_to_json(drift)}
        self._learner: AutoLearner = AutoLearner(declared, settings, arguments, np.random.default_rng(seed))
        self._sync()

    def _new_learner(self) -> AutoLearner:
        known = self._learner
        return AutoLearner(known.declaration, known.settings, known.arguments, np.random.default_rng())

    @classmethod
    def _restore(cls, snapshot: Snapshot, fixed: Mapping[Any, Any] | None = None) -> Self:
        given = from_json(snapshot.declaration, fixed)
        drift: Any = given["drift"]
        model = cls(
            given["n_components"],
            given["fields"],
            drift if isinstance(drift, str) else HalfLife(drift["records"]),
            given["warm_up"],
            given["seed"],
            given["infer"],
        )
        model._adopt(snapshot)
        return model

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened."""
        running = self._learner.running
        return [dict(event) for event in running.events.kept] if isinstance(running, Supervisor) else []
