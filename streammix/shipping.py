"""Statistics on their way between processes: a partial ↔ one row of Arrow ↔ bytes; a model → bytes that workers read.

A row says which version of the library and which parameters it is from; another version's is refused by name, on
either side.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix
from streammix.checkpoint import from_bytes, to_bytes
from streammix.errors import StreammixError
from streammix.mixture import Mixture
from streammix.statistics import Level, Partial, Refused

__all__ = [
    "FORMAT", "SCHEMA", "check_version", "from_arrow", "outline", "packed", "packed_model", "packed_numbers",
    "take_numbers", "to_arrow", "unpacked", "unpacked_model",
]  # fmt: skip

FloatArray = NDArray[np.float64]

FORMAT = 1
_NUMBERS = pa.list_(pa.float64())
_OWN = pa.struct([("block", pa.int32()), ("unit", pa.int32()), ("n", pa.float64()), ("masses", _NUMBERS)])
_REFUSED = pa.struct([("place", pa.int32()), ("row", pa.int64()), ("reason", pa.string()), ("record", pa.string())])
SCHEMA = pa.schema(
    [
        ("format", pa.int32()),
        ("version", pa.string()),
        ("fingerprint", pa.string()),
        ("place", pa.int32()),
        ("n", pa.int64()),
        ("log_likelihood", pa.float64()),
        ("masses", _NUMBERS),
        ("sums", _NUMBERS),
        ("own", pa.list_(_OWN)),
        ("levels", pa.string()),
        ("n_refused", pa.int64()),
        ("refused", pa.list_(_REFUSED)),
    ]
)


def to_arrow(partial: Partial) -> pa.RecordBatch:
    """Return a partial as one row."""
    own = [
        {"block": block, "unit": unit, "n": n, "masses": masses} for (block, unit), (n, masses) in partial.own.items()
    ]
    levels = {
        name: [[key, *level.first, level.counts.tolist()] for key, level in found.items()]
        for name, found in partial.levels.items()
    }
    row = {
        "format": FORMAT,
        "version": streammix.__version__,
        "fingerprint": partial.fingerprint,
        "place": partial.place,
        "n": partial.n,
        "log_likelihood": partial.log_likelihood,
        "masses": partial.masses,
        "sums": partial.sums.ravel(),
        "own": own,
        "levels": json.dumps(levels),
        "n_refused": partial.n_refused,
        "refused": [
            {"place": refusal.place, "row": refusal.row, "reason": refusal.reason, "record": refusal.record}
            for refusal in partial.refused
        ],
    }
    return pa.record_batch([pa.array([row[field.name]], field.type) for field in SCHEMA], schema=SCHEMA)


def from_arrow(rows: pa.RecordBatch | pa.Table) -> list[Partial]:
    """Return the partials that rows hold.

    Raises
    ------
    StreammixError
        If a row is of another version of the library.
    """
    versions = zip(rows.column("format").to_pylist(), rows.column("version").to_pylist(), strict=True)
    for form, version in versions:
        if form != FORMAT or version != streammix.__version__:
            check_version(version)
            raise StreammixError(f"statistics have format {form}; this version of streammix reads format {FORMAT}")
    columns = {name: rows.column(name) for name in ("masses", "sums")}
    rest = rows.select([field.name for field in SCHEMA if field.name not in columns]).to_pylist()
    return [_partial(row, *(_numbers(columns[name][i]) for name in columns)) for i, row in enumerate(rest)]


def _partial(row: Mapping[str, Any], masses: FloatArray, sums: FloatArray) -> Partial:
    levels = {
        name: {
            tuple(key) if isinstance(key, list) else key: Level((place, at), np.array(counts))
            for key, place, at, counts in found
        }
        for name, found in json.loads(row["levels"]).items()
    }
    return Partial(
        row["fingerprint"],
        row["place"],
        row["n"],
        row["log_likelihood"],
        masses,
        sums.reshape(-1, len(masses)),
        {(own["block"], own["unit"]): (own["n"], np.array(own["masses"])) for own in row["own"]},
        levels,
        row["n_refused"],
        [Refused(refusal["place"], refusal["row"], refusal["reason"], refusal["record"]) for refusal in row["refused"]],
    )


def packed(partials: Sequence[Partial]) -> bytes:
    """Return partials as the bytes of a stream of Arrow."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for partial in partials:
            writer.write_batch(to_arrow(partial))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def unpacked(data: bytes) -> list[Partial]:
    """Return the partials that bytes hold.

    Raises
    ------
    StreammixError
        As `from_arrow`.
    """
    return from_arrow(pa.ipc.open_stream(data).read_all())


def packed_model(model: Mixture) -> tuple[str, bytes]:
    """Return (the library's version, a checkpoint's bytes) of a model, for workers to unpack.

    Raises
    ------
    ConfigError
        If the model has a distribution that bytes can't hold; the error names it.
    """
    schema = model._learner.schema
    blocks = [] if schema is None else [(block.kind, block.names, block.lanes) for block in schema.blocks]
    data = to_bytes(model._snapshot(), weights=model.weights, blocks=blocks)
    Mixture._restore(from_bytes(data).snapshot)
    return streammix.__version__, data


def unpacked_model(version: str, data: bytes) -> Mixture:
    """Return the model that `packed_model` packed, in a process that may have another version of the library.

    Raises
    ------
    StreammixError
        If it has.
    """
    check_version(version)
    return Mixture._restore(from_bytes(data).snapshot)


def outline(model: Mixture) -> object:
    """Return what two models have in common where one can take over the other's numbers, and be the same model."""
    running = model._learner.running
    if running is None:
        return None
    levels = {name: list(codes) for name, codes in running.schema.codes.items()}
    states = [(state.mass_units, [array.shape for array in state.arrays()]) for state in running.states()]
    return deepcopy([running.schema.fields, levels, states, model._learner.newcomers.to_json()])


def packed_numbers(model: Mixture) -> bytes:
    """Return the statistics of a model, past its warm-up, as bytes: all that a step of a mini-batch moves."""
    running = model._learner.running
    assert running is not None
    return b"".join(array.tobytes() for state in running.states() for array in state.arrays())


def take_numbers(model: Mixture, data: bytes) -> None:
    """Take over the statistics of a model of the same outline."""
    running, at = model._learner.running, 0
    assert running is not None
    for state, engine in zip(running.states(), running.engines(), strict=True):
        for array in state.arrays():
            array[...] = np.frombuffer(data, np.float64, array.size, at).reshape(array.shape)
            at += array.nbytes
        engine.maximize()


def check_version(version: str) -> None:
    """Refuse what another version of the library has sent."""
    if version != streammix.__version__:
        raise StreammixError(
            f"statistics are exchanged with streammix {version}, but this process has {streammix.__version__}: "
            "install one version everywhere"
        )


def _numbers(cell: Any) -> FloatArray:
    """A list's numbers, in memory of their own."""
    values: Sequence[float] = cell.values.to_numpy()
    return np.array(values)
