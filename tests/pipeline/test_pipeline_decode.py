"""Bytes into lines, lines into records."""

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streammix as sm
from streammix.errors import StreammixError
from streammix.pipeline.decode import JsonDecoder, cell_value, decode_json
from streammix.pipeline.flow import Batch, Lines
from streammix.pipeline.sources import lines as lines_module
from streammix.pipeline.sources.delimited import CsvReader, read_header
from streammix.pipeline.sources.lines import LineReader

SOMETIMES_ODD = st.sampled_from(
    [
        b'{"a": 1}',
        b"{}",
        b"",
        b"  ",
        b'{"a":',
        b"1}",
        b"{}{}",
        b"[1]",
        b'{"a": "\xff"}',
        b'{"a": "}"}',
        b'{"a": 1}\r',
        b"x" * 70,
    ]
)


def in_pieces(data, size):
    """Return a reader that gives at most `size` bytes, and now and then says that there are none just now."""
    stream, calls = io.BytesIO(data), iter(range(10**9))
    return lambda limit: None if next(calls) % 5 == 3 else stream.read(min(size, limit))


def drain(reader, limit):
    found, refused = [], []
    while (batch := reader.take(limit)) is not None:
        assert len(batch) <= limit
        batch = decode_json(batch)
        found += zip(batch.offsets.tolist(), batch.records, batch.texts, strict=True)
        refused += [(refusal.offset, refusal.reason) for refusal in batch.refused]
    return found, refused


@given(st.lists(SOMETIMES_ODD, max_size=12), st.booleans(), st.integers(1, 80), st.integers(1, 5))
def test_lines_do_not_depend_on_how_reading_is_cut(texts, is_ended, size, limit):
    data = b"\n".join(texts) + (b"\n" if is_ended else b"")
    expected, offset = {}, 0
    for text in data.split(b"\n"):
        if text.strip():
            expected[offset] = text
        offset += len(text) + 1

    reader = LineReader("s", in_pieces(data, size), 0, 60)
    found, refused = drain(reader, limit)

    assert reader.offset == len(data)
    assert {at: raw for at, _, raw in found} | dict.fromkeys(at for at, _ in refused) == {
        at: text if any(at == good for good, _, _ in found) else None for at, text in expected.items()
    }
    for at, record, raw in found:
        assert record == json.loads(raw)
        assert at in expected
    whole = drain(LineReader("s", io.BytesIO(data).read, 0, 60), 10**6)
    assert (found, refused) == whole

    stream = io.BytesIO(data)
    in_place = LineReader(
        "s", lambda most: stream.read(min(size, most)), 0, 60, unread=lambda n: stream.seek(-n, io.SEEK_CUR)
    )
    assert drain(in_place, limit) == whole
    assert in_place.offset == len(data)


@given(st.lists(SOMETIMES_ODD, min_size=1, max_size=8))
def test_block_decoding_equals_decoding_each(texts):
    data = b"\n".join(texts)
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = np.concatenate(([0], ends[:-1] + 1))
    block = decode_json(Batch("s", starts, texts=Lines(data, starts, ends)))
    each = decode_json(Batch("s", starts, texts=texts))
    assert block.refused == each.refused
    kept = [record for record, at in zip(block.records, block.offsets, strict=True) if at in each.offsets]
    assert kept == each.records
    assert len(block.records) == len(each.records)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "expected a JSON object, got array"),
        (b'{"b": "NaN", "a": NaN}', "field 'a': expected a number, or null where it is missing, got NaN"),
        (b'{"a": [{"b": -Infinity}]}', "field 'a': expected a number, or null where it is missing, got -Infinity"),
        (b'{"a": 1e999}', "field 'a': expected a number of a magnitude up to 1.8e308, got 1e999"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "field 'a': expected a number of a magnitude up to 1.8e308, got 1000"),
        (b'{"a": 1', "field 'a': expected a whole JSON object, got one that is cut short"),
        (b'{"a"', "expected a whole JSON object, got one that is cut short"),
        (b'{"b": 1, "a": "\xff"}', "field 'a': not UTF-8: invalid start byte 0xff"),
        (b'{"a": "\\ud800"}', r"field 'a': expected text without half of a surrogate pair, got '\ud800'"),
        (b'{"a": "\\ud800x"}', r"field 'a': expected text without half of a surrogate pair, got '\ud800x'"),
        (b'{"\\ud800": 1}', r"a field's name must be text without half of a surrogate pair, not '\ud800'"),
        (b'{"b": 1, "a": 01}', "field 'a': expected JSON, got '01}' (invalid number, byte 15)"),
        (b'{"a": True}', "field 'a': expected JSON, got 'True}' (invalid character, byte 6)"),
        (b'{"a": 1} {"a": 2}', "field 'a': expected JSON, got '1} {\"a\": 2}' (trailing characters, byte 10)"),
        (b"{'a': 1}", "expected JSON, got \"{'a': 1}\" (object keys must be strings, byte 1)"),
        (b'{"a":' + b"[" * 100_000, "JSON is nested too deeply"),
        (
            b'{"a":' + b"[" * 700 + b"NaN" + b"]" * 700 + b"}",
            "field 'a': expected a number, or null where it is missing",
        ),
        (b'{"a": [1, "\\ud800", NaN]}', r"field 'a': expected text without half of a surrogate pair, got '\ud800'"),
        (b'{"a": "say \\"b\\": c", 1}', "field 'a': expected JSON"),
    ],
)
def test_a_bad_line_says_why(line, reason):
    batch = decode_json(Batch("s", np.array([5, 50]), texts=[line, b'{"a": 2}']))
    assert batch.records == [{"a": 2}]
    assert batch.offsets.tolist() == [50]
    assert reason in batch.refused[0].reason
    assert (batch.refused[0].offset, batch.refused[0].raw) == (5, line)


@pytest.mark.parametrize(
    ("head", "unit", "reason"),
    [
        (b'{"', b'\\"', "expected a whole JSON object, got one that is cut short"),
        (b'{"id": 1, "a": "', b'{\\"key\\": \\"value\\"}, ', "field 'a': expected a whole JSON object"),
        (b'{"a": "', b"x", "field 'a': expected a whole JSON object, got one that is cut short"),
        (b'{"a": "\xff', b'\\"', "field 'a': "),
        (b"{", b'"', "(expected ':', byte 3)"),
        (b"{", b'"a"   ', "(expected ':', byte 7)"),
        (b'{"a"', b" ", "expected a whole JSON object, got one that is cut short"),
        (b'{"', b"\\", "expected"),
        (b"", b"{", "(object keys must be strings, byte 1)"),
        (b"{", b'"a":1,', "field 'a': expected"),
        (b'{"b": NaN, ', b'"a":1,', "field 'b': expected JSON, got 'NaN, "),
        (b'{"a": [', b"NaN,", "field 'a': expected JSON, got '[NaN,NaN,"),
        (b'{"a": "', b"\\ud800", "field 'a': expected"),
        (b'{"a": 1 ', b'{"', "field 'a': expected JSON, got '1 {"),
    ],
)
def test_what_is_wrong_with_a_mebibyte_is_said_in_one_pass(head, unit, reason):
    for size in (1000, 1 << 20):  # at n² steps the second one would take hours
        line = head + unit * (size // len(unit))
        refused = decode_json(Batch("s", np.array([5]), texts=[line])).refused
        assert reason in refused[0].reason
        assert len(refused[0].reason) < 200  # a sentence


def test_what_is_refused_holds_no_frames():
    text, ends = b'{"a": "x"}\n{"a": 1}\n{bad\n{}', np.array([10, 19, 24, 27])
    starts = np.array([0, 11, 20, 25])
    records = JsonDecoder()(Batch("s", starts, texts=Lines(text, starts, ends))).records
    model = sm.Mixture(components=[{"a": sm.Normal(0, 1)}, {"a": sm.Normal(5, 1)}])
    for done in (model.ingest(records), model.ingest([{"a": "x"}, {"a": 1}, {"a": math.inf}, {}])):
        assert [row for row, _ in done.rejected] == [0, 2, 3]
        assert all(error.__traceback__ is None and error.__context__ is None for _, error in done.rejected)


def test_a_line_too_long_costs_only_itself_and_little_memory(monkeypatch):
    monkeypatch.setattr(lines_module, "BLOCK", 64)
    data = b'{"a": 1}\n{"a": "' + b"x" * 100_000 + b'"}\n{"a": 2}'
    reader = LineReader("s", io.BytesIO(data).read, 0, 1000)
    found, refused = drain(reader, 100)
    assert [record for _, record, _ in found] == [{"a": 1}, {"a": 2}]
    assert refused == [(9, "a line of 100009 bytes; the longest allowed is 1000 (max_record_bytes)")]
    assert reader.offset == len(data)


def test_byte_order_mark():
    batch = decode_json(Batch("s", np.array([0]), texts=[b'\xef\xbb\xbf{"a": 1}']))
    assert batch.records == [{"a": 1}]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("", None), ("12", 12), ("-3", -3.0), (" 2.5", 2.5), ("1e3", 1000.0), ("true", True), ("FALSE", False)]
    + [(text, text) for text in ("1_000", "٣", "²", "NA", "a b", "0x10")],
)
def test_cells(cell, value):
    assert cell_value(cell) == value
    assert type(cell_value(cell)) is type(value)


def read_csv(data, limit=10**6, size=1 << 20, as_text=(), longest=1000):
    lines = LineReader("s.csv", in_pieces(data, size), 0, longest)
    while (header := read_header(lines)) is None:
        pass
    return drain(CsvReader(lines, header, as_text, longest), limit)


CSV = (
    b"\xef\xbb\xbfname,amount,zip\r\n"
    b'"Smith, ""Jo""",1.5,01\r\n'
    b"\r\n"
    b'"two\r\nlines",,02\r\n'
    b"too,few\r\n"
    b'an inch",3,03\r\n'
    b"bad \xff,3,03\r\n"
    b'"open quote,4,04\r\n'
    b'closed "here",5,05\r\n'
    b"last,6,06"
)


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_csv(limit, size):
    found, refused = read_csv(CSV, limit, size, as_text={"zip"})
    assert [record for _, record, _ in found] == [
        {"name": 'Smith, "Jo"', "amount": 1.5, "zip": "01"},
        {"name": "two\r\nlines", "amount": None, "zip": "02"},
        {"name": 'an inch"', "amount": 3, "zip": "03"},
        {"name": 'closed "here"', "amount": 5, "zip": "05"},
        {"name": "last", "amount": 6, "zip": "06"},
    ]
    assert all(CSV[at:].startswith(raw) for at, _, raw in found)
    assert refused == [
        (CSV.index(b"too,few"), "not CSV: 2 cells under a header of 3"),
        (CSV.index(b"bad "), "not UTF-8: invalid start byte"),
        (CSV.index(b'"open'), "not CSV: ',' expected after '\"'"),
    ]


@pytest.mark.parametrize(("longest", "line"), [(1000, b"4,5\n"), (1000, b"\n"), (140_000, b"4,5\n"), (140_000, b"\n")])
def test_an_unclosed_quote_costs_only_its_line(longest, line):
    lines = longest // len(line) + 10
    found, refused = read_csv(b"a,b\n1,2\n" + b'"x,3\n' + line * lines, longest=longest)
    assert len(found) == 1 + lines * (line != b"\n")
    reason = f"a quote is open at the line's end, and not closed within {longest} bytes (max_record_bytes)"
    assert refused == [(8, f"not CSV: {reason}")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b,a\n", "names the column 'a' twice"),
        (b"\xff\n", "header row can't be read"),
        (b"\nx\n", "blank"),
    ],
)
def test_bad_header(data, words):
    with pytest.raises(StreammixError, match=words):
        read_csv(data)


def test_csv_cells_are_as_long_as_a_record_may_be():
    before = csv.field_size_limit()
    long = "é" * 200_000
    found, refused = read_csv(f'a,"{long}"\n1,"{long}"\n2,3\n'.encode(), longest=500_000)
    assert ([record for _, record, _ in found], refused) == ([{"a": 1, long: long}, {"a": 2, long: 3}], [])
    assert csv.field_size_limit() == before
