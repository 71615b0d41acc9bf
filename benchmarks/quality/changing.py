"""Kinds of streams whose law changes, or whose records come in runs."""

from dataclasses import replace

import numpy as np

from benchmarks.quality.gaussians import three
from benchmarks.quality.streams import HELD_OUT, Gaussians, Kind, Stream, apart, covariances, table_of

__all__ = ["CHANGING"]


def _then(rng: np.random.Generator, n: int, before: Gaussians, after: Gaussians, share: float) -> Stream:
    """Return a stream of one mixture, of which the last records, a share, come from another."""
    recent = round(share * n)
    first, last = before.labels(rng, n - recent), after.labels(rng, recent + HELD_OUT)
    table = table_of(np.vstack([before.rows(rng, first), after.rows(rng, last)]))
    labels = np.concatenate([first, last])[:n]
    return Stream(table.slice(0, n), labels, table.slice(n), recent)


def _abrupt(rng: np.random.Generator, n: int) -> Stream:
    return _then(rng, n, three(rng), three(rng), 0.5)


def _slow(rng: np.random.Generator, n: int) -> Stream:
    """Each mean moves two standard deviations in a straight line; the last tenth counts as where it ends."""
    mixture = three(rng)
    moves = rng.normal(size=mixture.means.shape)
    moves *= 1.4 / np.linalg.norm(moves, axis=1, keepdims=True)
    labels = mixture.labels(rng, n + HELD_OUT)
    way = np.minimum(np.arange(n + HELD_OUT) / n, 1.0)
    table = table_of(mixture.rows(rng, labels) + way[:, None] * moves[labels])
    return Stream(table.slice(0, n), labels[:n], table.slice(n), n // 10)


def _with_and_without(rng: np.random.Generator) -> tuple[Gaussians, Gaussians]:
    """Return four Gaussians and the same without the last of them, which has a fifth of the weight."""
    means, spreads = apart(rng, 4, 2, 9.0, 3.0), covariances(rng, 4, 2)
    weights = np.append(0.8 * rng.dirichlet(np.full(3, 10.0)), 0.2)
    whole = Gaussians(weights, means, spreads)
    return whole, replace(whole, weights=np.append(weights[:3] / 0.8, 0.0))


def _appears(rng: np.random.Generator, n: int) -> Stream:
    whole, less = _with_and_without(rng)
    return _then(rng, n, less, whole, 0.5)


def _vanishes(rng: np.random.Generator, n: int) -> Stream:
    whole, less = _with_and_without(rng)
    return _then(rng, n, whole, less, 0.5)


def _recurs(rng: np.random.Generator, n: int) -> Stream:
    """Two laws take turns, a quarter of the stream each."""
    one, other = three(rng), three(rng)
    first = _then(rng, n // 2, one, other, 0.5)
    last = _then(rng, n - n // 2, one, other, 0.5)
    both = table_of(np.vstack([np.column_stack(part.table.columns) for part in (first, last)]))
    return Stream(both, np.concatenate([first.labels, last.labels]), last.held_out, last.recent)


def _dwells(rng: np.random.Generator, n: int) -> Stream:
    """A Markov chain that stays about 300 records with a component, then goes to any of the three."""
    mixture = replace(three(rng), weights=np.full(3, 1 / 3))
    starts = np.flatnonzero(np.append(True, rng.random(n - 1) < 1 / 200))
    chosen = np.repeat(rng.integers(3, size=len(starts)), np.diff(np.append(starts, n)))
    labels = np.concatenate([chosen, mixture.labels(rng, HELD_OUT)])
    table = table_of(mixture.rows(rng, labels))
    return Stream(table.slice(0, n), labels[:n], table.slice(n), n)


CHANGING: dict[str, Kind] = {
    "abrupt": Kind("all change at once, half-way", 3, _abrupt, K=3),
    "slow": Kind("means move two standard deviations in all", 3, _slow, K=3),
    "recurs": Kind("two laws take turns", 3, _recurs, K=3),
    "appears": Kind("a fourth appears half-way", 4, _appears, K=4),
    "vanishes": Kind("one of four vanishes half-way", 4, _vanishes, K=3),
    "dwells": Kind("Markov dwell of 300 records", 3, _dwells, K=3),
}
