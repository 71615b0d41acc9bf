"""Checkpoints as bytes: to the bit and back, and nothing but what was written is taken."""

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streammix as sm
from streammix import checkpoint, packing, store
from streammix.checkpoint import SCHEMA, NewerFormatError, Unpacked, from_bytes, table_from_bytes, to_bytes
from streammix.core.engine import KINDS, aligned, rows_of
from streammix.state import Snapshot, State, padded

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
GOLDEN = Path(__file__).parent / "golden"
Block = tuple[str, int, list[tuple[str, ...]]]  # kind, size, the fields of each unit


# --- snapshots made by hand ---


def any_doubles(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Any bits at all: NaNs with payloads, negative zeros, infinities, denormal numbers."""
    odd = np.array([0x8000000000000000, 0x7FF8000000001234, 0xFFF0000000000000, 0x7FF0000000000001, 1], np.uint64)
    bits = rng.integers(0, 2**64, shape, dtype=np.uint64)
    return np.where(rng.random(shape) < 0.3, rng.choice(odd, shape), bits).view(np.float64)


def lanes(values: np.ndarray, padding: np.ndarray | float) -> np.ndarray:
    result = aligned(*values.shape[:-1], padded(values.shape[-1]))
    result[..., : values.shape[-1]] = values
    result[..., values.shape[-1] :] = padding
    return result


def make_state(rng: np.random.Generator, k: int, blocks: list[Block], n_masses: int, spare: int) -> State:
    def filled(*shape: int) -> np.ndarray:
        values = any_doubles(rng, *shape, k)
        return lanes(values, values[..., :1])

    def vector(n: int) -> np.ndarray:
        result = aligned(n)
        result[:] = any_doubles(rng, n)
        return result

    statistics, priors = [], []
    for kind, size, units in blocks:
        rows, _, prior_rows, _ = rows_of(kind, size)
        statistics.append(filled(len(units), rows + (spare if kind == "categorical" else 0)))
        priors.append(filled(len(units), max(prior_rows, 1)))
    return State(
        k,
        lanes(any_doubles(rng, n_masses, k), 0.0),
        filled(n_masses),
        vector(n_masses),
        vector(n_masses),
        [rng.integers(0, n_masses, len(units)).tolist() for _, _, units in blocks],
        statistics,
        priors,
        float(any_doubles(rng, 1)[0]),
    )


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["\ud800", "a\udfffb", '"', "\\ud800", "\x00"]
)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
plain = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
levels = texts | st.sampled_from([("int", 3), ("int", -(2**70)), ("bool", True), ("null", None), ("other", None)])


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[Snapshot, list[Any]]:
    """A snapshot of any shape, and the labels of its blocks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k = draw(st.integers(1, 17))
    blocks: list[Block] = []
    for i, kind in enumerate(draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=4))):
        size = draw(st.integers(1, 4))
        n_units = 1 if kind in ("mvn", "categorical", "external") else draw(st.integers(1, 3))
        width = size if kind == "mvn" else 1
        names = [tuple(f"{draw(texts)}{i}.{u}.{j}" for j in range(width)) for u in range(n_units)]
        blocks.append((kind, size, names))
    is_warm, averages = draw(st.booleans()), draw(st.booleans())
    n_masses, spare = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    n_pending, n_buffered = (draw(st.integers(0, 4)), 0) if is_warm else (0, draw(st.integers(0, 4)))
    state = make_state(rng, k, blocks, n_masses, spare) if is_warm else None
    average = make_state(rng, k, blocks, n_masses, spare) if is_warm and averages else None
    snapshot = Snapshot(
        declaration={"n_components": k, "anything": draw(plain)},
        fields=[[list(names), {"family": kind}] for kind, _, units in blocks for names in units] if is_warm else None,
        levels=draw(st.dictionaries(texts, st.lists(levels, max_size=4), max_size=2)),
        n_seen=draw(st.integers(0, 2**62)),
        random_state=np.random.default_rng(draw(st.integers(0, 9))).bit_generator.state,
        state=state,
        average=average,
        pending=any_doubles(rng, n_pending, draw(st.integers(0, 3))),
        pending_weights=any_doubles(rng, n_pending),
        buffer=[draw(st.dictionaries(texts, values, max_size=3)) for _ in range(n_buffered)],
        buffer_weights=any_doubles(rng, n_buffered).tolist(),
    )
    in_use = draw(st.none() | st.lists(st.booleans(), min_size=k, max_size=k))
    return snapshot, [(kind, names, in_use) for kind, _, names in blocks]


def assert_same(a: Snapshot, b: Snapshot) -> None:
    for one, other in ((a.state, b.state), (a.average, b.average)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.n_components == other.n_components
            assert one.mass_units == other.mass_units
            assert struct.pack("d", one.prior_weight) == struct.pack("d", other.prior_weight)
            for mine, theirs in zip(one.arrays(), other.arrays(), strict=True):
                assert mine.shape == theirs.shape
                assert mine.tobytes() == theirs.tobytes()
                assert theirs.size == 0 or theirs.ctypes.data % 64 == 0
    for name in ("declaration", "fields", "levels", "n_seen", "random_state", "buffer"):
        assert repr(getattr(a, name)) == repr(getattr(b, name)), name
    for name in ("pending", "pending_weights", "buffer_weights"):
        mine, theirs = np.array(getattr(a, name)), np.array(getattr(b, name))
        assert mine.shape == theirs.shape, name
        assert mine.tobytes() == theirs.tobytes(), name


@EXAMPLES
@given(snapshots(), st.dictionaries(texts, plain, max_size=3), st.dictionaries(texts, plain, max_size=3))
def test_round_trip_to_the_bit(made: tuple[Snapshot, Any], positions: Any, outputs: Any) -> None:
    snapshot, blocks = made
    weights = np.full(snapshot.declaration["n_components"], 0.5)
    again = from_bytes(to_bytes(snapshot, positions, outputs, weights=weights, blocks=blocks))
    assert_same(snapshot, again.snapshot)
    assert repr(again.positions) == repr(positions)
    assert repr(again.outputs) == repr(outputs)
    assert again.written_at.tzinfo == UTC


def example(**changes: Any) -> Snapshot:
    """A small snapshot of every kind of content."""
    blocks: list[Block] = [("normal", 1, [("amount",), ("größe",)]), ("mvn", 2, [("lat", "lon")])]
    blocks.append(("categorical", 2, [("country",)]))
    rng = np.random.default_rng(1)
    values: dict[str, Any] = {
        "declaration": {"n_components": 2, "batch_size": 8},
        "fields": [[["amount"], {"family": "Normal"}]],
        "levels": {"country": ["de", ("int", 3)]},
        "n_seen": 10,
        "random_state": np.random.default_rng(3).bit_generator.state,
        "state": make_state(rng, 2, blocks, 2, 1),
        "average": None,
        "pending": rng.random((2, 5)),
        "pending_weights": np.ones(2),
    }
    return Snapshot(**(values | changes))


LABELS: list[Any] = [
    ("normal", [("amount",), ("größe",)], None),
    ("mvn", [("lat", "lon")], None),
    ("categorical", [("country",)], (True, False)),
]


def packed(snapshot: Snapshot | None = None, **more: Any) -> bytes:
    snapshot = snapshot or example()
    blocks = LABELS if snapshot.state is not None else []
    return to_bytes(snapshot, **{"weights": [0.25, 0.75], "blocks": blocks, "written_at": datetime.now(UTC), **more})


def test_what_a_reader_sees() -> None:
    snapshot = example()
    assert snapshot.state is not None
    [row] = table_from_bytes(packed(snapshot, positions={"file": 7})).to_pylist()
    assert row["n_seen"] == 10
    assert row["weights"] == [0.25, 0.75]
    assert json.loads(row["positions"]) == {"file": 7}
    assert json.loads(row["levels"]) == {"country": ["de", ["int", 3]]}
    for k, component in enumerate(row["components"]):
        fields = component["fields"]
        assert [field["field"] for field in fields] == ["amount", "größe", "lat, lon", "country"]
        assert [field["family"] for field in fields] == ["normal", "normal", "mvn", "categorical"]
        assert [field["in_use"] for field in fields] == [True, True, True, k == 0]
        names = [{name: len(numbers) for name, numbers in field["statistics"]} for field in fields]
        assert names[1] == {"anchor": 1, "offset": 1, "variance": 1}
        assert names[2] == {"anchor": 2, "offset": 2, "pivots": 2, "factor": 1}
        assert names[3] == {"total": 1, "counts": 3}
        offset = dict(fields[1]["statistics"])["offset"]
        assert np.array(offset).tobytes() == snapshot.state.statistics[0][1, 1, k : k + 1].tobytes()
    assert row["average"] is None


def test_columns_are_the_same_for_every_model_and_moment() -> None:
    warming_up = example(state=None, fields=None, pending=np.empty((0, 0)), pending_weights=np.empty(0))
    tables = [table_from_bytes(packed(snapshot)) for snapshot in (example(), warming_up)]
    tables.append(table_from_bytes(packed(example(average=example().state))))
    assert all(table.schema.equals(SCHEMA) for table in tables)
    assert pa.concat_tables(tables).num_rows == 3


def test_every_kind_of_the_core_has_names_for_its_statistics() -> None:
    for kind in KINDS:
        for size in (1, 3):
            rows = rows_of(kind, size)[0]
            named = packing._named(kind, rows, size)
            assert sum(length for _, length in named) == rows
            assert len(named) == len({name for name, _ in named})


@pytest.mark.parametrize(
    "positions", [{1: 2}, {"a": (1, 2)}, {"a": {1, 2}}, {"a": b"x"}, {"a": float("nan")}, [1], "x"]
)
def test_positions_that_json_would_change_are_refused(positions: Any) -> None:
    with pytest.raises(sm.CheckpointError, match="positions must be a dict of plain values"):
        packed(positions=positions)


def test_a_text_that_json_would_change_is_refused() -> None:
    with pytest.raises(sm.CheckpointError, match="surrogate"):
        packed(positions={"a": "\ud83d\ude00"})


# --- what is not a checkpoint, or not whole ---


def test_every_truncation_is_refused() -> None:
    data = packed()
    for length in range(len(data)):
        with pytest.raises(sm.CheckpointError):
            from_bytes(data[:length])


def test_every_flipped_byte_is_refused() -> None:
    data = packed()
    masks = np.random.default_rng(0).integers(1, 256, len(data)).tolist()
    for i, mask in enumerate(masks):
        flipped = bytearray(data)
        flipped[i] ^= mask
        with pytest.raises(sm.CheckpointError):
            from_bytes(bytes(flipped))


def test_more_bytes_behind_are_refused() -> None:
    for more in (b"\0", b"x" * 100, packed()):
        with pytest.raises(sm.CheckpointError):
            from_bytes(packed() + more)


def arrow_file(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def parquet_file() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    return bytes(sink.getvalue())


def stream_file() -> bytes:
    sink = pa.BufferOutputStream()
    table = table_from_bytes(packed())
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello, world\n", "not a checkpoint of streammix"),
        (parquet_file(), "not a checkpoint of streammix"),
        (stream_file(), "not a checkpoint of streammix"),
        (b"ARROW1\0\0", "damaged or cut short"),
        (arrow_file(pa.table({"x": [1]})), "an Arrow file, but not a checkpoint"),
        (arrow_file(table_from_bytes(packed()).replace_schema_metadata()), "an Arrow file, but not a checkpoint"),
    ],
    ids=["empty", "text", "parquet", "stream", "magic", "arrow", "bare"],
)
def test_foreign_bytes_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(sm.CheckpointError, match=why):
        from_bytes(data)


# --- forged: the digest is right, the contents are not ---


def forged(table: pa.Table, metadata: dict[bytes, bytes] | None = None, **options: Any) -> bytes:
    """A file with a right digest of any content."""
    kept = dict(table.schema.metadata) | (metadata or {})
    digest = b"0" * 64
    for _ in range(2):
        data = arrow_file(table.replace_schema_metadata(kept | {b"streammix.sha256": digest}), **options)
        digest = hashlib.sha256(data).hexdigest().encode()
    return data


def altered(**columns: Any) -> pa.Table:
    """The example's row with some columns replaced: by values, or by what a function makes of the values."""
    table = table_from_bytes(packed())
    for name, change in columns.items():
        value = change(table[name][0].as_py()) if callable(change) else change
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), pa.array([value], table.schema.field(name).type))
    return table


def nested(*path: Any, to: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Change what lies at a path of keys and indices."""

    def change(value: Any) -> Any:
        place = value
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to(place[path[-1]])
        return value

    return change


def test_a_forged_file_with_nothing_changed_is_read() -> None:
    assert_same(from_bytes(forged(altered())).snapshot, example())


def test_a_newer_format_is_refused_by_name() -> None:
    newer = {b"streammix.format": str(checkpoint.FORMAT + 1).encode(), b"streammix.version": b"9.1"}
    with pytest.raises(NewerFormatError, match=r"format 3, written by streammix 9\.1; this version reads .* up to 2"):
        from_bytes(forged(altered(), newer))


def test_compressed_batches_are_refused_unread() -> None:
    """A few bytes would unpack to any number of them."""
    for codec in ("zstd", "lz4"):
        data = forged(altered(pending=[[0.0] * 1_000_000]), compression=codec)
        assert len(data) < 100_000
        with pytest.raises(sm.CheckpointError, match="compressed"):
            from_bytes(data)


FORGERIES: dict[str, Any] = {
    "no rows": lambda: forged(altered().slice(0, 0)),
    "two rows": lambda: forged(pa.concat_tables([altered(), altered()]).combine_chunks()),
    "two batches": lambda: forged(pa.concat_tables([altered(), altered()])),
    "a column too many": lambda: forged(altered().append_column("x", [[1]])),
    "a column of another type": lambda: forged(altered().drop_columns("outputs").append_column("outputs", [[1]])),
    "a format that is no number": lambda: forged(altered(), {b"streammix.format": b"one"}),
    "no declaration": lambda: forged(altered(), {b"streammix.declaration": b"null"}),
    "a declaration that is no JSON": lambda: forged(altered(), {b"streammix.declaration": b"{"}),
    "JSON without a bottom": lambda: forged(altered(), {b"streammix.declaration": b"[" * 100_000}),
    "a trillion components": lambda: forged(altered(), {b"streammix.declaration": b'{"n_components": 1000000000000}'}),
    "fewer weights than components": lambda: forged(altered(weights=[1.0])),
    "no components at all": lambda: forged(
        altered(weights=[], components=[]), {b"streammix.declaration": b'{"n_components": 0}'}
    ),
    "an average of nothing": lambda: forged(
        altered(components=[], average=altered().select(SCHEMA.names[3:7]).to_pylist()[0])
    ),
    "a component of another shape": lambda: forged(altered(components=nested(1, "fields", to=lambda f: f[:-1]))),
    "a statistic of another length": lambda: forged(
        altered(components=nested(1, "fields", 0, "statistics", to=lambda s: [("anchor", [1.0, 2.0])]))
    ),
    "a unit of another length in both": lambda: forged(
        altered(components=lambda cs: [nested("fields", 0, "statistics", to=lambda s: s[:1])(c) for c in cs])
    ),
    "a missing statistic": lambda: forged(
        altered(components=nested(0, "fields", 1, "statistics", 0, to=lambda s: (s[0], [None])))
    ),
    "statistics that are null": lambda: forged(
        altered(components=nested(0, "fields", 1, "statistics", to=lambda s: None))
    ),
    "a mass that isn't there": lambda: forged(
        altered(components=lambda cs: [nested("fields", 0, "mass_index", to=lambda m: 2)(c) for c in cs])
    ),
    "a mass before the first": lambda: forged(
        altered(components=lambda cs: [nested("fields", 0, "mass_index", to=lambda m: -1)(c) for c in cs])
    ),
    "blocks out of order": lambda: forged(
        altered(components=lambda cs: [nested("fields", 0, "block", to=lambda b: 2)(c) for c in cs])
    ),
    "a clock too many": lambda: forged(altered(clocks=[1.0, 2.0, 3.0])),
    "a component that is null": lambda: forged(altered(components=lambda cs: [cs[0], None])),
    "rows without weights": lambda: forged(altered(pending_weights=[1.0])),
    "rows of different lengths": lambda: forged(altered(pending=nested(0, to=lambda column: column[:1]))),
    "records without weights": lambda: forged(altered(buffer=["{}"])),
    "records that are none": lambda: forged(altered(buffer=["[]"], buffer_weights=[1.0])),
    "positions that are no object": lambda: forged(altered(positions="[]")),
    "levels that are no lists": lambda: forged(altered(levels='{"country": 3}')),
    "nulls": lambda: forged(altered(n_seen=None, positions=None, written_at=None)),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_file_is_refused(forge: Callable[[], bytes]) -> None:
    with pytest.raises(sm.CheckpointError, match="contradicts itself"):
        from_bytes(forge())


def mended(changed: bytes, own: bytes) -> bytes:
    """Changed bytes with the digest that fits them in place of their own."""
    digest = hashlib.sha256(changed.replace(own, b"0" * 64)).hexdigest().encode()
    return changed.replace(own, digest)


@pytest.mark.parametrize("offsets", [(0, 2**30), (-5, 2), (1, 0), (0, 3)])
def test_offsets_that_lead_out_of_the_data_are_refused(offsets: tuple[int, int]) -> None:
    data = packed(weights=[0.123, 0.877])
    own = pa.ipc.open_file(data).schema.metadata[b"streammix.sha256"]
    weights = data.index(struct.pack("<dd", 0.123, 0.877))
    before = slice(weights - 64, weights)
    at = data[before].rindex(struct.pack("<ii", 0, 2)) + before.start
    changed = data[:at] + struct.pack("<ii", *offsets) + data[at + 8 :]
    with pytest.raises(sm.CheckpointError, match="contradicts itself"):
        from_bytes(mended(changed, own))


def test_damage_with_a_mended_digest_never_surfaces_as_another_error() -> None:
    data = packed()
    own = pa.ipc.open_file(data).schema.metadata[b"streammix.sha256"]
    rng = np.random.default_rng(2)
    read = 0
    for _ in range(1_500):
        changed = bytearray(data)
        for place in rng.integers(8, len(data), rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        with contextlib.suppress(sm.CheckpointError):
            read += isinstance(from_bytes(mended(bytes(changed), own)), Unpacked)
    assert read > 100  # a changed number is no contradiction


# --- the shape that the core will read ---


def layout_of(snapshot: Snapshot) -> list[Any]:
    layout: list[Any] = [("normal", [0, 1], 1, False, None), ("mvn", [2, 3], 2, False, None)]
    return [*layout, ("categorical", [4], 2, False, None)]


def sound(**changes: Any) -> Snapshot:
    """The example with statistics that records can have."""
    snapshot = example(**changes)
    for state in (snapshot.state, snapshot.average):
        for array in [] if state is None else state.arrays():
            array[:] = np.abs(np.nan_to_num(array))
    return snapshot


def test_a_snapshot_of_the_model_s_shape_passes() -> None:
    pending = np.array([[1.0, 1.0, 1.0, 1.0, 0.0], [np.nan, 1.0, 1.0, np.nan, np.nan]])
    snapshot = sound(pending=pending)
    packing.check_layout(snapshot, layout_of(snapshot))


@pytest.mark.parametrize("array", range(10))
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_statistics_that_no_records_have_are_refused(array: int, value: float) -> None:
    snapshot = sound()
    assert snapshot.state is not None
    arrays = snapshot.state.arrays()
    assert len(arrays) == 10
    arrays[array].flat[0] = value
    if value == -1.0 and array >= 4:  # means are of either sign
        packing.check_layout(snapshot, layout_of(snapshot))
        return
    with pytest.raises(sm.CheckpointError, match="statistics that are no numbers"):
        packing.check_layout(snapshot, layout_of(snapshot))


@pytest.mark.parametrize(
    "layout",
    [
        [("normal", [0, 1], 1, False, None)],
        [("normal", [0], 1, False, None), ("mvn", [2, 3], 2, False, None), ("categorical", [4], 2, False, None)],
        [("poisson", [0, 1], 1, False, None), ("mvn", [2, 3], 2, False, None), ("categorical", [4], 2, False, None)],
        [("normal", [0, 1], 1, False, None), ("mvn", [2, 3, 5], 3, False, None), ("categorical", [4], 2, False, None)],
        [("normal", [0, 1], 1, False, None), ("mvn", [2, 3], 2, False, None), ("categorical", [4], 99, False, None)],
    ],
    ids=["blocks", "units", "family", "dimension", "levels"],
)
def test_a_snapshot_of_another_shape_is_refused(layout: list[Any]) -> None:
    with pytest.raises(sm.CheckpointError, match="declares"):
        packing.check_layout(example(), layout)


@pytest.mark.parametrize(
    ("pending", "why"),
    [
        (np.full((2, 3), 1.0), "3 columns"),
        (np.full((2, 5), -1.0), "no categorical field"),
        (np.full((2, 5), 2.0), "no categorical field"),
        (np.full((8, 5), 1.0), "8 rows wait"),
    ],
)
def test_rows_that_the_core_can_t_read_are_refused(pending: np.ndarray, why: str) -> None:
    snapshot = sound(pending=pending, pending_weights=np.ones(len(pending)))
    with pytest.raises(sm.CheckpointError, match=why):
        packing.check_layout(snapshot, layout_of(snapshot))


# --- files of earlier versions ---


def test_each_format_has_a_golden_file() -> None:
    assert {f"v{version}" for version in range(1, checkpoint.FORMAT + 1)} <= {
        path.stem for path in GOLDEN.glob("*.arrow")
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.arrow")))
def test_a_golden_file_of_each_format_loads(name: str) -> None:
    expected = json.loads((GOLDEN / f"{name}.json").read_text())
    found = store.read(GOLDEN / f"{name}.arrow")
    model = found.model
    assert found.positions == expected["positions"]
    assert found.outputs == expected["outputs"]
    assert found.written_at.isoformat() == expected["written_at"]
    assert model.n_seen == expected["n_seen"]
    np.testing.assert_allclose(model.weights, expected["weights"], rtol=1e-9)
    assert repr(model) == expected["model"]
    for record, score in zip(expected["records"], expected["scores"], strict=True):
        assert model.score_one(record) == pytest.approx(score, rel=1e-9)
    for record in expected["records"]:
        model.learn_one(record)
    assert model.n_seen == expected["n_seen"] + len(expected["records"])
