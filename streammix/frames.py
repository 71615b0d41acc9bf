"""Frames of any kind in, the same kind out."""

import sys
from collections.abc import Container, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.core.values import is_missing, short
from streammix.errors import RecordError

__all__ = [
    "Arrays",
    "Fills",
    "Frame",
    "check_names",
    "column_like",
    "filled",
    "first_seen",
    "like",
    "missing_cells",
    "part",
    "rows_of",
    "to_frame",
]

_PLAIN: list[pa.Schema] = []  # the latest without run-end encoded columns: small tables mostly come alike
SOME = 4_096  # rows that are looked through at a time


class Arrays:
    """Columns of numbers that lie in NumPy arrays, with the parts of a table's face that are in use.

    Parameters
    ----------
    names
        What the columns are called.
    columns
        1-D, any stride.
    n_rows
        How many rows there are.
    """

    def __init__(self, names: Sequence[str], columns: Sequence[NDArray[Any]], n_rows: int) -> None:
        self.column_names = list(names)
        self.columns = list(columns)
        self.num_rows = n_rows

    def __len__(self) -> int:
        return self.num_rows

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a copy of a column as Arrow has it."""
        return pa.chunked_array([np.ascontiguousarray(self.columns[self.column_names.index(name)])])

    def slice(self, offset: int, length: int | None = None) -> "Arrays":
        """Return some of the rows."""
        stop = self.num_rows if length is None else min(self.num_rows, offset + length)
        return Arrays(self.column_names, [column[offset:stop] for column in self.columns], max(stop - offset, 0))

    def select(self, names: Sequence[str]) -> "Arrays":
        """Return some of the columns."""
        return Arrays(names, [self.columns[self.column_names.index(name)] for name in names], self.num_rows)

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows as records."""
        values = [column.tolist() for column in self.columns]
        return [dict(zip(self.column_names, row, strict=True)) for row in zip(*values, strict=True)]


Frame: TypeAlias = pa.Table | Arrays
Fills: TypeAlias = Mapping[str, tuple[NDArray[np.bool_], list[Any]]]


def to_frame(
    X: Any,
    names: Sequence[str] | None = None,
    is_declared: bool = False,
    ignored: Container[str] = (),
    time: str | None = None,
) -> Frame:
    """Return a frame as an Arrow table or as arrays, without a copy where its memory allows.

    Parameters
    ----------
    X
        The frame.
    names
        The fields in use, where they are known; other columns may be of any type.
    is_declared
        Whether the fields are declared in this order: an array without names has them as its columns.
    ignored
        Where names are not known, fields that are not in use all the same.
    time
        A field that is read in any case: when a record was.

    Raises
    ------
    RecordError
        If it is not a frame, or its columns are not named by strings.
    """
    if isinstance(X, pa.Table):
        return _without_runs(X)
    if isinstance(X, pa.RecordBatch):
        return _without_runs(pa.Table.from_batches([X]))
    if isinstance(X, np.ndarray):
        return _from_array(X, names if is_declared else None)
    if _is_pandas(X):
        return _from_pandas(X, names, ignored, time)
    if hasattr(X, "__arrow_c_stream__"):
        try:
            return _without_runs(pa.table(X))
        except (TypeError, pa.ArrowException):
            pass
    raise RecordError(f"expected a frame (pandas, polars, Arrow, NumPy), got {type(X).__name__}")


def _without_runs(table: pa.Table) -> pa.Table:
    """The table with its run-end encoded columns written out."""
    if _PLAIN and table.schema.equals(_PLAIN[0]):
        return table
    plain = table.schema
    for i, field in enumerate(table.schema):
        if pa.types.is_run_end_encoded(field.type):
            from pyarrow import compute  # here, as it takes a while to load

            chunks = [compute.run_end_decode(chunk) for chunk in table.column(i).chunks]
            table = table.set_column(i, field.name, pa.chunked_array(chunks, field.type.value_type))
    if table.schema.equals(plain):
        _PLAIN[:] = [plain]
    return table


def check_names(names: Sequence[str]) -> None:
    """Refuse a frame that names a column twice."""
    if len(set(names)) != len(names):
        raise RecordError(f"the frame names a column twice: {names}")


def first_seen(frame: Frame, names: Sequence[str], constant: Mapping[str, float], begin: int) -> int:
    """Return the first row from `begin` on that has a value in one of some columns; the number of rows: none.

    Numbers that are what they have always been, by `constant`, are passed over.
    """
    n = frame.num_rows
    at = begin
    while names and at < n:
        some = frame.slice(at, SOME)
        found = np.zeros(some.num_rows, dtype=bool)
        for name in names:
            column = some.column(name)
            seen = ~column.is_null(nan_is_null=True).to_numpy()
            if name in constant and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                values = column.cast(pa.float64(), safe=False).fill_null(constant[name]).to_numpy()
                seen &= values != constant[name]
            found |= seen
        if found.any():
            return at + int(found.argmax())
        at += SOME
    return n


def part(frame: Frame, begin: int, end: int) -> Frame:
    """Return some rows: the frame itself where that is all of them."""
    return frame if end - begin == frame.num_rows else frame.slice(begin, end - begin)


def rows_of(frame: Frame, rows: NDArray[np.intp]) -> Frame:
    """Return some rows by their numbers."""
    if isinstance(frame, Arrays):
        return Arrays(frame.column_names, [column[rows] for column in frame.columns], len(rows))
    return frame.take(pa.array(rows))


def like(X: Any, columns: NDArray[Any], names: Sequence[str] | None = None) -> Any:
    """Return a matrix as a frame of X's kind, with its index where it has one; its columns are "0", "1", … or named."""
    if isinstance(X, np.ndarray):
        return columns
    if _is_pandas(X):
        return sys.modules["pandas"].DataFrame(columns, index=X.index, columns=names)
    (n, k), values = columns.shape, pa.array(columns.T.ravel())
    table = pa.Table.from_arrays([values.slice(j * n, n) for j in range(k)], names=names or [str(j) for j in range(k)])
    if _is_polars(X):
        return sys.modules["polars"].from_arrow(table)
    if isinstance(X, pa.RecordBatch):
        return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)
    return table


def column_like(X: Any, values: NDArray[Any], name: str) -> Any:
    """Return a column as X's kind has them: an array, a Series of pandas or polars, else an Arrow array."""
    if isinstance(X, np.ndarray):
        return values
    if _is_pandas(X):
        return sys.modules["pandas"].Series(values, index=X.index, name=name)
    if _is_polars(X):
        return sys.modules["polars"].Series(name, values)
    return pa.array(values)


def missing_cells(frame: Frame, name: str) -> NDArray[np.bool_]:
    """Tell which cells of a column are null or NaN; all, where there is no such column."""
    if name not in frame.column_names:
        return np.ones(frame.num_rows, dtype=bool)
    if isinstance(frame, Arrays):
        column = frame.columns[frame.column_names.index(name)]
        return np.asarray(column != column)
    return np.asarray(frame.column(name).is_null(nan_is_null=True).to_numpy())


def filled(X: Any, names: Sequence[str], fills: Fills) -> Any:
    """Return a copy of X with some cells filled.

    Parameters
    ----------
    X
        The frame.
    names
        The fields, in the order of an array's columns.
    fills
        For some fields, which cells are filled, and a value for each row. A field that X lacks is added, but for
        arrays.

    Raises
    ------
    RecordError
        If a column can't hold a value.
    """
    if isinstance(X, np.ndarray):
        copy = X.copy()
        for name, (mask, values) in fills.items():
            if name in names:
                column = copy[name] if X.dtype.names is not None else copy[:, list(names).index(name)]
                column[mask] = [value for value, chosen in zip(values, mask, strict=True) if chosen]
        return copy
    if _is_pandas(X):
        copy = X.copy()
        for name, (mask, values) in fills.items():
            copy[name] = _filled_series(copy, name, mask, values)
        return copy
    if isinstance(X, pa.RecordBatch):
        table = filled(pa.Table.from_batches([X]), names, fills)
        return table.combine_chunks().to_batches()[0] if table.num_rows else X
    if _is_polars(X):
        return sys.modules["polars"].from_arrow(filled(X.to_arrow(), names, fills))
    table = X if isinstance(X, pa.Table) else pa.table(X)
    for name, (mask, values) in fills.items():
        try:
            column = _filled_column(table, name, mask, values)
        except (pa.ArrowException, TypeError):
            raise RecordError(f"field {name!r}: a column of {table.field(name).type} can't be filled", name) from None
        place = table.column_names.index(name) if name in table.column_names else table.num_columns
        table = table.remove_column(place) if place < table.num_columns else table
        table = table.add_column(place, name, column)
    return table


def _filled_column(table: pa.Table, name: str, mask: NDArray[np.bool_], values: list[Any]) -> Any:
    if name not in table.column_names or pa.types.is_null(table.field(name).type):
        return pa.array(values)
    source = table.column(name)
    kind = source.type.value_type if pa.types.is_dictionary(source.type) else source.type
    has_means = any(isinstance(value, float) for value in values) and not pa.types.is_floating(kind)
    kind = pa.float64() if has_means else pa.large_string() if pa.types.is_string_view(kind) else kind
    fill = pa.array(values).cast(kind, safe=False) if not pa.types.is_string(kind) else pa.array(values, kind)
    from pyarrow import compute

    result = compute.if_else(pa.array(mask), fill, source.cast(kind))
    return result.dictionary_encode() if pa.types.is_dictionary(source.type) else result


def _filled_series(frame: Any, name: str, mask: NDArray[np.bool_], values: list[Any]) -> Any:
    pandas = sys.modules["pandas"]
    if name not in frame.columns:
        return pandas.Series(values, index=frame.index)
    source = frame[name]
    chosen = [value for value, is_chosen in zip(values, mask, strict=True) if is_chosen]
    kind = source.dtype
    if isinstance(kind, pandas.CategoricalDtype):
        source = source.cat.add_categories([level for level in dict.fromkeys(chosen) if level not in kind.categories])
    elif any(isinstance(value, float) for value in chosen) and str(kind).startswith(("Int", "UInt", "object")):
        source = source.astype("Float64" if str(kind) != "object" else "float64")
    result = source.copy()
    result[mask] = chosen
    return result


def _why_no_column(column: Any) -> str:
    """Say what a column of Python's values holds that Arrow can't."""
    values = [value for value in column if not is_missing(value) and not (isinstance(value, float) and value != value)]
    first, *others = values or [None]
    large = next((value for value in values if isinstance(value, int) and abs(value) >= 2**64), None)
    if large is not None:
        return f"expected whole numbers below 2**64 in a column, got {short(large)}"
    other = next((value for value in others if type(value) is not type(first)), first)
    return f"expected a column of values of one type, got {short(other)} beside {short(first)}"


def _is_pandas(X: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def _is_polars(X: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, polars.DataFrame)


def _is_readable(kind: np.dtype[Any]) -> bool:
    """Whether the core reads numbers of a type where they lie."""
    return kind.isnative and (kind.kind in "iub" or kind in (np.float32, np.float64))


def _from_array(X: NDArray[Any], declared: Sequence[str] | None) -> Arrays:
    if X.dtype.names is not None and X.ndim == 1:
        names, columns = list(X.dtype.names), [X[name] for name in X.dtype.names]
    else:
        if X.ndim != 2:
            raise RecordError(f"expected an array of two dimensions, rows and fields, got {X.ndim}")
        if declared is None:
            raise RecordError("an array's columns have no names: declare the model's fields, or give it a frame")
        if X.shape[1] != len(declared):
            raise RecordError(f"expected an array of {len(declared)} columns, one a field, got {X.shape[1]}")
        names, columns = list(declared), list(X.T)
    for name, column in zip(names, columns, strict=True):
        if not _is_readable(column.dtype) or column.ndim != 1:
            raise RecordError(f"field {name!r}: expected an array of numbers, got one of {column.dtype}", field=name)
    return Arrays(names, columns, len(X))


def _from_pandas(X: Any, wanted: Sequence[str] | None, ignored: Container[str], time: str | None) -> Frame:
    labels = list(X.columns)
    places = [
        i
        for i, label in enumerate(labels)
        if label == time or (label not in ignored if wanted is None else label in wanted)
    ]
    for i in places:
        if not isinstance(labels[i], str):
            raise RecordError(f"a field's name must be a string, not {labels[i]!r}")
    names = [labels[i] for i in places]
    kinds = set(X.dtypes)
    if len(kinds) == 1 and isinstance(kind := kinds.pop(), np.dtype) and _is_readable(kind):
        columns = X.to_numpy().T
        return Arrays(names, list(columns) if len(places) == len(labels) else [columns[i] for i in places], len(X))
    check_names(names)
    made = {}
    for i, name in zip(places, names, strict=True):
        try:
            made[name] = pa.array(X.iloc[:, i], from_pandas=True)
        except (pa.ArrowException, OverflowError):
            raise RecordError(f"field {name!r}: {_why_no_column(X.iloc[:, i])}", field=name) from None
    return pa.table(made) if made else pa.table({"": pa.nulls(len(X))}).select([])
