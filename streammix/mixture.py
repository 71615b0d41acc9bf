"""The mixture: river's face of the learner."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from river import base

from streammix import conditional, frames
from streammix.answers import Ingested
from streammix.average import EVERY
from streammix.core.json_lines import JsonLines
from streammix.core.records import Records
from streammix.declaration import checked, from_json, shown
from streammix.errors import ConfigError, RecordError
from streammix.families import Family
from streammix.intake import Read, frame_of, ingest, learn_at, learn_frame, weights_of
from streammix.learner import Learner
from streammix.parameters import center_of, draw, families_of
from streammix.schema import field_name
from streammix.state import Snapshot
from streammix.stepsize import StepSize

__all__ = ["Ingested", "Mixture"]

FloatArray = NDArray[np.float64]
Field = str | tuple[str, ...]


class Mixture(Records, base.Clusterer):
    """Finite mixture learnt from a stream by stepwise expectation-maximisation.

    p(x) = Σ_k π_k Π_f p_f(x_f | θ_kf). Each record moves running expected sufficient statistics by a decaying step;
    the parameters are always the M-step of those statistics. Missing fields are integrated out.

    The first records wait in a buffer (the warm-up); ten starts of batch EM on them make the first state. Until then
    `predict_proba_one` is uniform and `score_one` is 0.0.

    Parameters
    ----------
    n_components
        K, the number of components, at most 100,000; with `components`, their number.
    fields
        Field, or tuple of fields, -> the family that every component has there, without parameters. Fields that are
        not named are ignored. Where it is left out, or with `infer`, families are inferred from the warm-up: booleans
        are Bernoulli, strings Categorical, numbers that every record has jointly MultivariateNormal (Normal where
        there are too many of them), other numbers Normal; times, and text that hardly ever repeats, are left out. A
        field that first appears later, or a number that never varied before, joins after 200 values; so does a
        declared field with a scale of its own that does not vary in the warm-up.
    components
        An explicit start in place of a warm-up: for each component its families with parameters, by field. It has no
        prior: textbook EM.
    weights
        The mixing weights of `components`; equal where left out.
    step_size
        How fast the statistics forget: `PowerDecay`, `RunningMean` or `HalfLife`; `PowerDecay(0.6)` where left out.
    batch_size
        Records a step: the parameters move once a mini-batch. It is a property of the model: how records are handed
        over does not matter.
    warm_up
        How many records the warm-up takes: five a free parameter, at least 1,000 and at most 4,000, where left out.
        With `components`, how many records the explicit start counts as: 100 where left out.
    averaging
        Whether the running average of the statistics is shown and predicts, in place of the statistics (Polyak and
        Ruppert): steadier, slower to follow.
    seed
        Makes the warm-up's starts and `sample` reproducible.
    infer
        Whether fields that `fields` does not name are inferred all the same: `fields` then says only where inference
        is to be overruled, and None there leaves a field out: ``fields={"hour": VonMises(period=24), "id": None}``.
        It is an argument of its own, since any string may be the name of a field.

    Raises
    ------
    ConfigError
        If arguments contradict each other or a family does not fit its fields.

    References
    ----------
    Cappé, O. and Moulines, E. (2009). On-line expectation-maximization algorithm for latent data models. Journal of
    the Royal Statistical Society B 71(3), 593-613.

    Examples
    --------
    >>> import random
    >>> import streammix as sm
    >>> rng = random.Random(1)
    >>> model = sm.Mixture(n_components=2, fields={"seconds": sm.Normal()}, warm_up=200, seed=7)
    >>> for _ in range(2_000):
    ...     model.learn_one({"seconds": rng.gauss(10, 1) if rng.random() < 0.25 else rng.gauss(30, 2)})
    >>> sorted(round(c["seconds"].mean) for c in model.parameters)
    [10, 30]
    >>> max(model.predict_proba_one({"seconds": 11.5}).values()) > 0.999
    True
    """

    def __init__(
        self,
        n_components: int = 3,
        fields: Mapping[Any, Family | None] | None = None,
        components: Sequence[Mapping[Any, Family]] | None = None,
        weights: Sequence[float] | None = None,
        step_size: StepSize | None = None,
        batch_size: int = 1,
        warm_up: int | None = None,
        averaging: bool = False,
        seed: int | None = None,
        infer: bool = False,
    ) -> None:
        declared = checked(
            n_components, fields, components, weights, step_size, batch_size, warm_up, averaging, seed, infer
        )
        self.n_components = declared.n_components
        self.fields = fields
        self.components = components
        self.step_size = step_size
        self.batch_size = batch_size
        self.warm_up = warm_up
        self.averaging = averaging
        self.seed = seed
        self.infer = infer
        self._given_weights = weights
        self._learner = Learner(declared, np.random.default_rng(seed))
        self._sync()

    def __repr__(self) -> str:
        given = self._get_params() | self._learner.inferred()[1]
        return f"{type(self).__name__}({shown(given, type(self).__init__.__defaults__ or ())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self._get_params(), self._snapshot())

    @property
    def weights(self) -> FloatArray:
        """The mixing weights, (K,); equal while warming up."""
        running, k = self._learner.running, self._learner.declaration.n_components
        return np.full(k, 1 / k) if running is None else running.published.weights

    @property
    def n_seen(self) -> int:
        """How many records were learnt."""
        return self._n_seen

    @property
    def is_warm(self) -> bool:
        """Whether the warm-up is over."""
        return self._learner.running is not None

    @property
    def parameters(self) -> list[dict[Field, Any]]:
        """For each component, each field's family with its current parameters; empty while warming up."""
        running = self._learner.running
        if running is None:
            return [{} for _ in self.weights]
        schema = running.schema
        found = families_of(schema, running.published, running.published_state, schema.fields)
        return [{field_name(names): own[k] for names, own in found.items()} for k in range(len(self.weights))]

    @property
    def centers(self) -> dict[int, dict[str, Any]]:
        """For each component, the mean of each field, or its most probable level."""
        return {k: center_of(component) for k, component in enumerate(self.parameters)}

    def infer_summary(self) -> dict[str, str]:
        """Return what each field was taken for, where families were inferred, or why it is left out.

        It is empty until the warm-up is over. The model's `repr` has the same as a declaration, and the log of
        "streammix" a line when a field is decided upon.
        """
        return self._learner.inferred()[0]

    def learn_many(self, X: Any, w: ArrayLike | None = None) -> None:
        """Learn the rows of a frame, in order: the same as `learn_one` of each. All are learnt or, on error, none.

        Parameters
        ----------
        X
            A pandas or polars frame, a pyarrow Table or RecordBatch, anything with ``__arrow_c_stream__``, or a NumPy
            array: of records, or of two dimensions where fields are declared, whose order its columns then have.
            Numbers are read where they lie.
        w
            The records' weights, (n,), positive; 1 where left out.

        Raises
        ------
        RecordError
            For the first row that is refused: `row` says which; the model is as before.
        """
        frame = self._frame(X, to_learn=True)
        weights = weights_of(w, frame.num_rows)
        if not frame.num_rows:
            return
        before = self._snapshot() if self._learner.may_refuse(frame) else None
        try:
            self._hand_back()
            learn_frame(self._learner, frame, weights)
        except RecordError:
            if before is not None:
                self._adopt(before)
            raise
        self._sync()

    def ingest(self, X: Any) -> Ingested:
        """Score each record as the model stands before it, then learn it; a bad record is refused, the rest learnt.

        Parameters
        ----------
        X
            A list of dicts, one a record, or a frame as in `learn_many`. How a stream is cut into calls makes no
            difference.

        Returns
        -------
        Ingested
            Responsibilities, log densities, the indices of the records that were learnt, and the refusals.
        """
        return self._ingest(X, None)

    def _ingest(self, X: Any, read: Read | None) -> Ingested:
        self._hand_back()
        try:
            return ingest(self._learner, X if isinstance(X, list | JsonLines) else self._frame(X, True), read)
        finally:
            self._sync()

    def predict_proba_many(self, X: Any) -> Any:
        """Return the responsibilities of each row: a frame of X's kind with a column for each component, (n, K)."""
        return frames.like(X, self._responsibilities(X))

    def predict_many(self, X: Any) -> Any:
        """Return the component with the largest responsibility for each row: a column of X's kind."""
        return frames.column_like(X, self._responsibilities(X).argmax(axis=1), "component")

    def log_density_many(self, X: Any) -> Any:
        """Return log p(x) of each row: a column of X's kind."""
        return frames.column_like(X, self._log_densities(X), "log_density")

    def score_many(self, X: Any) -> Any:
        """Return −log p(x) of each row: a column of X's kind."""
        return frames.column_like(X, 0.0 - self._log_densities(X), "score")

    def impute_one(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """Return a new record in which the gaps of the model's fields are filled by what is expected of them.

        Given what is there, a number is filled by its conditional expectation (a count's need not be whole), a field
        of levels by the most probable level, a yes or no by the more probable answer, an angle by the mean direction.
        What is there stays as it is, fields that the model doesn't know, too; so does a gap where an expectation does
        not exist, and each gap while warming up.

        Raises
        ------
        RecordError
            If the record is refused.

        Examples
        --------
        >>> import streammix as sm
        >>> line = sm.MultivariateNormal([0, 0], [[1, 0.8], [0.8, 1]])
        >>> model = sm.Mixture(components=[{("height", "weight"): line, "adult": sm.Bernoulli(0.7)}])
        >>> model.impute_one({"height": 2.0, "weight": None, "name": "Ada"})
        {'height': 2.0, 'weight': 1.6, 'name': 'Ada', 'adult': True}
        """
        shares, running = self._shares_of(dict(x)), self._learner.running
        return dict(x) if running is None else conditional.impute_record(running, x, shares)

    def impute_many(self, X: Any) -> Any:
        """Return a frame of X's kind with its gaps filled, as by `impute_one` of each row.

        A column that X lacks is added where the kind of frame allows; a column of whole numbers becomes one of floats
        where its gaps are filled by means. While warming up, the gaps stay.

        Raises
        ------
        RecordError
            For the first row that is refused.
        """
        running = self._learner.running
        return X if running is None else conditional.impute_frame(running, X, self._frame(X), self._responsibilities(X))

    def predict_mean_one(self, x: Mapping[str, Any], fields: str | Sequence[str]) -> dict[str, Any]:
        """Return E[y | x] of some fields given the others: a mixture is a regressor, too. Empty while warming up.

        Of a yes or no it is the probability, of an angle the mean direction, of a field of levels a mapping
        level -> probability.

        Parameters
        ----------
        x
            The record. What it says of `fields` is ignored; what else it lacks is integrated out.
        fields
            The name of a field, or several.

        Raises
        ------
        ConfigError
            If the model has no such field.
        RecordError
            If the record is refused.

        Examples
        --------
        >>> import streammix as sm
        >>> line = sm.MultivariateNormal([0, 0], [[1, 0.8], [0.8, 1]])
        >>> model = sm.Mixture(components=[{("height", "weight"): line, "adult": sm.Bernoulli(0.75)}])
        >>> model.predict_mean_one({"height": 2.0, "weight": 9.9}, ["weight", "adult"])
        {'weight': 1.6, 'adult': 0.75}
        """
        running = self._learner.running
        if running is None:
            return {}
        wanted = conditional.checked_fields(running.schema, fields, self._learner.newcomers.awaited)
        known = dict(x) | dict.fromkeys(wanted)
        return conditional.predict_record(running, known, wanted, self._shares_of(known))

    def predict_mean_many(self, X: Any, fields: str | Sequence[str]) -> Any:
        """Return E[y | x] of some fields for each row: a frame of X's kind with a column for each of them.

        A field of levels has a column of probabilities for each level, named "field=level". While warming up, there
        are no columns.

        Raises
        ------
        ConfigError
            If the model has no such field.
        RecordError
            For the first row that is refused.
        """
        frame, running = self._frame(X), self._learner.running
        if running is None:
            return frames.like(X, np.empty((frame.num_rows, 0)))
        wanted = conditional.checked_fields(running.schema, fields, self._learner.newcomers.awaited)
        columns = conditional.predict_frame(running, frame, wanted)
        values = np.column_stack(list(columns.values())) if columns else np.empty((frame.num_rows, 0))
        return frames.like(X, values, list(columns))

    def sample(self, n: int) -> list[dict[str, Any]]:
        """Draw n records from the mixture.

        Raises
        ------
        RecordError
            While warming up.
        ConfigError
            Where a fixed distribution can't be sampled from.
        """
        if not self.is_warm:
            raise RecordError("there is nothing to sample from before the warm-up is over")
        return draw(self.weights, self.parameters, n, self._learner.rng)

    def clone(self, new_params: dict[str, Any] | None = None, include_attributes: bool = False) -> Self:
        """Return a fresh mixture of the same parameters, as river does; with its attributes, one that knows as much."""
        if include_attributes and new_params:
            raise ConfigError("a mixture of other parameters can't take over what this one has learnt")
        return deepcopy(self) if include_attributes else super().clone(new_params)

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"n_components": 3, "warm_up": 50, "seed": 42}

    def _get_params(self) -> dict[str, Any]:
        names = list(super()._get_params())
        return {name: self._given_weights if name == "weights" else getattr(self, name) for name in names}

    def _learn_slow(self, x: Any, w: float) -> None:
        self._hand_back()
        self._learner.learn_record(x, w)
        self._sync()

    def _learn_waiting(self) -> None:
        self._hand_back().settle()
        self._sync()

    def _average(self) -> None:
        self._hand_back().take_average()

    def _learn_timed(self, x: Any, w: float) -> None:
        if learn_at(self._learner, x, w, self._learn_weighed, self._hand_back):
            self._sync()

    def _codes_of(self, unseen: list[tuple[int, Any]]) -> list[int] | None:
        """The codes of new levels, by column; None where the engine was replaced by one with more room."""
        running = self._learner.running
        return None if running is None else running.codes_of(unseen)

    def _hand_back(self) -> Any:
        """Let the learner know what the compiled half has learnt; return what runs."""
        if self._learner.running is not None:
            self._learner.running.n_seen = self._n_seen
        return self._learner.running

    def _sync(self) -> None:
        """Let the compiled half see the learner's state."""
        learner, running = self._learner, self._learner.running
        self._clock = learner.clock
        self._n_seen = learner.n_seen
        if running is None:
            self._bind(None, None, learner.schema.reader if learner.schema is not None else None, 0, None, False)
            return
        is_slow = running.schema.may_refuse or learner.is_gathering
        waiting = None if is_slow else running.waiting
        engine = running.engine if running.waiting is None else None
        every = EVERY if running.average is not None else 0
        self._bind(running.published, engine, running.schema.reader, every, waiting, not is_slow)

    def _frame(self, X: Any, to_learn: bool = False) -> frames.Frame:
        return frame_of(self._learner, X, to_learn)

    def _shares_of(self, x: dict[str, Any]) -> FloatArray:
        return np.array(list(self.predict_proba_one(x).values()))

    def _responsibilities(self, X: Any) -> FloatArray:
        frame, running = self._frame(X), self._learner.running
        if running is None:
            return np.tile(self.weights, (frame.num_rows, 1))
        return running.evaluate(running.schema.encode(frame).table)[0]

    def _log_densities(self, X: Any) -> FloatArray:
        frame, running = self._frame(X), self._learner.running
        if running is None:
            return np.zeros(frame.num_rows)
        return running.log_densities(running.schema.encode(frame).table)

    def _new_learner(self) -> Learner:
        return Learner(self._learner.declaration, np.random.default_rng())

    def _snapshot(self) -> Snapshot:
        """Everything that the model is."""
        return self._learner.snapshot(self._n_seen, self.seed)

    def _adopt(self, snapshot: Snapshot) -> None:
        """Become what a snapshot of a model of the same declaration was."""
        learner = self._new_learner()
        learner.restore(snapshot)
        self._learner = learner
        self._sync()

    @classmethod
    def _restore(cls, snapshot: Snapshot, fixed: Mapping[Any, Any] | None = None) -> Self:
        """The model that a snapshot was taken of; `fixed` gives objects that a file can't hold, by field."""
        model = cls(**from_json(snapshot.declaration, fixed))
        model._adopt(snapshot)
        return model


def _revive(cls: type[Mixture], params: dict[str, Any], snapshot: Snapshot) -> Mixture:
    model = cls(**params)
    model._adopt(snapshot)
    return model
