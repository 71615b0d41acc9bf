"""AutoMixture: the face of a mixture that supervises itself."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streammix import frames
from streammix.auto.beat import share_of_beat
from streammix.auto.learning import AutoLearner
from streammix.auto.settings import Settings
from streammix.auto.supervisor import Supervisor
from streammix.core.table import table_of
from streammix.core.values import short
from streammix.declaration import checked, from_json
from streammix.errors import ConfigError
from streammix.families import Family
from streammix.mixture import Mixture
from streammix.state import Snapshot
from streammix.stepsize import HalfLife, PowerDecay, RunningMean, StepSize, step_size_from_json, step_size_to_json

__all__ = ["AutoMixture"]

MOST = 10  # components that are tried where nobody says how many
LARGEST_RANGE = 50

FloatArray = NDArray[np.float64]


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
        K, the number of components; or a pair, the fewest and the most, such as (1, 5) or [1, 5]; or None for 1 to 10:
        candidates of each K learn side by side, and the one leads that predicts best for its size.
    fields, infer
        As in `Mixture`.
    drift
        "auto": the stream may change at any time. "none": it doesn't, however long it dwells in one component; all
        records weigh the same, and nothing chases the present. `HalfLife`: forget at this rate, by records or by event
        time.
    background
        Whether there is a component beside the K whose density is one over the volume of everything seen so far, for
        records that none of them explains. Where it is left out: if there are `Normal`, `LogNormal` or
        `MultivariateNormal` fields.
    warm_up
        How many records the warm-up takes, as in `Mixture`. Where it is left out the model predicts after some sixty
        records, and after up to ninety where K is chosen from 1 to 10; until there are enough for K components, fewer
        stand in for them, and the others weigh next to nothing.
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
        n_components: int | Sequence[int] | None = 3,
        fields: Mapping[Any, Family | None] | None = None,
        drift: str | HalfLife = "auto",
        background: bool | None = None,
        warm_up: int | None = None,
        seed: int | None = None,
        infer: bool = False,
    ) -> None:
        import_module("scipy.optimize")  # for `succession`: half a second, here rather than amid the stream
        step: StepSize = PowerDecay(0.6)
        if isinstance(drift, HalfLife):
            step = drift
        elif drift == "none":
            step = RunningMean()
        elif drift != "auto":
            raise ConfigError(f'drift must be "auto", "none" or a HalfLife, not {drift!r}')
        if background is not None and not isinstance(background, bool):
            raise ConfigError(f"background must be True, False or None, not {background!r}")
        sizes = _sizes(n_components, stands_in=warm_up is None)
        declared = checked(sizes[-1], fields, None, None, step, share_of_beat(len(sizes)), warm_up, False, seed, infer)
        is_auto = drift == "auto"
        by_time = isinstance(drift, HalfLife) and drift.field is not None
        settings = Settings(step.core, is_auto, drift != "none", not isinstance(drift, HalfLife), by_time)
        self.n_components = n_components  # type: ignore[assignment]
        self.fields = fields
        self.drift = drift
        self.background = background
        self.warm_up = warm_up
        self.seed = seed
        self.infer = infer
        arguments = {
            "model": "AutoMixture",
            "n_components": list(n_components) if isinstance(n_components, Sequence) else n_components,
            "drift": drift if isinstance(drift, str) else step_size_to_json(drift),
            "background": background,
        }
        rng = np.random.default_rng(seed)
        self._learner: AutoLearner = AutoLearner(declared, settings, sizes, background, arguments, rng)
        self._sync()

    def _new_learner(self) -> AutoLearner:
        own = self._learner
        rng = np.random.default_rng()
        return AutoLearner(own.declaration, own.settings, own.sizes, own.has_background, own.arguments, rng)

    @classmethod
    def _restore(cls, snapshot: Snapshot, fixed: Mapping[Any, Any] | None = None) -> Self:
        given = from_json(snapshot.declaration, fixed)
        drift: Any = given["drift"]
        sizes: Any = given["n_components"]
        model = cls(
            tuple(sizes) if isinstance(sizes, list) else sizes,
            given["fields"],
            drift if isinstance(drift, str) else step_size_from_json(drift),  # type: ignore[arg-type]
            given["background"],
            given["warm_up"],
            given["seed"],
            given["infer"],
        )
        model._adopt(snapshot)
        return model

    @property
    def _supervisor(self) -> Supervisor | None:
        running = self._learner.running
        return running if isinstance(running, Supervisor) else None

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened, the last 200 events: each with `n_seen`, `kind` and its evidence."""
        return [] if self._supervisor is None else [dict(event) for event in self._supervisor.events.kept]

    @property
    def event_counts(self) -> dict[str, int]:
        """How many events of each kind there were."""
        return {} if self._supervisor is None else dict(self._supervisor.events.counts)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """The signs that the model may be wrong, each with `sign`, `text` and its evidence: none where all is well."""
        if self._supervisor is None:
            text = f"{self.n_seen} records are not enough to start from"
            return [{"sign": "warming up", "text": text, "records": self.n_seen}]
        return self._supervisor.doubts

    @property
    def labels(self) -> list[int]:
        """For each component, a number that is its own for ever: it follows it through take-overs and changes of K.

        It is -1 of those that no record has made yet: while warming up, and where fewer than were asked for stand in.
        """
        return [-1] * len(self.weights) if self._supervisor is None else self._supervisor.labels

    @property
    def background_weight(self) -> float:
        """The share of records that the background is thought to have made; 0.0 where there is none."""
        return 0.0 if self._supervisor is None else self._supervisor.published.background

    def outlier_one(self, x: Mapping[str, Any]) -> float:
        """Return the probability that the background made a record, and no component; 0.0 while warming up."""
        running = self._supervisor
        if running is None:
            return 0.0
        row, _ = running.schema.reader.row(dict(x))
        told = running.tell_each(table_of(row[None, :]))
        assert told.outliers is not None  # for the type checker
        return float(told.outliers[0])

    def outlier_many(self, X: Any) -> Any:
        """Return the probability that the background made each row: a column of X's kind."""
        frame, running = self._frame(X), self._supervisor
        outliers = np.zeros(len(frame)) if running is None else running.outliers(running.schema.encode(frame).table)
        return frames.column_like(X, outliers, "outlier")


def _sizes(n_components: Any, stands_in: bool) -> list[int]:
    """The numbers of components that compete; of a given one, those that may stand in for it at first."""
    if n_components is None:
        return list(range(1, MOST + 1))
    is_pair = isinstance(n_components, tuple | list) and [type(k) for k in n_components] == [int, int]
    if is_pair and 1 <= n_components[0] <= n_components[1] <= LARGEST_RANGE:
        return list(range(n_components[0], n_components[1] + 1))
    if type(n_components) is not int or n_components < 1:
        raise ConfigError(
            "n_components must be a whole number, 1 or more, None for 1 to 10, or a pair of the fewest and the most, "
            f"up to {LARGEST_RANGE}, not {short(n_components)}"
        )
    if not stands_in:
        return [n_components]
    fewer = [2**i for i in range(n_components.bit_length()) if 3 * 2**i <= 2 * n_components]
    return [*fewer, n_components]
