"""Kinds of streams whose numbers come rounded: they are judged by the law that made them, before it was rounded.

A narrow component on each value that comes again has any density there, and tells nothing of the law. So what is learnt
is rounded, and the held-out records are not: neither a model nor a batch fit gains by spikes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

import streammix as sm
from benchmarks.quality.gaussians import three
from benchmarks.quality.streams import Kind, Stream, apart, static

__all__ = ["ROUNDED"]

FIELDS = {"temperature": sm.Normal(), "price": sm.LogNormal(), "load": sm.Normal()}


def _rounded(stream: Stream, steps: Mapping[str, float]) -> Stream:
    """Return the stream with the fields of `steps` rounded to multiples of theirs where it is learnt."""
    columns = {name: stream.table[name] for name in stream.table.column_names}
    for name, step in steps.items():
        columns[name] = pa.array(np.round(np.asarray(columns[name]) / step) * step)
    return replace(stream, table=pa.table(columns))


def _halves(rng: np.random.Generator, n: int) -> Stream:
    mixture = three(rng)
    drawn = static(rng, n, lambda labels: mixture.rows(rng, labels), mixture.weights)
    return _rounded(drawn, {"x0": 0.5, "x1": 0.5})


def _in_part(rng: np.random.Generator, n: int) -> Stream:
    """Temperatures in whole degrees, prices in cents, and loads as they are."""
    means = apart(rng, 3, 3, 6.0, 2.5)

    def rows(labels: Any) -> dict[str, Any]:
        values = means[labels] + rng.normal(size=(len(labels), 3))
        return {"temperature": 2.0 * values[:, 0], "price": np.exp(0.5 * values[:, 1]), "load": values[:, 2]}

    drawn = static(rng, n, rows, rng.dirichlet(np.full(3, 10.0)))
    return _rounded(drawn, {"temperature": 1.0, "price": 0.01})


def _whole(rng: np.random.Generator, n: int) -> Stream:
    drawn = static(rng, n, lambda labels: {"x": rng.normal(20.3, 2.0, size=len(labels))}, np.ones(1))
    return _rounded(drawn, {"x": 1.0})


ROUNDED: dict[str, Kind] = {
    "halves": Kind("three clusters in the plane, rounded to halves", 3, _halves, K=3),
    "whole": Kind("one Normal, rounded to whole numbers", 1, _whole, {"x": sm.Normal()}, K=1),
    "in_part": Kind("degrees and cents, and a field that isn't rounded", 3, _in_part, FIELDS, K=3),
}
