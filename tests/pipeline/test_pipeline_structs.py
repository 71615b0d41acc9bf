"""Records that are decoded when the core reads them: as if they had been dicts all along."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import state_of

import streammix as sm
from streammix.errors import RecordError
from streammix.pipeline import decode as decode_module
from streammix.pipeline.decode import JsonDecoder, decode_json, without
from streammix.pipeline.flow import Batch, Lines

FIELDS = {
    "x": sm.Normal(),
    "size": sm.Gamma(),
    "count": sm.Poisson(),
    "level": sm.Categorical(),
    ("lat", "lon"): sm.MultivariateNormal(),
}
PLAIN = [
    {"x": 0.5, "size": 2.0, "count": 3, "level": "a", "lat": 1.0, "lon": 2.0},
    {"x": -1, "size": 0.25, "count": 0, "level": "b", "lat": 0.0, "lon": -2},
    {"x": None, "size": 7, "count": True, "level": None, "lat": 3.5},
    {"level": "a", "x": 1e3, "id": "ü", "more": [1, {"x": 2}]},
]
ODD = [
    b'{"x": 1, "x": 2}',
    b'{"x": -0, "count": 1.5, "size": -1}',
    b'{"size": 0, "x": "text"}',
    b'{"count": 1' + b"0" * 400 + b"}",
    b'{"id": 1e999, "x": 1}',
    b'{"id": "\xff", "x": 1}',
    b'{"\\u0078": 5}',
    b'{"x": true, "level": 3}',
    b'{"level": "new"}',
    b'{"level": "newer", "count": -1}',
    b'{"id": 7}',
    b'{"other": 7, "x": 1}\r',
    b'{"x": [1]}',
    b"{}",
    b"{}{}",
    b"",
    b'{"x": 1',
    b"[1]}",
    b'{"x":}',
]
LINES = st.lists(st.sampled_from([msgspec.json.encode(x) for x in PLAIN] * 4 + ODD), min_size=1, max_size=30)


def batch_of(texts):
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1
    starts = np.concatenate(([0], ends[:-1] + 1))
    return Batch("s", starts, texts=Lines(b"\n".join(texts), starts, ends))


def new_model(fields=FIELDS):
    rng = np.random.default_rng(5)
    model = sm.Mixture(n_components=2, fields=fields, warm_up=40, batch_size=4, seed=3)
    draws = [
        {"x": x, "size": s, "count": int(c), "level": "ab"[int(c) % 2], "lat": x + s, "lon": s - x}
        for x, s, c in zip(rng.normal(size=30), rng.gamma(2.0, size=30), rng.poisson(3, size=30), strict=True)
    ]
    model.ingest(draws)
    return model


def learn(model, batches, decoder):
    rows, refused = [], []
    for batch in map(decoder, batches):
        done = model.ingest(batch.records)
        refused += [(r.offset, r.reason) for r in batch.refused]
        refused += [(int(batch.offsets[row]), str(error)) for row, error in done.rejected]
        rows += zip(batch.offsets[done.rows].tolist(), done.log_density, done.responsibilities.tolist(), strict=True)
    return rows, sorted(refused)


@pytest.mark.parametrize("ignored", [(), ("x",)])
@pytest.mark.parametrize("fields", [FIELDS, None], ids=["declared", "inferred"])
@settings(deadline=None, max_examples=20)
@given(first=LINES, second=LINES, third=LINES)
def test_structs_are_learnt_as_dicts_are(fields, ignored, first, second, third):
    batches = [batch_of(texts) for texts in (first, second, third)]
    a, b = new_model(fields), new_model(fields)
    assert learn(a, batches, without(ignored, JsonDecoder())) == learn(b, batches, without(ignored, decode_json))
    assert state_of(a) == state_of(b)


def test_alike_lines_are_not_decoded_into_dicts(monkeypatch):
    model, decoder = new_model(), JsonDecoder()
    texts = [msgspec.json.encode(x) for x in PLAIN[:2]] * 600
    model.ingest(decoder(batch_of(texts[:20])).records)
    assert model.is_warm
    monkeypatch.setattr(decode_module, "_again", lambda lines, row: pytest.fail("decoded into a dict"))
    assert len(model.ingest(decoder(batch_of(texts)).records).rows) == len(texts)


def test_new_fields_are_met_once(monkeypatch):
    model, decoder = new_model(), JsonDecoder()
    texts = [msgspec.json.encode(x) for x in (PLAIN[0], PLAIN[0] | {"more": 1})] * 10
    for _ in range(2):
        model.ingest(decoder(batch_of(texts)).records)
    monkeypatch.setattr(decode_module, "_again", lambda lines, row: pytest.fail("decoded into a dict"))
    assert len(model.ingest(decoder(batch_of(texts)).records).rows) == len(texts)


def test_fields_without_end_are_decoded_into_dicts():
    decoder = JsonDecoder()
    texts = [msgspec.json.encode({"x": 1.0, f"key {i}": i}) for i in range(decode_module.MOST_NAMES + 10)]
    model = new_model()
    for begin in range(0, len(texts), 100):
        assert len(model.ingest(decoder(batch_of(texts[begin : begin + 100])).records).rows) > 0
    assert isinstance(decoder(batch_of(texts)).records, list)


@pytest.mark.parametrize("name", ["", 'a"b', "a\\b", "a\nb", "ü", "class", "__init__", "f0", "f1"])
def test_fields_of_any_name(name):
    model = sm.Mixture(components=[{name: sm.Normal(0, 1)}, {name: sm.Normal(5, 1)}])
    texts = [msgspec.json.encode({"first": 0, name: value}) for value in (1.0, 4.0, None)]
    decoder = JsonDecoder()
    for _ in range(2):
        done = model.ingest(decoder(batch_of(texts)).records)
        assert done.rows.tolist() == [0, 1, 2]


def test_a_record_is_a_dict_to_whoever_asks():
    batch = JsonDecoder()(batch_of([b'{"b": 1, "a": 2}', b'{"a": 3}', b'{"a"}']))
    assert batch.records[0] == {"b": 1, "a": 2}
    assert list(batch.records[0]) == ["b", "a"]
    assert batch.records[-2] == batch.records[1:][0] == {"a": 3}
    assert len(batch.records[1:]) == 2
    assert batch.raw(1) == b'{"a": 3}'
    with pytest.raises(RecordError, match="expected JSON"):
        batch.records[2]
    with pytest.raises(IndexError):
        batch.records[3]
    with pytest.raises(ValueError, match="in order"):
        batch.records[::2]
