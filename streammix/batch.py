"""Batch EM through the same core: the reference that the stream's learning is held against."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streammix import em
from streammix.auto.automixture import AutoMixture
from streammix.core.values import as_record
from streammix.errors import ConfigError, RecordError
from streammix.frames import rows_of
from streammix.inference import MOST_RECORDS
from streammix.mixture import Mixture
from streammix.plain import IMPOSSIBLE, LARGEST_WEIGHT

__all__ = ["Trace", "check_iterations", "fit", "settle_fit"]


@dataclass(frozen=True)
class Trace:
    """What batch EM went through.

    Parameters
    ----------
    log_likelihood
        For each iteration, the (weighted) log-likelihood of the records at the parameters that it started from. It
        never falls for an explicit start; a warmed-up model climbs the likelihood times its (weak) prior.
    expected_counts
        (K,): how many records each component is expected to have made, by the last E-step.
    converged
        Whether the log-likelihood's gain fell below the tolerance.
    """

    log_likelihood: list[float]
    expected_counts: NDArray[np.float64]
    converged: bool


def fit(
    model: Mixture, X: Any, max_iter: int = 200, tol: float = 1e-8, w: ArrayLike | None = None, n_threads: int = 1
) -> Trace:
    """Fit a mixture by batch EM, from its current parameters.

    A model that is warming up starts from X's rows, or 4,000 of them, evenly spaced; fields that it does not know by
    then are passed over. Afterwards the model stands where the last M-step put it, and X's records count as its start:
    the stream can go on from there.

    Parameters
    ----------
    model
        The mixture; it is changed.
    X
        A frame as in `Mixture.learn_many`, or a list of dicts.
    max_iter
        Iterations at the most.
    tol
        EM has converged when an iteration gains less than this, in nats a record.
    w
        The records' weights, (n,); an integer weight is that many copies of the record.
    n_threads
        Threads for the E-step; the result does not depend on it.

    Returns
    -------
    Trace
        The log-likelihood of each iteration, the expected counts of the last, and whether it converged.

    Raises
    ------
    RecordError
        If a record is refused; the model is as before.

    Examples
    --------
    >>> import streammix as sm
    >>> coins = [{"heads": sm.Binomial(10, p)} for p in (0.4, 0.5, 0.65)]
    >>> model = sm.Mixture(components=coins, weights=[0.25, 0.5, 0.25])
    >>> trace = sm.batch.fit(model, [{"heads": h} for h in (6, 5, 4, 2)], max_iter=1)
    >>> trace.expected_counts.round(3)
    array([1.295, 2.096, 0.609])

    References
    ----------
    Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete data via the EM
    algorithm. Journal of the Royal Statistical Society B 39(1), 1-38.
    """
    check_iterations(max_iter, tol)
    if isinstance(model, AutoMixture):
        raise ConfigError("batch EM fits a Mixture; an AutoMixture runs it itself, on its reservoir")
    records = X if isinstance(X, list) else model._frame(X)
    if isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ConfigError(f"n_threads must be a whole number, 1 or more, not {n_threads!r}")
    if not len(records):
        raise RecordError("there are no records to fit")
    weights = None if w is None else np.ascontiguousarray(w, dtype=np.float64)
    if weights is not None and (
        weights.shape != (len(records),) or not ((weights > 0) & (weights <= LARGEST_WEIGHT)).all()
    ):
        raise RecordError(f"weights must be {len(records)} positive numbers up to {LARGEST_WEIGHT:g}")
    before = model._snapshot()
    try:
        return _fit(model, records, max_iter, tol, weights, n_threads)
    except RecordError:
        model._adopt(before)
        raise


def check_iterations(max_iter: Any, tol: Any) -> None:
    """Refuse numbers of iterations and tolerances that are none."""
    if isinstance(max_iter, bool) or not isinstance(max_iter, int) or max_iter < 1:
        raise ConfigError(f"max_iter must be a whole number, 1 or more, not {max_iter!r}")
    if not isinstance(tol, (int, float)) or not tol >= 0:
        raise ConfigError(f"tol must be a number, 0 or more, not {tol!r}")


def settle_fit(model: Mixture, n: int) -> None:
    """Let the stream go on from where EM's last M-step put a model; n records count as its start."""
    running = model._learner.running
    assert running is not None
    em.reanchor(running.schema.layout(), running.state)
    if running.waiting is not None:
        running.waiting.n = 0
    if running.average is not None:
        running.average = running.state.copy()
    running.rebind()
    running.n_seen = n
    model._sync()


def _fit(
    model: Mixture, records: Any, max_iter: int, tol: float, weights: NDArray[np.float64] | None, n_threads: int
) -> Trace:
    learner = model._learner
    running = learner.running
    if running is None:
        n = len(records)
        some = np.arange(min(n, MOST_RECORDS)) * n // min(n, MOST_RECORDS)
        is_list = isinstance(records, list)
        first = [records[at] for at in some] if is_list else learner.records_of(rows_of(records, some))
        plain = []
        for at, record in zip(some.tolist(), first, strict=True):
            try:
                plain.append(learner.plain(as_record(record)))
            except RecordError as refusal:
                raise RecordError(f"row {at}: {refusal}", field=refusal.field, row=at) from None
        running = learner.start(plain, [1.0] * len(first) if weights is None else weights[some].tolist())
    learner.look_away()
    try:
        encoded, kept, refused = learner.encode(records)
    finally:
        learner.look_out()
    if refused:
        row, error = refused[0]
        raise RecordError(f"row {row}: {error}", field=error.field, row=row)
    for row, column, key in encoded.unknown:
        encoded.made[column][row] = running.code_of(column, key)
    table = encoded.table
    running.fork_for(table, 0, table.n_rows)
    engine, state = running.engine, running.state
    totals = engine.compounded(table, 0, table.n_rows, weights)[1]
    history: list[float] = []
    converged = False
    counts = np.zeros(model.n_components)
    for _ in range(max_iter):
        acc, log_likelihood, bad = em.collect(engine, table, 0, table.n_rows, weights, n_threads)
        if bad >= 0:
            raise RecordError(f"row {bad}: {IMPOSSIBLE}", row=bad)
        history.append(log_likelihood)
        counts = acc[0, : model.n_components].copy()
        if len(history) > 1 and history[-1] - history[-2] < tol * totals[0]:
            converged = True
            break
        em.iterate(engine, state, acc, totals)
        if len(history).bit_count() == 1:  # at 1, 2, 4, … iterations: components move ever less
            em.reanchor(running.schema.layout(), state)
            engine.maximize()
    settle_fit(model, len(kept))
    return Trace(history, counts, converged)
