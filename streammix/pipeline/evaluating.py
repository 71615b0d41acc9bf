"""Scoring records by a model that stands still: many in one call, a bad one costs only itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from streammix.answers import Ingested
from streammix.columns import Encoded
from streammix.core.json_lines import JsonLines
from streammix.errors import RecordError
from streammix.mixture import Mixture

__all__ = ["evaluate", "evaluate_each", "stand_still"]


def stand_still(model: Mixture) -> Mixture:
    """Return the model, which will not learn any more: it need not look out for fields that it doesn't know."""
    if model._learner.running is not None:
        model._learner.look_away()
    return model


def evaluate(model: Mixture, records: list[Any] | JsonLines | pa.RecordBatch) -> Ingested:
    """Score records as the model stands.

    Parameters
    ----------
    model
        From `stand_still`.
    records
        Dicts or lines of JSON, one a record, or a batch.

    Returns
    -------
    Ingested
        Responsibilities, log densities, the indices of the records that were scored, and the refusals.

    Examples
    --------
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"n": sm.Poisson(1)}, {"n": sm.Poisson(20)}])
    >>> done = evaluate(stand_still(model), [{"n": 0, "id": "a"}, {"n": -1}, {"n": 21}])
    >>> done.responsibilities.argmax(axis=1), done.rows, str(done.rejected[0][1])
    (array([0, 1]), array([0, 2]), "field 'n': expected a whole number, 0 or more, got -1")
    """
    running = model._learner.running
    if running is None:
        return _unknown(model, records)
    encoded, kept, refused = _encoded(model, records)
    responsibilities, log_density = running.evaluate(encoded.table)
    return Ingested(responsibilities, log_density, np.array(kept, dtype=np.int64), refused)


def evaluate_each(model: Mixture, records: list[Any] | JsonLines | pa.RecordBatch) -> Ingested:
    """Score records as `evaluate` does, to the last bit as `predict_proba_one` and `log_density_one` would.

    Examples
    --------
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"n": sm.Poisson(1)}, {"n": sm.Poisson(20)}])
    >>> done = evaluate_each(stand_still(model), [{"n": 0}, {"n": 21}])
    >>> done.log_density.tolist() == [model.log_density_one({"n": n}) for n in (0, 21)]
    True
    """
    running = model._learner.running
    if running is None:
        return _unknown(model, records)
    encoded, kept, refused = _encoded(model, records)
    responsibilities, log_density = np.empty((len(kept), len(model.weights))), np.empty(len(kept))
    running.published.expect_rows(encoded.table, responsibilities, log_density)
    responsibilities[np.isnan(responsibilities[:, 0])] = model.weights
    return Ingested(responsibilities, log_density, np.array(kept, dtype=np.int64), refused)


def _encoded(model: Mixture, records: Any) -> tuple[Encoded, Sequence[int], list[tuple[int, RecordError]]]:
    return model._learner.encode(model._frame(records) if isinstance(records, pa.RecordBatch) else records)


def _unknown(model: Mixture, records: Any) -> Ingested:
    """What a model that warms up says of records: nothing, but for those that are none."""
    kept, refused = [], []
    for i in range(len(records)):
        try:
            records[i]
            kept.append(i)
        except RecordError as error:
            refused.append((i, error.with_traceback(None)))
    k = len(model.weights)
    return Ingested(np.full((len(kept), k), 1 / k), np.zeros(len(kept)), np.array(kept, dtype=np.int64), refused)
