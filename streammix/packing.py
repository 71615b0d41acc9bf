"""Statistics ↔ Arrow: a state as columns that people can query, and back to the bit.

A component's fields are a list, and a field's statistics a map from names to lists of numbers. So the columns' types
are the same for every model and at every moment: while warming up, with new levels, with fields newly missing.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.arrow import array_of
from streammix.core.engine import INFLATING, aligned, rows_of, width_of
from streammix.errors import CheckpointError
from streammix.state import Snapshot, State, padded

__all__ = [
    "STATE_FIELDS",
    "BlockLabel",
    "check_fields",
    "check_layout",
    "check_rows",
    "lists_of",
    "pack_state",
    "unpack_state",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: A block's kind in the core, the fields of each of its units, and which components it serves (None: all of them).
BlockLabel = tuple[str, Sequence[tuple[str, ...]], Sequence[bool] | None]
Layout = Sequence[tuple[str, list[int], Any, bool, Sequence[bool] | None]]

_NUMBERS = pa.list_(pa.float64())
_FIELD = pa.struct(
    [
        ("field", pa.string()),  # a group's names are joined by ", "
        ("family", pa.string()),  # as the core names it
        ("block", pa.int32()),
        ("in_use", pa.bool_()),  # false: this component has another family for the field
        ("mass_index", pa.int32()),  # 0: the component's own mass; n: number n of its unit_masses, from 1
        ("statistics", pa.map_(pa.string(), _NUMBERS)),
        ("prior", _NUMBERS),
    ]
)
_COMPONENT = pa.struct(
    [
        ("mass", pa.float64()),
        ("count", pa.float64()),
        ("unit_masses", _NUMBERS),
        ("unit_counts", _NUMBERS),
        ("fields", pa.list_(_FIELD)),
    ]
)
STATE_FIELDS = [
    pa.field("components", pa.list_(_COMPONENT)),
    pa.field("clocks", _NUMBERS),
    pa.field("starts", _NUMBERS),
    pa.field("prior_weight", pa.float64()),
]


def pack_state(state: State | None, blocks: Sequence[BlockLabel]) -> list[pa.Array]:
    """Return a state as one row of each of `STATE_FIELDS`; without components where there is none."""
    if state is None:
        return _nothing()
    k = state.n_components
    components = pa.StructArray.from_arrays(
        [
            array_of(state.masses[0, :k]),
            array_of(state.counts[0, :k]),
            lists_of(state.masses[1:, :k].T.ravel(), (len(state.masses) - 1,) * k),
            lists_of(state.counts[1:, :k].T.ravel(), (len(state.counts) - 1,) * k),
            _pack_fields(state, blocks),
        ],
        fields=list(_COMPONENT),
    )
    return [
        pa.ListArray.from_arrays([0, k], components),
        lists_of(state.clocks, (len(state.clocks),)),
        lists_of(state.starts, (len(state.starts),)),
        pa.array([state.prior_weight], pa.float64()),
    ]


def unpack_state(columns: Sequence[pa.Array]) -> State | None:
    """Return the state that `pack_state` wrote, bit for bit; its padding lanes hold what component 0 holds.

    Raises
    ------
    ValueError
        If the components are not of one shape. Whether the shape is the model's is for `check_layout` to say.
    """
    components, clocks, starts, prior_weight = columns
    members = components.flatten()
    k = len(members)
    if not k:
        return None
    masses = np.vstack([_numbers(members.field("mass")), _rows(members.field("unit_masses"), k)])
    counts = np.vstack([_numbers(members.field("count")), _rows(members.field("unit_counts"), k)])
    lists = members.field("fields")
    _same(lists.value_lengths().to_numpy())
    fields = lists.flatten()
    n_units = len(fields) // k
    block = _shared(fields.field("block"), k)
    mass = _shared(fields.field("mass_index"), k)
    if n_units and (block[0] != 0 or not np.isin(np.diff(block), (0, 1)).all()):
        raise ValueError("the blocks are out of order")
    if n_units and not 0 <= mass.min() <= mass.max() < len(masses):
        raise ValueError("a field has a mass that isn't there")
    bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), n_units] if n_units else [0]
    state = State(
        k,
        _lanes(masses, k),
        _lanes(counts, k),
        _vector(clocks, len(masses)),
        _vector(starts, len(masses)),
        [mass[a:b].tolist() for a, b in pairwise(bounds)],
        _arrays(*_map_values(fields.field("statistics"), k), bounds, k),
        _arrays(*_list_values(fields.field("prior"), k), bounds, k),
        float(_numbers(prior_weight)[0]),
    )
    state.masses[:, k:] = 0.0
    return state


def check_fields(fields: Collection[Any], state: State) -> None:
    """Check that a state has a unit for each field, before anything is made for the fields.

    Raises
    ------
    CheckpointError
        If it has not.
    """
    if len(fields) != sum(map(len, state.mass_units)):
        raise CheckpointError("its fields are not those of its statistics")


def check_layout(snapshot: Snapshot, layout: Layout) -> None:
    """Refuse statistics that are not of the shape that the core will read.

    Parameters
    ----------
    snapshot
        What a checkpoint held.
    layout
        The blocks of the model that its declaration, fields and levels make: (kind, columns, size, is fixed, lanes).

    Raises
    ------
    CheckpointError
        If an array is larger or smaller than the layout says, a statistic is no number, or a row that waits
        holds a value that can't be.
    """
    supervision = snapshot.supervision
    members = [] if supervision is None else list(supervision.states.values())
    for state in (snapshot.state, snapshot.average, *members):
        if state is None:
            continue
        if not len(layout) == len(state.statistics) == len(state.priors) == len(state.mass_units):
            raise CheckpointError(
                f"the checkpoint holds {len(state.statistics)} blocks of statistics; the model that it declares has "
                f"{len(layout)}"
            )
        for i, (kind, columns, size, _, _) in enumerate(layout):
            units = len(columns) // width_of(kind, size)
            rows, _, prior_rows, _ = rows_of(kind, size)
            found = state.statistics[i].shape[:2]
            if kind == "categorical":  # there may be room for levels that are yet to come
                rows = max(rows, found[1])
            prior = state.priors[i].shape[:2]
            if found != (units, rows) or prior != (units, max(prior_rows, 1)) or len(state.mass_units[i]) != units:
                raise CheckpointError(
                    f"block {i} ({kind}) of the checkpoint is not of the shape that its model declares"
                )
        _check_numbers(state)
    if len(snapshot.pending) >= snapshot.declaration["batch_size"] > 1:
        raise CheckpointError(f"{len(snapshot.pending)} rows wait in the checkpoint for a mini-batch that has fewer")
    check_rows(snapshot.pending, layout)


def _check_numbers(state: State) -> None:
    """Refuse statistics that no records can have: a right digest doesn't say who has written a file."""
    k = state.n_components
    sizes = (state.masses[:, :k], state.counts[:, :k], state.clocks, state.starts)
    sound = all(np.isfinite(array).all() and (array >= 0.0).all() for array in sizes)
    if not (sound and all(np.isfinite(array[..., :k]).all() for array in (*state.statistics, *state.priors))):
        raise CheckpointError("the checkpoint holds statistics that are no numbers, or masses below zero")


def check_rows(pending: FloatArray, layout: Layout) -> None:
    """Refuse rows (n, columns) that the core can't read: it looks some values up in tables.

    Raises
    ------
    CheckpointError
        If there is one.
    """
    if not len(pending):
        return
    n_columns = max((max(columns) + 1 for _, columns, *_ in layout), default=0)
    if pending.shape[1] != n_columns:
        raise CheckpointError(f"the checkpoint's rows have {pending.shape[1]} columns; its model reads {n_columns}")
    for kind, columns, size, _, _ in layout:
        _check_pairs(kind, size, pending[:, columns])
        bare = kind.removeprefix(INFLATING)
        highest = {"categorical": size - 1 if kind == "categorical" else 0, "binomial": size}.get(
            bare, math.inf if bare in ("poisson", "negative_binomial", "geometric", "multinomial") else None
        )
        if highest is None:
            continue
        values = pending[:, columns]  # the core looks these up in tables; infinity says "of another family"
        if not (np.isnan(values) | np.isposinf(values) | ((values >= 0) & (values <= highest))).all():
            raise CheckpointError(f"a row that waits in the checkpoint holds a value that no {kind} field can have")


def _check_pairs(kind: str, size: int, cells: FloatArray) -> None:
    """Values that come with their logarithms: positive, and there or missing together."""
    half = width_of(kind, size) // 2
    bare = kind.removeprefix(INFLATING)
    if bare not in ("gamma", "beta", "dirichlet"):
        return
    values, logs = np.split(cells.reshape(-1, 2 * half), 2, axis=1)
    if bare != kind:  # a zero's logarithm is infinite
        logs = np.where((values == 0) & (logs == -np.inf), 0.0, logs)
    if (values < 0).any() or (bare == kind and (values == 0).any()) or (np.isfinite(values) != np.isfinite(logs)).any():
        raise CheckpointError(f"a row that waits in the checkpoint holds a value that no {kind} field can have")


@cache
def _nothing() -> list[pa.Array]:
    nothing: list[Any] = [[], [], [], None]
    return [pa.array([value], field.type) for field, value in zip(STATE_FIELDS, nothing, strict=True)]


def _pack_fields(state: State, blocks: Sequence[BlockLabel]) -> pa.ListArray:
    """Return each component's list of fields: every list has the same shape, so one pattern is repeated."""
    k = state.n_components
    shape = tuple(
        (kind, tuple(units), None if lanes is None else tuple(lanes), own.shape[1], prior.shape[1], tuple(masses))
        for (kind, units, lanes), own, prior, masses in zip(
            blocks, state.statistics, state.priors, state.mass_units, strict=True
        )
    )
    offsets, labels, (starts, names, lengths), prior_lengths = _labels(k, shape)
    statistics = lists_of(_by_component(state.statistics, k), lengths)
    columns = [
        *labels,
        pa.MapArray.from_arrays(starts, names, statistics),
        lists_of(_by_component(state.priors, k), prior_lengths),
    ]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, fields=list(_FIELD)))


@lru_cache(2)
def _labels(k: int, shape: tuple[Any, ...]) -> tuple[Any, list[pa.Array], tuple[Any, Any, Any], tuple[int, ...]]:
    """What the fields of checkpoint after checkpoint have in common."""
    labels: list[tuple[str, str, int, int]] = []
    in_use: list[NDArray[np.bool_]] = []
    statistics: list[tuple[str, int]] = []
    n_statistics: list[int] = []
    prior_lengths: list[int] = []
    for i, (kind, units, lanes, rows, prior_rows, masses) in enumerate(shape):
        for names, mass in zip(units, masses, strict=True):
            labels.append((readable(", ".join(names)), kind, i, mass))
            in_use.append(np.ones(k, dtype=bool) if lanes is None else np.asarray(lanes, dtype=bool)[:k])
            own = _named(kind, rows, len(names))
            statistics += own
            n_statistics.append(len(own))
            prior_lengths.append(prior_rows)
    field, family, block, mass_index = zip(*labels, strict=True) if labels else ((), (), (), ())
    return (
        _offsets((len(labels),) * k),
        [
            pa.array(field * k, pa.string()),
            pa.array(family * k, pa.string()),
            pa.array(block * k, pa.int32()),
            pa.array(np.array(in_use, dtype=bool).reshape(-1, k).T.ravel().tolist(), pa.bool_()),
            pa.array(mass_index * k, pa.int32()),
        ],
        (
            _offsets(tuple(n_statistics) * k),
            pa.array([name for name, _ in statistics] * k, pa.string()),
            tuple(length for _, length in statistics) * k,
        ),
        tuple(prior_lengths) * k,
    )


def _named(kind: str, rows: int, width: int) -> list[tuple[str, int]]:
    """Return the names of a unit's statistics and how many rows each has; see core/engine.h."""
    if kind.startswith(INFLATING):
        return [*_named(kind.removeprefix(INFLATING), rows - 2, width), ("kept", 1), ("structural", 1)]
    if kind in ("normal", "lognormal"):
        return [("anchor", 1), ("offset", 1), ("variance", 1)]
    if kind == "mvn":
        return [("anchor", width), ("offset", width), ("pivots", width), ("factor", rows - 3 * width)]
    if kind == "categorical":
        return [("total", 1), ("counts", rows - 1)]
    if kind in ("gamma", "beta", "dirichlet", "negative_binomial"):
        return [("mean", rows // 2), ("gap", rows // 2)]
    if kind == "inverse_gaussian":
        return [("mean", 1), ("spread", 1)]
    if kind == "vonmises":
        return [("anchor", 2), ("spread", 1), ("across", 1)]
    if kind == "student":
        return [("anchor", 1), ("offset", 1), ("square", 1), ("weight", 1), ("excess", 1)]
    if kind == "uniform":
        return [("width", 1)]
    return [("mean", rows)] if rows else []


def readable(text: str) -> str:
    """Return a text that Arrow can hold: halves of surrogate pairs are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _by_component(arrays: Sequence[FloatArray], k: int) -> FloatArray:
    """All rows of all units of all blocks, one component after the other."""
    rows = [array[..., :k].reshape(-1, k) for array in arrays]
    values: FloatArray = np.concatenate(rows).T.ravel() if rows else np.empty(0)
    return values


def _arrays(values: FloatArray, widths: IntArray, bounds: Sequence[int], k: int) -> list[FloatArray]:
    """The blocks' arrays (units, rows, lanes) of values that lie one component after the other."""
    rows = values.reshape(k, -1).T
    arrays, at = [], 0
    for begin, end in pairwise(bounds):
        _same(widths[begin:end])
        units, width = end - begin, int(widths[begin])
        stop = at + units * width
        arrays.append(_lanes(rows[at:stop].reshape(units, width, k), k))
        at = stop
    return arrays


def _lanes(values: FloatArray, k: int) -> FloatArray:
    result: FloatArray = aligned(*values.shape[:-1], padded(k))
    result[..., :k] = values
    result[..., k:] = values[..., :1]
    return result


def _vector(lists: pa.ListArray, length: int) -> FloatArray:
    values = _numbers(lists.flatten())
    if len(values) != length:
        raise ValueError("the clocks are not those of the masses")
    result: FloatArray = aligned(length)
    result[:] = values
    return result


@lru_cache(16)
def _offsets(lengths: tuple[int, ...]) -> pa.Array:
    return array_of(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32))


def lists_of(values: FloatArray, lengths: tuple[int, ...]) -> pa.ListArray:
    """Return numbers as lists of so many each."""
    return pa.ListArray.from_arrays(_offsets(lengths), array_of(values))


def _numbers(array: pa.Array) -> Any:
    """The numbers of an array without nulls, in place."""
    return array.to_numpy(zero_copy_only=True)


def _rows(lists: pa.ListArray, k: int) -> FloatArray:
    """k lists of one length as the columns of a matrix."""
    _same(lists.value_lengths().to_numpy())
    rows: FloatArray = _numbers(lists.flatten()).reshape(k, -1).T
    return rows


def _shared(array: pa.Array, k: int) -> IntArray:
    """What every component says alike."""
    values: IntArray = _numbers(array).astype(np.int64).reshape(k, -1)
    if (values != values[0]).any():
        raise ValueError("the components are not of one shape")
    first: IntArray = values[0]
    return first


def _list_values(lists: pa.ListArray, k: int) -> tuple[FloatArray, IntArray]:
    """Values of lists, and the length of each of a component's lists."""
    return _numbers(lists.flatten()), _shared(lists.value_lengths(), k)


def _map_values(maps: pa.MapArray, k: int) -> tuple[FloatArray, IntArray]:
    """Values of maps of lists, and how many each of a component's maps has."""
    lengths = np.concatenate([[0], np.cumsum(maps.items.value_lengths().to_numpy())])
    ends = _numbers(maps.offsets)
    if ends[0] != 0 or ends[-1] != len(maps.items):
        raise ValueError("statistics without a field")
    return _numbers(maps.items.flatten()), _shared(pa.array(np.diff(lengths[ends])), k)


def _same(lengths: Iterable[int]) -> None:
    if len(set(lengths)) > 1:
        raise ValueError("the components are not of one shape")
