"""Kinds of streams of counts, durations, levels, angles, and of all of them with gaps."""

from typing import Any

import numpy as np

import streammix as sm
from benchmarks.quality.streams import FloatArray, Kind, Stream, static

__all__ = ["EXPONENTIAL", "MIXED", "POISSON"]

POISSON = np.array([0.8, 0.1, 0.1]), np.array([1.0, 5.0, 12.0])
"""Weights and rates (Nguyen, Forbes and McLachlan 2020)."""
EXPONENTIAL = np.array([0.2, 0.1, 0.7]), np.array([1.0, 9.0, 15.0])
"""Weights and rates (Nguyen, Forbes and McLachlan 2020)."""

COLOURS = np.array(["red", "green", "blue", "black", "white"])


def _poisson(rng: np.random.Generator, n: int) -> Stream:
    weights, rates = POISSON
    return static(rng, n, lambda labels: {"count": rng.poisson(rates[labels])}, weights)


def _exponential(rng: np.random.Generator, n: int) -> Stream:
    weights, rates = EXPONENTIAL
    return static(rng, n, lambda labels: {"seconds": rng.exponential(1 / rates[labels])}, weights)


def _levels(rng: np.random.Generator, n: int) -> Stream:
    """Four classes by six questions of three answers each, and a yes or no."""
    answers = rng.dirichlet(np.full(3, 0.4), size=(4, 6))
    yes = rng.uniform(0.05, 0.95, size=4)

    def rows(labels: Any) -> dict[str, Any]:
        drawn = (rng.random((len(labels), 6, 1)) > answers[labels].cumsum(axis=2)[:, :, :2]).sum(axis=2)
        columns: dict[str, Any] = {f"question{j}": np.array(["a", "b", "c"])[drawn[:, j]] for j in range(6)}
        return columns | {"yes": rng.random(len(labels)) < yes[labels]}

    return static(rng, n, rows, rng.dirichlet(np.full(4, 10.0)))


def _everything(rng: np.random.Generator, labels: Any, laws: dict[str, FloatArray]) -> dict[str, Any]:
    n = len(labels)
    cut = laws["colours"][labels].cumsum(axis=1)[:, :-1]
    return {
        "amount": np.exp(laws["amounts"][labels] + 0.5 * rng.normal(size=n)),
        "items": rng.poisson(laws["items"][labels]),
        "colour": COLOURS[(rng.random((n, 1)) > cut).sum(axis=1)],
        "hour": rng.vonmises(laws["hours"][labels], 2.0) % (2 * np.pi) * (24 / (2 * np.pi)),
        "wait": rng.gamma(3.0, laws["waits"][labels]),
        "x": laws["places"][labels, 0] + rng.normal(size=n),
        "y": laws["places"][labels, 1] + rng.normal(size=n),
    }


def _laws(rng: np.random.Generator, K: int) -> dict[str, FloatArray]:
    return {
        "amounts": rng.normal(0, 1.0, size=K),
        "items": rng.uniform(0.5, 8.0, size=K),
        "colours": rng.dirichlet(np.full(len(COLOURS), 0.7), size=K),
        "hours": rng.uniform(-np.pi, np.pi, size=K),
        "waits": rng.uniform(0.3, 2.0, size=K),
        "places": rng.normal(0, 1.5, size=(K, 2)),
    }


def _all_types(rng: np.random.Generator, n: int) -> Stream:
    laws = _laws(rng, 4)
    return static(rng, n, lambda labels: _everything(rng, labels, laws), rng.dirichlet(np.full(4, 10.0)))


def _gaps(rng: np.random.Generator, n: int) -> Stream:
    """Three cells in ten are missing; no record is empty."""
    laws = _laws(rng, 4)

    def rows(labels: Any) -> dict[str, Any]:
        columns = _everything(rng, labels, laws)
        missing = rng.random((len(labels), len(columns))) < 0.3
        missing[np.arange(len(labels)), rng.integers(len(columns), size=len(labels))] = False
        gappy = {}
        for j, (name, values) in enumerate(columns.items()):
            gappy[name] = np.array(values, dtype=object)
            gappy[name][missing[:, j]] = None
        return gappy

    return static(rng, n, rows, rng.dirichlet(np.full(4, 10.0)))


FIELDS = {
    "amount": sm.LogNormal(),
    "items": sm.Poisson(),
    "colour": sm.Categorical(),
    "hour": sm.VonMises(period=24),
    "wait": sm.Gamma(),
    ("x", "y"): sm.MultivariateNormal(),
}

MIXED: dict[str, Kind] = {
    "poisson": Kind("three Poissons", 3, _poisson, {"count": sm.Poisson()}, K=3),
    "exponential": Kind("three exponentials", 3, _exponential, {"seconds": sm.Exponential()}),
    "levels": Kind("four classes of answers", 4, _levels, K=4),
    "all_types": Kind("numbers, counts, levels, angles", 4, _all_types, FIELDS, K=4),
    "gaps": Kind("the same, three cells in ten missing", 4, _gaps, FIELDS, K=4),
}
