"""Frames of any kind in, the same kind out."""

import sys
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.errors import RecordError

__all__ = ["column_like", "like", "to_arrow"]


def to_arrow(X: Any, names: set[str] | None = None) -> pa.Table:
    """Return a frame as an Arrow table, without a copy where its memory allows; only the columns of these names.

    Raises
    ------
    RecordError
        If it is not a frame, or its columns are not named by strings.
    """
    if isinstance(X, pa.Table):
        table = X
    elif isinstance(X, pa.RecordBatch):
        table = pa.Table.from_batches([X])
    elif _is_pandas(X):
        table = _from_pandas(X, names)
    elif hasattr(X, "__arrow_c_stream__"):
        try:
            table = pa.table(X)
        except (TypeError, pa.ArrowException):
            raise RecordError(f"expected a frame (pandas, polars, Arrow), got {type(X).__name__}") from None
    else:
        raise RecordError(f"expected a frame (pandas, polars, Arrow), got {type(X).__name__}")
    if len(set(table.column_names)) != table.num_columns:
        raise RecordError(f"the frame names a column twice: {table.column_names}")
    return table if names is None else table.select([name for name in table.column_names if name in names])


def like(X: Any, columns: dict[str, NDArray[Any]]) -> Any:
    """Return columns as a frame of X's kind, with its index where it has one."""
    if _is_pandas(X):
        pandas = sys.modules["pandas"]
        return pandas.DataFrame({int(name): values for name, values in columns.items()}, index=X.index)
    table = pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()})
    if _is_polars(X):
        return sys.modules["polars"].from_arrow(table)
    if isinstance(X, pa.RecordBatch):
        return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)
    return table


def column_like(X: Any, values: NDArray[Any], name: str) -> Any:
    """Return a column as X's kind has them: a Series of pandas or polars, else an Arrow array."""
    if _is_pandas(X):
        return sys.modules["pandas"].Series(values, index=X.index, name=name)
    if _is_polars(X):
        return sys.modules["polars"].Series(name, values)
    return pa.array(values)


def _is_pandas(X: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def _is_polars(X: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, polars.DataFrame)


def _from_pandas(X: Any, names: set[str] | None) -> pa.Table:
    columns = {}
    for i, name in enumerate(X.columns):
        if names is not None and name not in names:
            continue
        if not isinstance(name, str):
            raise RecordError(f"a field's name must be a string, not {name!r}")
        if name in columns:
            raise RecordError(f"the frame names a column twice: {name!r}")
        try:
            columns[name] = pa.array(X.iloc[:, i], from_pandas=True)
        except (pa.ArrowException, OverflowError):
            raise RecordError(f"field {name!r}: a column of values of different types", field=name) from None
    return pa.table(columns) if columns else pa.table({"": pa.nulls(len(X))}).select([])
