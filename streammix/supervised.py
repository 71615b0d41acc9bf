"""Supervision ↔ Arrow: a document of counters and evidence, and named arrays of numbers of any shape."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.core.engine import aligned
from streammix.state import State, Supervision, padded

__all__ = ["SUPERVISION", "pack_supervision", "unpack_supervision"]

FloatArray = NDArray[np.float64]

SUPERVISION = pa.struct(
    [
        ("document", pa.string()),
        (
            "arrays",
            pa.list_(
                pa.struct([("name", pa.string()), ("shape", pa.list_(pa.int64())), ("values", pa.list_(pa.float64()))])
            ),
        ),
    ]
)


def pack_supervision(kept: Supervision | None) -> pa.Array:
    """Return a supervision as one row of `SUPERVISION`; null where there is none."""
    if kept is None:
        return _nothing()
    arrays = dict(kept.arrays)
    states = {}
    for name, state in kept.states.items():
        states[name] = [state.n_components, state.prior_weight, state.mass_units]
        arrays |= {f"{name}/{i}": array for i, array in enumerate(state.arrays())}
    document = json.dumps({"states": states, "rest": kept.document}, ensure_ascii=True, separators=(",", ":"))
    values = [np.ascontiguousarray(array).ravel() for array in arrays.values()]
    lengths = np.concatenate([[0], np.cumsum([len(one) for one in values])]).astype(np.int32)
    numbers = pa.ListArray.from_arrays(pa.array(lengths), pa.array(np.concatenate([np.empty(0), *values])))
    shapes = pa.array([list(array.shape) for array in arrays.values()], pa.list_(pa.int64()))
    members = pa.StructArray.from_arrays(
        [pa.array(list(arrays), pa.string()), shapes, numbers], fields=list(SUPERVISION.field("arrays").type.value_type)
    )
    lists = pa.ListArray.from_arrays(pa.array([0, len(arrays)], pa.int32()), members)
    return pa.StructArray.from_arrays([pa.array([document]), lists], fields=list(SUPERVISION))


@cache
def _nothing() -> pa.Array:
    return pa.array([None], SUPERVISION)


def unpack_supervision(column: pa.StructArray) -> Supervision | None:
    """Return what `pack_supervision` wrote, bit for bit.

    Raises
    ------
    ValueError
        If arrays and document contradict each other.
    """
    if column.null_count:
        return None
    document = json.loads(column.field("document")[0].as_py())
    members = column.field("arrays").flatten()
    names, shapes = members.field("name").to_pylist(), members.field("shape").to_pylist()
    lists = members.field("values")
    ends, numbers = lists.offsets.to_numpy(), lists.values.to_numpy(zero_copy_only=True)
    arrays: dict[str, FloatArray] = {}
    for i, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if any(size < 0 for size in shape) or math.prod(shape) != ends[i + 1] - ends[i]:
            raise ValueError(f"the array {name!r} is not of its shape")
        arrays[name] = numbers[ends[i] : ends[i + 1]].reshape(shape)
    states = {name: _state(name, about, arrays) for name, about in document["states"].items()}
    taken = {f"{name}/{i}" for name, state in states.items() for i in range(len(state.arrays()))}
    kept = {name: array.copy() for name, array in arrays.items() if name not in taken}
    return Supervision(dict(document["rest"]), states, kept)


def _state(name: str, about: Sequence[Any], arrays: Mapping[str, FloatArray]) -> State:
    n_components, prior_weight, mass_units = about
    n_blocks = len(mass_units)
    found = [arrays[f"{name}/{i}"] for i in range(4 + 2 * n_blocks)]
    masses, counts, clocks, starts = found[:4]
    lanes, n_masses = padded(int(n_components)), len(masses)
    is_sound = (
        1 <= int(n_components) <= lanes
        and masses.shape == counts.shape == (n_masses, lanes)
        and clocks.shape == starts.shape == (n_masses,)
        and all(array.ndim == 3 and array.shape[2] == lanes for array in found[4:])
        and all(0 <= int(mass) < n_masses for units in mass_units for mass in units)
    )
    if not is_sound:
        raise ValueError(f"the state {name!r} is not of one shape")
    own = [_aligned(array) for array in found]
    units = [[int(mass) for mass in blocks] for blocks in mass_units]
    return State(
        int(n_components),
        own[0],
        own[1],
        own[2],
        own[3],
        units,
        own[4 : 4 + n_blocks],
        own[4 + n_blocks :],
        float(prior_weight),
    )


def _aligned(array: FloatArray) -> FloatArray:
    result: FloatArray = aligned(*array.shape)
    result[...] = array
    return result
