"""Columns of Arrow tables → doubles, by the rules that single records are read by."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.core.values import short
from streammix.errors import RecordError
from streammix.families import Fixed

__all__ = ["LARGEST", "check_shared", "decoded", "doubles", "is_other_number", "log_densities"]

FloatArray = NDArray[np.float64]

LARGEST = 1e70  # numbers beyond it are refused, but for a LogNormal: products of two variances must stay finite


def is_other_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def decoded(source: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a dictionary-encoded column."""
    kind = pa.string() if pa.types.is_string_view(source.type.value_type) else source.type.value_type
    chunks = [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in source.chunks]
    return pa.chunked_array(chunks, kind)


def doubles(source: pa.ChunkedArray) -> FloatArray:
    """Numbers of any Arrow type as doubles, null as NaN; without a copy where they are doubles without nulls."""
    kind = source.type
    if pa.types.is_boolean(kind):
        source = source.cast(pa.uint8())
    elif pa.types.is_decimal(kind):  # Arrow's own cast does not round to the nearest double
        return np.array([math.nan if value is None else float(value) for value in source.to_pylist()])
    chunk = source.chunk(0) if source.num_chunks == 1 else source.combine_chunks()
    if isinstance(chunk, pa.ChunkedArray):
        chunk = chunk.chunk(0) if chunk.num_chunks else pa.array([], pa.float64())
    if chunk.null_count:
        values = chunk.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        values = chunk.to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)


def log_densities(
    names: tuple[str, ...],
    distribution: Fixed,
    sources: Mapping[str, pa.ChunkedArray],
    n: int,
    refusals: list[RecordError],
) -> FloatArray:
    """The column of an object from elsewhere: its log density, NaN where a value is missing."""
    result = np.full(n, np.nan)
    values = np.full((n, len(names)), np.nan)
    for j, name in enumerate(names):
        if name in sources and not pa.types.is_null(sources[name].type):
            source = decoded(sources[name]) if pa.types.is_dictionary(sources[name].type) else sources[name]
            kind = source.type
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or is_other_number(kind)):
                row = next((i for i in range(n) if source[i].is_valid), 0)
                text = f"field {name!r}: expected a finite number, got {short(source[row].as_py())}"
                refusals.append(RecordError(text, field=name, row=row))
                return result
            values[:, j] = doubles(source)
        bad = ~(np.abs(values[:, j]) <= LARGEST) & ~np.isnan(values[:, j])
        if bad.any():
            row = int(np.argmax(bad))
            text = f"field {name!r}: expected a finite number, got {values[row, j]}"
            refusals.append(RecordError(text, field=name, row=row))
            return result
    gaps = np.isnan(values)
    seen = ~gaps.any(axis=1)
    partial = ~seen & ~gaps.all(axis=1)
    if partial.any():
        text = f"fields {names!r}: {distribution!r} needs all of them or none"
        refusals.append(RecordError(text, row=int(np.argmax(partial))))
        return result
    if seen.any():
        wanted = values[seen]
        try:
            result[seen] = distribution.log_density(wanted[:, 0] if len(names) == 1 else wanted)
        except RecordError as error:
            row = int(np.flatnonzero(seen)[error.row or 0])
            refusals.append(RecordError(str(error), field=names[0], row=row))
    return result


def check_shared(
    name: str,
    column: int,
    rules: Sequence[tuple[Any, ...]],
    columns: list[FloatArray],
    refusals: list[RecordError],
    source: pa.ChunkedArray,
    explain: Callable[[int, Any], str],
) -> None:
    """Refuse a value that lies outside the support of every component's family."""
    outside = np.ones(len(columns[column]), dtype=bool)
    for other, rule in enumerate(rules):
        if rule[0] == name:
            outside &= columns[other] == np.inf
    if outside.any():
        row = int(np.argmax(outside))
        refusals.append(RecordError(explain(column, source[row].as_py()), field=name, row=row))
