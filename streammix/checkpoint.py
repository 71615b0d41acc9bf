"""A model's snapshot ↔ the bytes of a checkpoint: one Arrow IPC file with one row.

The row can be queried as it is: `written_at`, `n_seen`, `weights` (the mixing weights), `components` (a list: mass,
count, and for each field its statistics by name; see `streammix.packing`), `average` (the same of the running average,
where the model keeps one), `levels`, `positions`, `outputs` (JSON). The rest makes a resume exact: `clocks`, `starts`
and `prior_weight`, `pending` (the columns of a mini-batch that isn't full yet), `buffer` (the warm-up's records as
JSON), `new_fields` (JSON: fields left out, values of fields that may join), `random_state`, `supervision` (of a
supervised model; see `streammix.supervised`). All checkpoints have the same columns, so a directory of them is one
table.

The schema's metadata has the format's version, the library's, the model's declaration and its fields as JSON, and a
SHA-256 digest of the whole file, taken with the digest's own digits as zeros. The file format is used, never the
stream format: a cut stream reads without an error.
"""

import hashlib
import json
import re
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

import streammix
from streammix.errors import CheckpointError
from streammix.packing import STATE_FIELDS, BlockLabel, lists_of, pack_state, unpack_state
from streammix.state import Snapshot, State
from streammix.supervised import SUPERVISION, pack_supervision, unpack_supervision

__all__ = ["FORMAT", "MAGIC", "SCHEMA", "NewerFormatError", "Unpacked", "from_bytes", "table_from_bytes", "to_bytes"]

FORMAT = 2
MAGIC = b"ARROW1"
SCHEMA = pa.schema(
    [
        pa.field("written_at", pa.timestamp("us", tz="UTC")),
        pa.field("n_seen", pa.int64()),
        pa.field("weights", pa.list_(pa.float64())),
        *STATE_FIELDS,
        pa.field("average", pa.struct(STATE_FIELDS)),
        pa.field("levels", pa.string()),
        pa.field("pending", pa.list_(pa.list_(pa.float64()))),
        pa.field("pending_weights", pa.list_(pa.float64())),
        pa.field("buffer", pa.list_(pa.string())),
        pa.field("buffer_weights", pa.list_(pa.float64())),
        pa.field("new_fields", pa.string()),
        pa.field("random_state", pa.string()),
        pa.field("supervision", SUPERVISION),  # since format 2
        pa.field("positions", pa.string()),
        pa.field("outputs", pa.string()),
    ]
)

_FIRST_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("supervision"))
_FORMAT_KEY, _DIGEST_KEY = b"streammix.format", b"streammix.sha256"
_ZEROS = "0" * 64
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_HALVES = re.compile("[\ud800-\udfff]")
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class NewerFormatError(CheckpointError):
    """A sound checkpoint of a format that this version of the library does not know."""


class Unpacked(NamedTuple):
    """What a checkpoint holds."""

    snapshot: Snapshot
    positions: dict[str, Any]
    outputs: dict[str, Any]
    written_at: datetime


def to_bytes(
    snapshot: Snapshot,
    positions: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    *,
    weights: ArrayLike,
    blocks: Sequence[BlockLabel] = (),
    written_at: datetime | None = None,
) -> bytes:
    """Return a checkpoint as the bytes of an Arrow file.

    Parameters
    ----------
    snapshot
        What a model is.
    positions, outputs
        Where each source and each sink stands: dicts of what JSON can hold.
    weights
        The mixing weights, for readers.
    blocks
        For readers, what each block of statistics describes: (kind, the fields of each unit, components it serves).
    written_at
        Now, where left out.

    Raises
    ------
    CheckpointError
        If `positions` or `outputs` would not come back from JSON as they are.
    """
    state = pack_state(snapshot.state, blocks)
    columns: dict[str, Any] = {
        "written_at": [written_at or datetime.now(UTC)],
        "n_seen": [snapshot.n_seen],
        "levels": [_json(snapshot.levels)],
        "buffer": [[_json(record) for record in snapshot.buffer]],
        "buffer_weights": [snapshot.buffer_weights],
        "new_fields": [_json(snapshot.new_fields)],
        "random_state": [_json(snapshot.random_state)],
        "positions": [_faithful_json("positions", positions)],
        "outputs": [_faithful_json("outputs", outputs)],
    }
    arrays = {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}
    columns_of_rows = lists_of(snapshot.pending.T.ravel(), (len(snapshot.pending),) * snapshot.pending.shape[1])
    shares = np.asarray(weights, dtype=np.float64)
    arrays["weights"] = lists_of(shares, (len(shares),))
    arrays["pending"] = pa.ListArray.from_arrays([0, len(columns_of_rows)], columns_of_rows)
    arrays["pending_weights"] = lists_of(snapshot.pending_weights, (len(snapshot.pending_weights),))
    arrays |= {field.name: column for field, column in zip(STATE_FIELDS, state, strict=True)}
    arrays["average"] = _average(snapshot.average, blocks)
    arrays["supervision"] = pack_supervision(snapshot.supervision)
    batch = pa.record_batch([arrays[name] for name in SCHEMA.names], schema=SCHEMA)
    about = {
        _FORMAT_KEY: str(FORMAT),
        "streammix.version": streammix.__version__,
        "streammix.declaration": _json(snapshot.declaration),
        "streammix.fields": _json(snapshot.fields),
        "streammix.clock": _json(snapshot.clock),
    }
    place = secrets.token_hex(32)  # stands where the digest will, and nowhere else
    data = _write(batch, {**about, _DIGEST_KEY: place})
    return data.replace(place.encode(), _digest(data, place.encode()))


def from_bytes(data: bytes) -> Unpacked:
    """Return what a checkpoint's bytes hold. Nothing in them is run, or trusted before it is checked.

    Raises
    ------
    CheckpointError
        If the bytes are damaged, cut short, of another kind, or of a newer format.
    """
    metadata, batch = _checked(data)
    try:
        return _unpack(metadata, batch)
    except Exception as error:  # a forged file: its digest is right, its contents are not
        raise CheckpointError(f"it contradicts itself ({_short(error)})") from None


def table_from_bytes(data: bytes) -> pa.Table:
    """Return the row of a checkpoint's bytes.

    Raises
    ------
    CheckpointError
        As `from_bytes`.
    """
    return pa.Table.from_batches([_checked(data)[1]])


def _average(average: State | None, blocks: Sequence[BlockLabel]) -> pa.Array:
    if average is None:
        return pa.nulls(1, pa.struct(STATE_FIELDS))
    return pa.StructArray.from_arrays(pack_state(average, blocks), fields=STATE_FIELDS)


def _write(batch: pa.RecordBatch, metadata: Mapping[Any, str]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema.with_metadata(metadata)) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _checked(data: bytes) -> tuple[dict[bytes, bytes], pa.RecordBatch]:
    """The metadata and the row of bytes that are what was written."""
    if not data:
        raise CheckpointError("it is empty")
    if not data.startswith(MAGIC):
        raise CheckpointError("it is not a checkpoint of streammix")
    try:
        schema = pa.ipc.open_file(pa.py_buffer(data)).schema
        metadata: dict[bytes, bytes] = dict(schema.metadata or {})
    except Exception as error:  # damage surfaces as errors of a dozen types
        raise CheckpointError(f"it is damaged or cut short ({_short(error)})") from None
    if _FORMAT_KEY not in metadata:
        raise CheckpointError("it is an Arrow file, but not a checkpoint of streammix")
    digest = metadata.get(_DIGEST_KEY, b"")
    if len(digest) != 64 or _digest(data, digest) != digest:
        raise CheckpointError("it is damaged: its digest does not fit its contents")
    try:
        version = int(metadata[_FORMAT_KEY])
        if version > FORMAT:
            raise NewerFormatError(
                f"it has format {version}, written by streammix {metadata[b'streammix.version'].decode()}; "
                f"this version reads formats up to {FORMAT}"
            )
        batch = _read_row(data, schema, SCHEMA if version > 1 else _FIRST_SCHEMA)
    except NewerFormatError:
        raise
    except Exception as error:
        raise CheckpointError(f"it contradicts itself ({_short(error)})") from None
    return metadata, batch


def _digest(data: bytes, own: bytes) -> bytes:
    return hashlib.sha256(data.replace(own, _ZEROS.encode())).hexdigest().encode()


def _read_row(data: bytes, schema: pa.Schema, expected: pa.Schema) -> pa.RecordBatch:
    """The only row. Its buffers are parts of `data`; compressed ones would take any amount of memory."""
    if not schema.equals(expected):
        raise ValueError("its columns are not a checkpoint's")
    messages = list(_messages(data))
    if [message.type for message in messages] != ["schema", "record batch"]:
        raise ValueError("it does not hold one batch")
    if _is_compressed(messages[1]):
        raise ValueError("it is compressed")
    batch = pa.ipc.read_record_batch(messages[1], schema)
    batch.validate(full=True)
    if batch.num_rows != 1:
        raise ValueError(f"it holds {batch.num_rows} rows")
    if expected is SCHEMA:
        return batch
    columns = {name: batch.column(name) for name in expected.names} | {"supervision": pack_supervision(None)}
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _messages(data: bytes) -> Iterator[pa.ipc.Message]:
    """The messages between the magic bytes and the footer."""
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data).slice(8))
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Whether a record batch has a table of its compression: Message.header is field 2, RecordBatch.compression 3."""
    flat = bytes(message.metadata)
    root = struct.unpack_from("<I", flat, 0)[0]
    slot = _slot(flat, root, 2)
    return _slot(flat, slot + struct.unpack_from("<I", flat, slot)[0], 3) != 0


def _slot(flat: bytes, table: int, field: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", flat, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", flat, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", flat, vtable + 4 + 2 * field)[0]
    return table + offset if offset else 0


def _unpack(metadata: Mapping[bytes, bytes], batch: pa.RecordBatch) -> Unpacked:
    declaration = json.loads(metadata[b"streammix.declaration"])
    names = [field.name for field in STATE_FIELDS]
    state = unpack_state([batch.column(name) for name in names])
    mean = batch.column("average")
    average = unpack_state([mean.field(name) for name in names]) if mean.null_count == 0 else None
    # what will be made for each component is bounded by what the file spends on each
    n_components = len(_numbers(batch, "weights"))
    if any(n != n_components for n in _sizes(declaration, state, average)):
        raise ValueError("the number of components")
    if n_components == 0 or (state is None and average is not None):
        raise ValueError("no components")
    pending_weights, buffer_weights = _numbers(batch, "pending_weights"), _numbers(batch, "buffer_weights").tolist()
    pending = batch.column("pending").flatten()
    rows = pending.flatten().to_numpy().reshape(len(pending), -1 if len(pending) else 0)
    if (pending.value_lengths().to_numpy() != len(pending_weights)).any():
        raise ValueError("rows without a weight")
    buffer = [json.loads(text) for text in batch.column("buffer").flatten().to_pylist()]
    if len(buffer) != len(buffer_weights) or not all(isinstance(record, dict) for record in buffer):
        raise ValueError("records without a weight")
    snapshot = Snapshot(
        declaration=declaration,
        fields=json.loads(metadata[b"streammix.fields"]),
        levels={
            field: [tuple(key) if isinstance(key, list) else key for key in keys]
            for field, keys in _document(batch, "levels").items()
        },
        n_seen=batch.column("n_seen").to_numpy()[0].item(),
        clock=json.loads(metadata.get(b"streammix.clock", b"null")),
        random_state=_document(batch, "random_state"),
        state=state,
        average=average,
        pending=np.array(rows.T, order="C") if len(pending) else np.empty((len(pending_weights), 0)),
        pending_weights=pending_weights.copy(),
        buffer=buffer,
        buffer_weights=buffer_weights,
        new_fields=_document(batch, "new_fields"),
        supervision=unpack_supervision(batch.column("supervision")),
    )
    written_at: datetime = batch.column("written_at")[0].as_py().replace(tzinfo=UTC)
    return Unpacked(snapshot, _document(batch, "positions"), _document(batch, "outputs"), written_at)


def _sizes(declaration: Mapping[str, Any], *states: Any) -> list[int]:
    declared = declaration["n_components"]
    known = [declared] if isinstance(declared, int) else []  # of a range, any
    return [*known, *(state.n_components for state in states if state is not None)]


def _numbers(batch: pa.RecordBatch, name: str) -> Any:
    return batch.column(name).flatten().to_numpy()


def _document(batch: pa.RecordBatch, name: str) -> dict[str, Any]:
    document = json.loads(batch.column(name)[0].as_py())
    if not isinstance(document, dict):
        raise ValueError(f"{name} is not an object")
    return document


def _json(value: Any) -> str:
    """A value as JSON that people can read; halves of surrogate pairs, which Arrow can't hold, are escaped."""
    text = _ENCODER.encode(value)
    if _SPLIT_PAIR.search(text):  # escaped, they would come back as one character
        raise CheckpointError("a text with both halves of a surrogate pair apart can't be kept in a checkpoint")
    return _HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _faithful_json(what: str, value: Mapping[str, Any] | None) -> str:
    """A dict as JSON, if that gives back what it is: no keys but strings, no tuples."""
    given = {} if value is None else value
    try:
        text = _json(given)
        if isinstance(given, dict) and json.loads(text) == given:
            return text
    except (TypeError, ValueError, RecursionError):
        pass
    raise CheckpointError(f"{what} must be a dict of plain values that come back from JSON as they are, not {given!r}")


def _short(error: Exception) -> str:
    """The first line of what another library says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"
