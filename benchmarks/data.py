"""The data and the models of the benchmarks, all drawn with fixed seeds."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix as sm

__all__ = [
    "MIXED",
    "STILL",
    "Truth",
    "engine_of",
    "iterate",
    "mixed_model",
    "mixed_records",
    "model",
    "names",
    "records",
    "table",
    "truth",
]

FloatArray = NDArray[np.float64]
Record = dict[str, Any]
Shape = Literal["diagonal", "full"]

N_RECORDS = 2_000
STILL = sm.HalfLife(1e12)  # steps so small that the model stays where it is, however long it is measured


class Truth(NamedTuple):
    """A mixture of Normals with equal weights: (K, D) means, (K, D, D) covariances, and (n, D) rows drawn from it."""

    means: FloatArray
    covariances: FloatArray
    rows: FloatArray


def names(D: int) -> list[str]:
    """Return the names of D fields."""
    return [f"x{j}" for j in range(D)]


def truth(D: int, K: int, n: int = N_RECORDS, distance: float = 3.0) -> Truth:
    """Draw a mixture and rows from it.

    Parameters
    ----------
    distance
        Between two components, in standard deviations, typically; at 3 every component responds to every row.
    """
    rng = np.random.default_rng([D, K])
    means = rng.normal(size=(K, D)) * distance / np.sqrt(2 * D)
    factors = np.tril(rng.normal(size=(K, D, D)), -1) * 0.3 / np.sqrt(D) + np.eye(D)
    labels = rng.integers(K, size=n)
    rows = means[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n, D)))
    return Truth(means, factors @ factors.transpose(0, 2, 1), rows)


def records(rows: FloatArray) -> list[Record]:
    """Return rows as dicts of floats that share their keys."""
    keys = names(rows.shape[1])
    return [dict(zip(keys, row, strict=True)) for row in rows.tolist()]


def table(rows: FloatArray) -> pa.Table:
    """Return rows as an Arrow table of float64 columns."""
    return pa.table({name: np.ascontiguousarray(rows[:, j]) for j, name in enumerate(names(rows.shape[1]))})


def model(shape: Shape, drawn: Truth, batch_size: int = 1, step_size: Any = sm.PowerDecay(0.6)) -> sm.Mixture:  # noqa: B008
    """Return a mixture that starts from the truth."""
    D = drawn.means.shape[1]
    keys = names(D)
    components: Sequence[dict[Any, Any]]
    if shape == "full" and D > 1:
        components = [
            {tuple(keys): sm.MultivariateNormal(mean, covariance)}
            for mean, covariance in zip(drawn.means, drawn.covariances, strict=True)
        ]
    else:
        components = [
            {key: sm.Normal(float(mean[j]), float(covariance[j, j])) for j, key in enumerate(keys)}
            for mean, covariance in zip(drawn.means, drawn.covariances, strict=True)
        ]
    return sm.Mixture(components=components, batch_size=batch_size, step_size=step_size)


def iterate(model: sm.Mixture, rows: pa.Table, n: int, n_threads: int = 1) -> None:
    """Make n iterations of batch EM, also where rounding ends one fit early."""
    while n > 0:
        n -= len(sm.batch.fit(model, rows, max_iter=n, tol=0.0, n_threads=n_threads).log_likelihood)


def engine_of(warm: sm.Mixture) -> Any:
    """Return the compiled core that a model has bound."""
    return warm._engine  # type: ignore[attr-defined]  # of the compiled half


MIXED: dict[Any, Any] = {
    **{f"normal{i}": sm.Normal() for i in range(3)},
    **{f"size{i}": sm.LogNormal() for i in range(2)},
    **{f"count{i}": sm.Poisson() for i in range(2)},
    "wait": sm.Gamma(),
    **{f"level{i}": sm.Categorical() for i in range(2)},
}


def mixed_records(K: int, n: int = N_RECORDS, n_levels: int = 50) -> list[Record]:
    """Draw records of ten fields: 3 Normal, 2 LogNormal, 2 Poisson, 1 Gamma and 2 Categorical."""
    rng = np.random.default_rng([10, K, n_levels])
    at = rng.integers(K, size=n)
    shares = rng.dirichlet(np.full(n_levels, 0.5), size=(2, K)).cumsum(axis=2)
    columns: dict[str, list[Any]] = {}
    for i in range(3):
        columns[f"normal{i}"] = rng.normal(rng.normal(size=K)[at]).tolist()
    for i in range(2):
        columns[f"size{i}"] = rng.lognormal(rng.normal(size=K)[at], 0.7).tolist()
    for i in range(2):
        columns[f"count{i}"] = rng.poisson(rng.uniform(1, 9, size=K)[at]).tolist()
    columns["wait"] = rng.gamma(rng.uniform(0.5, 3, size=K)[at], 2.0).tolist()
    for i in range(2):
        codes = (rng.random(size=(n, 1)) > shares[i][at]).sum(axis=1).clip(max=n_levels - 1)
        columns[f"level{i}"] = [f"level {code}" for code in codes.tolist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def mixed_model(K: int, first: Sequence[Record], batch_size: int = 1) -> sm.Mixture:
    """Return a mixture of the ten mixed fields that has warmed up on some records."""
    warm = sm.Mixture(K, fields=MIXED, warm_up=len(first), batch_size=batch_size, seed=1)
    for x in first:
        warm.learn_one(x)
    return warm
