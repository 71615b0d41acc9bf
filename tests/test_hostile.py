"""Loading what somebody has forged: nothing is run, and no more memory is taken than the file's size justifies."""

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_checkpoint import LABELS, altered, example, forged, mended, packed

import streammix as sm
from streammix.checkpoint import SCHEMA, from_bytes, to_bytes

ROOM = 4_000_000  # what reading a small file takes, libraries and all


def refused(tmp_path: Path, data: bytes, times: int = 20) -> str:
    """Return why a file is refused; it must not have taken memory beyond its size."""
    path = tmp_path / "state.arrow"
    path.write_bytes(data)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(sm.StreammixError, match=r"state\.arrow: ") as caught:
            sm.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < ROOM + times * len(data)
    assert pa.total_allocated_bytes() - before < ROOM + times * len(data)
    return str(caught.value)


def own_digest(data: bytes) -> bytes:
    digest: bytes = pa.ipc.open_file(data).schema.metadata[b"streammix.sha256"]
    return digest


def test_a_body_that_is_said_to_be_huge(tmp_path: Path) -> None:
    data = packed()
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data).slice(8))
    size = next(message for message in reader if message.type == "record batch").body.size
    places = [at for at in range(0, len(data) - 8, 8) if struct.unpack_from("<q", data, at)[0] == size]
    assert places
    for place in places:
        for huge in (2**40, 2**62, -1):
            changed = data[:place] + struct.pack("<q", huge) + data[place + 8 :]
            refused(tmp_path, mended(changed, own_digest(data)))


def test_heads_that_are_said_to_be_huge(tmp_path: Path) -> None:
    """The length of each message's head, and the footer's."""
    data = packed()
    starts = [at for at in range(8, len(data) - 8, 8) if data[at : at + 4] == b"\xff\xff\xff\xff"]
    for at in [*(start + 4 for start in starts), len(data) - 10]:
        for huge in (2**31 - 1, -(2**31), 2**20):
            changed = data[:at] + struct.pack("<i", huge) + data[at + 4 :]
            refused(tmp_path, mended(changed, own_digest(data)))


def test_lengths_and_offsets_in_a_batch_that_lead_out_of_it(tmp_path: Path) -> None:
    """Every number of eight bytes in the batch's head, one after the other, replaced by a huge one."""
    data = packed()
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data).slice(8))
    head = next(message for message in reader if message.type == "record batch").metadata.to_pybytes()
    begin = data.index(head)
    read = 0
    for at in range(begin + (-begin) % 8, begin + len(head) - 8, 8):
        changed = mended(data[:at] + struct.pack("<q", 2**45) + data[at + 8 :], own_digest(data))
        tracemalloc.start()
        try:
            from_bytes(changed)
            read += 1
        except sm.CheckpointError:
            pass
        assert tracemalloc.get_traced_memory()[1] < ROOM
        tracemalloc.stop()
    assert read < len(head) / 16  # paddings and the like


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_what_unpacks_to_gigabytes(tmp_path: Path, codec: str) -> None:
    data = forged(altered(pending=[np.zeros(1_000_000)]), compression=codec)
    assert len(data) < 100_000
    assert "compressed" in refused(tmp_path, data, times=2)


def test_dictionaries_have_no_place(tmp_path: Path) -> None:
    """A dictionary of one long text, and many rows that are each of it."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1, dtype=np.int8)), pa.array(["x" * 1_000_000]))
    table = altered()
    index = table.schema.get_field_index("outputs")
    data = forged(table.set_column(index, "outputs", text))
    assert "its columns are not a checkpoint's" in refused(tmp_path, data, times=2)
    lists = pa.field("buffer", pa.list_(pa.dictionary(pa.int8(), pa.string())))
    index = SCHEMA.get_field_index("buffer")
    many = pa.ListArray.from_arrays(
        pa.array([0, 100_000], pa.int32()),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, dtype=np.int8)), pa.array(["x" * 100_000])),
    )
    data = forged(table.set_column(index, lists, many))
    assert "its columns are not a checkpoint's" in refused(tmp_path, data, times=2)


def warming_up(declaration: dict, n_components: int, fields: list | None = None) -> bytes:
    """A model before its first state, of any declaration."""
    whole = {
        "fields": fields,
        "components": None,
        "weights": None,
        "step_size": {"step_size": "PowerDecay", "alpha": 0.6},
    }
    whole |= {"batch_size": 1, "warm_up": None, "averaging": False, "seed": 1, "infer": False}
    whole |= {"n_components": n_components} | declaration
    nothing = {"levels": {}, "state": None, "pending": np.empty((0, 0)), "pending_weights": np.empty(0), "fields": None}
    snapshot = example(declaration=whole, n_seen=0, **nothing)
    return to_bytes(snapshot, weights=np.full(n_components, 1 / n_components), blocks=[])


def test_a_sound_model_before_its_first_state_loads(tmp_path: Path) -> None:
    (tmp_path / "state.arrow").write_bytes(warming_up({}, 3, [[["x"], {"family": "Normal"}]]))
    assert not sm.load(tmp_path / "state.arrow").is_warm


def test_many_components_times_many_fields(tmp_path: Path) -> None:
    """Each is spelled out in the file, their product is not."""
    fields = [[[f"f{i}"], {"family": "Normal"}] for i in range(3_000)]
    assert "must be at most" in refused(tmp_path, warming_up({}, 30_000, fields))
    (tmp_path / "state.arrow").write_bytes(data := warming_up({}, 60, fields[:300]))
    tracemalloc.start()
    sm.load(tmp_path / "state.arrow")
    assert tracemalloc.get_traced_memory()[1] < 60_000_000 + 20 * len(data)
    tracemalloc.stop()


def test_fields_that_have_no_statistics(tmp_path: Path) -> None:
    model = sm.Mixture(n_components=2, fields={"x": sm.Normal()}, warm_up=10, seed=1)
    for x in range(20):
        model.learn_one({"x": float(x % 7)})
    snapshot = model._snapshot()
    snapshot.fields = [[[f"f{i}"], {"family": "Normal"}] for i in range(5_000)]
    snapshot.declaration = {**snapshot.declaration, "fields": None}
    data = to_bytes(snapshot, weights=model.weights, blocks=[("normal", [("x",)], None)])
    assert "its fields are not those of its statistics" in refused(tmp_path, data)


@pytest.mark.parametrize(
    "declaration",
    [
        {"batch_size": 10**15},
        {"batch_size": 10**8},
        {"warm_up": "all"},
        {"seed": -1},
        {"step_size": {"step_size": "__import__", "alpha": 0.6}},
        {"fields": [[["x"], {"family": "os.system"}]]},
        {"fields": [[["x"], {"family": "Fixed", "scipy": "../../x", "arguments": []}]]},
        {"fields": [[["x"], {"family": "Binomial", "n": 10**400}]]},
        {"components": [[[["x"], {"family": "Normal"}]]] * 3, "fields": None},
        {"surprise": 1},
    ],
    ids=json.dumps,
)
def test_declarations_that_are_none(tmp_path: Path, declaration: dict) -> None:
    fields = [[["x"], {"family": "Normal"}]]
    assert "\n" not in refused(tmp_path, warming_up(declaration, 3, fields))


def test_the_example_itself_is_read() -> None:
    assert from_bytes(packed()).snapshot.n_seen == 10
    assert len(LABELS) == 3
