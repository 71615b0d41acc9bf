"""Numbers ↔ columns of Arrow: of any type, of times as angles, and the log densities of objects from elsewhere."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.core.times import ticks_as_angles, time_of
from streammix.core.values import LARGEST, of_magnitude, short
from streammix.errors import RecordError
from streammix.families import Fixed

__all__ = ["angles", "array_of", "decoded", "doubles", "is_number", "log_densities"]

FloatArray = NDArray[np.float64]


def array_of(values: NDArray[Any]) -> pa.Array:
    """Numbers as an Arrow array, in place where they lie together; `pa.array` would load numpy.ma first."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a type's values are numbers: truth values and decimals are."""
    of = pa.types
    return bool(of.is_floating(kind) or of.is_integer(kind) or of.is_boolean(kind) or of.is_decimal(kind))


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


def angles(source: pa.ChunkedArray, of_week: bool) -> FloatArray:
    """Hours of the day, or days of the week, of Arrow's times; those of a zone by its clock."""
    kind = source.type
    if pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC"):  # Arrow's own zones know no summer after 2037
        found = [math.nan if value is None else time_of(value, of_week) for value in source.to_pylist()]
        return np.array(found, dtype=np.float64)
    if pa.types.is_date(kind):
        source, per_second = source.cast(pa.date32()).cast(pa.int32()), 0
    else:
        per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[kind.unit]
    gaps = source.is_null().to_numpy()
    whole = source.cast(pa.int32() if pa.types.is_time32(kind) else source.type if per_second == 0 else pa.int64())
    ticks = whole.cast(pa.int64()).fill_null(0).to_numpy()
    return np.where(gaps, np.nan, ticks_as_angles(ticks, per_second, of_week))


def log_densities(
    names: tuple[str, ...],
    distribution: Fixed,
    sources: Mapping[str, pa.ChunkedArray],
    n: int,
) -> FloatArray:
    """The column of an object from elsewhere: its log density, NaN where a value is missing."""
    result = np.full(n, np.nan)
    values = np.full((n, len(names)), np.nan)
    for j, name in enumerate(names):
        if name in sources and not pa.types.is_null(sources[name].type):
            source = decoded(sources[name]) if pa.types.is_dictionary(sources[name].type) else sources[name]
            if not is_number(source.type):
                row = next((i for i in range(n) if source[i].is_valid), 0)
                text = f"field {name!r}: expected a finite number, got {short(source[row].as_py())}"
                raise RecordError(text, field=name, row=row)
            values[:, j] = doubles(source)
        bad = ~(np.abs(values[:, j]) <= LARGEST) & ~np.isnan(values[:, j])
        if bad.any():
            row = int(np.argmax(bad))
            expected = of_magnitude("a finite number", values[row, j], LARGEST)
            text = f"field {name!r}: expected {expected}, got {short(values[row, j].item())}"
            raise RecordError(text, field=name, row=row)
    gaps = np.isnan(values)
    seen = ~gaps.any(axis=1)
    partial = ~seen & ~gaps.all(axis=1)
    if partial.any():
        text = f"fields {names!r}: {distribution!r} needs all of them or none"
        raise RecordError(text, row=int(np.argmax(partial)))
    if seen.any():
        wanted = values[seen]
        try:
            result[seen] = distribution.log_density(wanted[:, 0] if len(names) == 1 else wanted)
        except RecordError as error:
            row = int(np.flatnonzero(seen)[error.row or 0])
            raise RecordError(str(error), field=names[0], row=row) from None
    return result
