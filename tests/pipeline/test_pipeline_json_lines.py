"""Lines of JSON that the core reads where they lie: as if they had been dicts all along."""

import json
import math
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import state_of

import streammix as sm
from streammix.core.reader import Reader
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
    b'{"x": 01}',
    b'{"x": 1.}',
    b'{"x": .5}',
    b'{"x": -}',
    b'{"x": 1e}',
    b'{"x": 12a}',
    b'{"x": 1 2}',
    b'{"x": 1,}',
    b'{"x": nul}',
    b'{"x" 1}',
    b'{"x": "1}',
    b'{"level": "a}',
    b'{"level": "a\tb"}',
    b'{"id": [1}, "x": 2, "more": ]}',
    b'{ "x" :\t1 , "id" : {"a" : "}\\"" } , "level" : "a" } ',
    b'{"x": 1, "\\u0078": 2}',
    b'{"level": "\\u0061", "id": "\\ud83d\\ude00"}',
    b'{"level": "a", "id": "\\ud83d"}',
    b'{"x": 1, "id": "\x7f", "other": ["\xc3\xbc", null, true, -1.5e-3]}',
    b'{"x": 0.1000000000000000055511151231257827, "count": 2.0}',
    b'{"x": 12345678901234567890123, "size": 9007199254740993.0}',
    b'{"x": 1e-400, "y": [], "level": true}',
    b'{"lat": -0.0, "lon": -0}',
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
def test_lines_are_learnt_as_dicts_are(fields, ignored, first, second, third):
    batches = [batch_of(texts) for texts in (first, second, third)]
    a, b = new_model(fields), new_model(fields)
    assert learn(a, batches, without(ignored, JsonDecoder())) == learn(b, batches, without(ignored, decode_json))
    assert state_of(a) == state_of(b)


def no_dicts(monkeypatch):
    monkeypatch.setattr(decode_module, "_record", lambda line: pytest.fail("decoded into a dict"))


def test_alike_lines_are_not_decoded_into_dicts(monkeypatch):
    model, decoder = new_model(), JsonDecoder()
    texts = [msgspec.json.encode(x) for x in PLAIN[:2]] * 600
    model.ingest(decoder(batch_of(texts[:20])).records)
    assert model.is_warm
    no_dicts(monkeypatch)
    assert len(model.ingest(decoder(batch_of(texts)).records).rows) == len(texts)


def test_fields_that_are_passed_over_may_hold_anything(monkeypatch):
    model, decoder = new_model(), JsonDecoder()
    texts = [json.dumps(PLAIN[0] | {"more": more}).encode() for more in ([{"a": 'ü"}'}], "😀", 10**30, None, True)]
    model.ingest([PLAIN[0]] * 10)
    no_dicts(monkeypatch)
    assert len(model.ingest(decoder(batch_of(texts)).records).rows) == len(texts)


def test_fields_without_end_are_decoded_into_dicts():
    decoder = JsonDecoder()
    texts = [msgspec.json.encode({"x": 1.0, f"key {i}": i}) for i in range(1100)]
    model = new_model()
    for begin in range(0, len(texts), 100):
        assert len(model.ingest(decoder(batch_of(texts[begin : begin + 100])).records).rows) > 0


DIGITS = st.text("0123456789", min_size=1, max_size=25)
NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(-1e6, 1e6).flatmap(lambda x: st.integers(0, 25).map(lambda n: f"{x:.{n}f}"))
    | st.tuples(DIGITS, DIGITS, st.integers(-120, 120)).map(lambda parts: "{}.{}e{}".format(*parts))
    | st.integers(-(10**25), 10**25).map(str)
    | st.text("-0123456789.eE+", min_size=1, max_size=12)
)


@settings(deadline=None, max_examples=150)
@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_numbers_are_those_of_the_decoder(numbers):
    reader = Reader([("x", "real", -math.inf, math.inf, None, 0, 0)], [], lambda column, value: "refused")
    batch = JsonDecoder()(batch_of([f'{{"x":{number}}}'.encode() for number in numbers]))
    rows, good, _, refused = batch.records.rows(reader)
    expected = {}
    for i, number in enumerate(numbers):
        try:
            expected[i] = float(msgspec.json.decode(number.encode()))
        except (msgspec.DecodeError, OverflowError):
            assert i in dict(refused)
    assert list(good) == list(expected)
    assert rows.tobytes() == struct.pack(f"{len(expected)}d", *expected.values())


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
