"""The streams that come with river and scikit-learn, none of which has to be downloaded."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river import datasets as river_datasets
from sklearn import datasets, decomposition

__all__ = ["STREAMS", "Real", "shuffled"]

FloatArray = NDArray[np.float64]


class Real(NamedTuple):
    """Rows in their order, (n, D), the classes of the records, None where there are none, and K."""

    rows: FloatArray
    labels: NDArray[np.int64] | None
    n_components: int


def shuffled(real: Real, seed: int = 0) -> Real:
    """Return the records in another order."""
    order = np.random.default_rng(seed).permutation(len(real.rows))
    return Real(real.rows[order], None if real.labels is None else real.labels[order], real.n_components)


def _of_river(data: Any, limit: int, n_components: int, has_labels: bool = False) -> Real:
    rows, labels = zip(*((list(x.values()), y) for x, y in data.take(limit)), strict=True)
    found = np.unique(labels, return_inverse=True)[1] if has_labels else None
    return Real(np.array(rows, dtype=float), found, n_components)


def _target(data: Any, limit: int, n_components: int) -> Real:
    """The value alone, of a data set whose records have a time and nothing else."""
    return Real(np.array([[float(y)] for _, y in data.take(limit)]), None, n_components)


def _of_sklearn(loaded: Any, limit: int, n_components: int, has_labels: bool = True) -> Real:
    return Real(np.asarray(loaded.data)[:limit], loaded.target[:limit] if has_labels else None, n_components)


def _digits(limit: int) -> Real:
    loaded = datasets.load_digits()
    rows = decomposition.PCA(4, random_state=0).fit_transform(loaded.data)
    return Real(rows[:limit], loaded.target[:limit], 10)


STREAMS: dict[str, Callable[[int], Real]] = {
    "Shuttle": lambda limit: _of_river(river_datasets.Shuttle(), limit, 5, True),
    "Bananas": lambda limit: _of_river(river_datasets.Bananas(), limit, 6, True),  # type: ignore[no-untyped-call]
    "ImageSegments": lambda limit: _of_river(river_datasets.ImageSegments(), limit, 7, True),  # type: ignore[no-untyped-call]
    "Phishing": lambda limit: _of_river(river_datasets.Phishing(), limit, 3, True),  # type: ignore[no-untyped-call]
    "SP500Stocks": lambda limit: _of_river(river_datasets.SP500Stocks(), limit, 3),
    "TrumpApproval": lambda limit: _of_river(river_datasets.TrumpApproval(), limit, 3),  # type: ignore[no-untyped-call]
    "ChickWeights": lambda limit: _of_river(river_datasets.ChickWeights(), limit, 3),  # type: ignore[no-untyped-call]
    "WaterFlow": lambda limit: _target(river_datasets.WaterFlow(), limit, 3),
    "AirlinePassengers": lambda limit: _target(river_datasets.AirlinePassengers(), limit, 2),  # type: ignore[no-untyped-call]
    "digits, 4 components": _digits,
    "breast cancer": lambda limit: _of_sklearn(datasets.load_breast_cancer(), limit, 2),
    "diabetes": lambda limit: _of_sklearn(datasets.load_diabetes(scaled=False), limit, 2, False),
    "wine": lambda limit: _of_sklearn(datasets.load_wine(), limit, 3),
    "iris": lambda limit: _of_sklearn(datasets.load_iris(), limit, 3),
}
