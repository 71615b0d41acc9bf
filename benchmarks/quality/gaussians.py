"""Kinds of streams whose law stands still, of numbers."""

from typing import Any

import numpy as np
from sklearn import datasets

from benchmarks.quality.streams import FloatArray, Gaussians, Kind, Stream, apart, covariances, static

__all__ = ["ELKI", "GAUSSIANS", "three"]

ELKI = Gaussians(
    np.array([0.5, 0.3, 0.2]),
    np.array([[0.3, 0.3], [0.85, 0.35], [0.45, 0.85]]),
    np.array([np.diag([0.09, 0.09]), np.diag([0.05, 0.1]), np.diag([0.035, 0.035])]) ** 2,
)
"""Three unequal Gaussians in the unit square (Nguyen, Forbes and McLachlan 2020)."""


def three(rng: np.random.Generator, K: int = 3, side: float = 8.0) -> Gaussians:
    """Draw some well separated Gaussians in the plane, of unequal weights."""
    return Gaussians(rng.dirichlet(np.full(K, 10.0)), apart(rng, K, 2, side, 3.0), covariances(rng, K, 2))


def _of(rng: np.random.Generator, n: int, mixture: Gaussians) -> Stream:
    return static(rng, n, lambda labels: mixture.rows(rng, labels), mixture.weights)


def _near_singular(rng: np.random.Generator, n: int) -> Stream:
    factors = rng.normal(size=(5, 4, 4)) / 2
    mixture = Gaussians(
        rng.dirichlet(np.full(5, 10.0)),
        rng.normal(size=(5, 4)),
        factors @ factors.transpose(0, 2, 1) + 1e-6 * np.eye(4),
    )
    return _of(rng, n, mixture)


def _moments(loaded: Any) -> Gaussians:
    """The classes of a data set, standardised, as Gaussians."""
    X = (loaded.data - loaded.data.mean(axis=0)) / loaded.data.std(axis=0)
    parts = [X[loaded.target == k] for k in np.unique(loaded.target)]
    return Gaussians(
        np.array([len(part) for part in parts]) / len(X),
        np.array([part.mean(axis=0) for part in parts]),
        np.array([np.cov(part.T) for part in parts]),
    )


def _close(rng: np.random.Generator, n: int) -> Stream:
    means = apart(rng, 10, 2, 8.0, 1.8)
    return _of(rng, n, Gaussians(rng.dirichlet(np.full(10, 10.0)), means, covariances(rng, 10, 2, 0.35, 0.7)))


def _rare(rng: np.random.Generator, n: int) -> Stream:
    return _of(rng, n, Gaussians(np.array([0.9, 0.09, 0.01]), apart(rng, 3, 2, 8.0, 3.0), covariances(rng, 3, 2)))


def _noise(rng: np.random.Generator, n: int) -> Stream:
    mixture = three(rng)

    def rows(labels: Any) -> FloatArray:
        drawn = mixture.rows(rng, labels)
        is_noise = rng.random(len(labels)) < 0.05
        drawn[is_noise] = rng.uniform(-8, 16, size=(is_noise.sum(), 2))
        return drawn

    return static(rng, n, rows, mixture.weights)


def _heavy_tails(rng: np.random.Generator, n: int) -> Stream:
    mixture = three(rng)

    def rows(labels: Any) -> FloatArray:
        return mixture.rows(rng, labels, np.sqrt(3 / rng.chisquare(3, size=len(labels))))

    return static(rng, n, rows, mixture.weights)


def _outliers(rng: np.random.Generator, n: int) -> Stream:
    mixture = three(rng)

    def rows(labels: Any) -> FloatArray:
        return mixture.rows(rng, labels, np.where(rng.random(len(labels)) < 0.002, 300.0, 1.0))

    return static(rng, n, rows, mixture.weights)


GAUSSIANS: dict[str, Kind] = {
    "near_singular": Kind("five overlapping, 4-D, near-singular", 5, _near_singular, K=5),
    "unit_square": Kind("three unequal, in the unit square", 3, lambda rng, n: _of(rng, n, ELKI), K=3),
    "iris": Kind("moments of iris", 3, lambda rng, n: _of(rng, n, _moments(datasets.load_iris())), K=3),
    "wine": Kind("moments of wine, 13-D", 3, lambda rng, n: _of(rng, n, _moments(datasets.load_wine())), K=3),
    "close": Kind("ten close clusters, 2-D", 10, _close, K=10),
    "rare": Kind("weights .9, .09, .01", 3, _rare, K=3),
    "noise": Kind("5 % uniform noise", 3, _noise, K=3, is_contaminated=True),
    "heavy_tails": Kind("tails of Student's t, 3 degrees of freedom", 3, _heavy_tails, is_contaminated=True),
    "outliers": Kind("two in a thousand 300 times as far out", 3, _outliers, K=3, is_contaminated=True),
}
