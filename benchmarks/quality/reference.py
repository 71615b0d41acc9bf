"""The best of twenty batch fits, kept in files: the same for every learner that is tried."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import streammix as sm
from benchmarks.quality.streams import Kind, Stream

__all__ = ["FITS", "mean_log_density", "reference"]

FITS = 20
RECIPE = 2  # to be counted up where the fits are made in another way: kept ones are then made anew
START = 2_000  # records that a fit's ten starts are tried on
BACKGROUND = 0.05  # the weight that a background starts with


class Box:
    """A uniform density between the least and the greatest record of some tables."""

    def __init__(self, tables: list[pa.Table]) -> None:
        rows = np.vstack([np.column_stack(table.columns) for table in tables])
        self.log_density = -float(np.log(rows.max(axis=0) - rows.min(axis=0)).sum())

    def logpdf(self, x: Any) -> Any:
        """Return the log density of rows, (…, D), all of which lie within."""
        return np.full(np.shape(x)[:-1], self.log_density)


def mean_log_density(model: Any, table: pa.Table) -> float:
    """Return the mean log density of a table's records, in nats."""
    return float(np.asarray(model.log_density_many(table)).mean())


def reference(name: str, kind: Kind, stream: Stream, seed: int, directory: Path) -> list[float]:
    """Return the mean log density of the held-out records after each of twenty batch fits on the recent ones.

    Where the kind is contaminated there are forty more, with a background, half of them started without the outermost
    records.

    Parameters
    ----------
    directory
        Where the fits are kept, and taken from where they were made of the same records.
    """
    digest = hashlib.sha256(repr([_sums(stream.table), _sums(stream.held_out), stream.recent, RECIPE]).encode())
    path = directory / f"{name}-{len(stream.labels)}-{seed}.json"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["records"] == digest.hexdigest():
            return [float(value) for value in kept["log_densities"]]
    found = _fits(kind, stream, seed)
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"records": digest.hexdigest(), "log_densities": found}), encoding="utf-8")
    return found


def _fits(kind: Kind, stream: Stream, seed: int) -> list[float]:
    rng = np.random.default_rng([seed, 20])
    recent = stream.table.slice(len(stream.labels) - stream.recent)
    found = []
    for fit in range(FITS):
        some = recent.take(rng.permutation(stream.recent)[:START])
        models = [_started(kind, some, fit)]
        if kind.is_contaminated:
            background = {tuple(recent.column_names): sm.Fixed(Box([recent, stream.held_out]))}
            for start in (models[0], _started(kind, _inner(some), fit)):
                weights = [*(1 - BACKGROUND) * start.weights, BACKGROUND]
                models.append(sm.Mixture(components=[*start.parameters, background], weights=weights))
        for model in models:
            sm.batch.fit(model, recent, max_iter=500, tol=1e-7)
            found.append(mean_log_density(model, stream.held_out))
    return found


def _started(kind: Kind, some: pa.Table, seed: int) -> sm.Mixture:
    """Return the best of ten starts on some records, by likelihood."""
    model = sm.Mixture(kind.n_components, fields=kind.fields, seed=seed)
    sm.batch.fit(model, some, max_iter=1)
    return model


def _inner(table: pa.Table) -> pa.Table:
    """Return the records that lie within the middle nineteen of twenty by each field."""
    rows = np.column_stack(table.columns)
    low, high = np.quantile(rows, [0.025, 0.975], axis=0)
    return table.filter(pa.array(((rows >= low) & (rows <= high)).all(axis=1)))


def _sums(table: pa.Table) -> list[Any]:
    """Something of every column that changes where its values do."""
    return [(name, hashlib.sha256(repr(table[name].to_pylist()).encode()).hexdigest()) for name in table.column_names]
