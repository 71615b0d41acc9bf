"""One pass over one stream, judged."""

import collections
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import streammix as sm
from benchmarks.quality.kinds import KINDS
from benchmarks.quality.reference import mean_log_density, reference
from benchmarks.quality.streams import Stream, sorted_start

__all__ = ["LIMIT", "MODELS", "ORDERS", "Run", "drawn", "make", "runs"]

LIMIT = 0.01  # nats a record that a success may lie behind the best batch fit
ORDERS = ("shuffled", "sorted")
MODELS = ("auto", "mixture")


@dataclass(frozen=True)
class Run:
    """What one pass came to.

    Parameters
    ----------
    kind, order, seed, records
        The stream.
    chooses
        Whether the number of components was left to the learner.
    gap
        Nats a record between the best of twenty batch fits and the model after its pass, on held-out records.
    components
        How many components the model ended with; a background does not count.
    warnings
        What the model says that it doesn't know; None where it never says.
    events
        How often each kind of event happened.
    cost
        CPU time of `learn_one`, microseconds a record.
    longest
        CPU time of the longest `learn_one` after the warm-up, milliseconds.
    """

    kind: str
    order: str
    seed: int
    records: int
    chooses: bool
    gap: float
    components: int
    warnings: list[str] | None
    events: dict[str, int]
    cost: float
    longest: float

    @property
    def is_success(self) -> bool:
        """Whether the model lies within the limit."""
        return self.gap <= LIMIT


def drawn(name: str, seed: int, n: int) -> Stream:
    """Draw a stream; every seed draws another law as well, where the kind leaves one open."""
    return KINDS[name].draw(np.random.default_rng([zlib.crc32(name.encode()), seed]), n)


def runs(name: str, seed: int, n: int, model: str, chooses: tuple[bool, ...], directory: Path) -> Iterator[Run]:
    """Learn a stream in both orders, and judge it by one reference."""
    kind = KINDS[name]
    stream = drawn(name, seed, n)
    best = max(reference(name, kind, stream, seed, directory))
    for order in ORDERS:
        ordered = sorted_start(stream) if order == "sorted" else stream
        for chosen in chooses:
            if chosen and kind.K is None:
                continue
            learner = make(model, None if chosen else kind.n_components, kind.fields, seed)
            cost, longest = _learn(learner, ordered)
            gap = best - mean_log_density(learner, stream.held_out)
            said = getattr(learner, "warnings", None)
            yield Run(
                kind=name,
                order=order,
                seed=seed,
                records=n,
                chooses=chosen,
                gap=gap,
                components=len(learner.weights),
                warnings=None if said is None else [str(one) for one in said],
                events=_counts(learner),
                cost=cost,
                longest=longest,
            )


def make(model: str, K: int | None, fields: Any, seed: int) -> Any:
    """Return a learner with default settings; K is None where it chooses."""
    if model == "mixture":
        return sm.Mixture(K or 3, fields=fields, seed=seed)
    return sm.AutoMixture(n_components=K, fields=fields, seed=seed)


def _learn(model: Any, stream: Stream) -> tuple[float, float]:
    """Learn records one by one: (microseconds a record, milliseconds of the longest call after the warm-up)."""
    clock = time.thread_time_ns
    spent, longest = 0, 0
    for record in stream.table.to_pylist():
        was_warm = model.is_warm
        begin = clock()
        model.learn_one(record)
        taken = clock() - begin
        spent += taken
        if was_warm and taken > longest:
            longest = taken
    return spent / len(stream.labels) / 1e3, longest / 1e6


def _counts(model: Any) -> dict[str, int]:
    """How many events there were of each kind."""
    return dict(collections.Counter(event["kind"] for event in getattr(model, "events", ())))
