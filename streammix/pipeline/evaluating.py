"""Scoring records by a model that stands still: many in one call, a bad one costs only itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from streammix.answers import Ingested, Told
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
        What is said of the records that were scored, their indices, and the refusals.

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
    return _ingested(running.tell(encoded.table), kept, refused)


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
    return _ingested(running.tell_each(encoded.table), kept, refused)


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
    return _ingested(Told.nothing(len(kept), len(model.weights), model._learner.has_labels), kept, refused)


def _ingested(told: Told, kept: Sequence[int], refused: list[tuple[int, RecordError]]) -> Ingested:
    return Ingested.of(told, np.array(kept, dtype=np.int64), refused)
