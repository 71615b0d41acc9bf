"""Files whose last line has no line end: half written, or finished all the same."""

import gzip
import json

import pytest
from pipeline_tools import call, events, lines_of, run, write_config

from streammix.pipeline.decode import decode_json
from streammix.pipeline.sources.file import FileSource
from streammix.pipeline.sources.opening import Reading


def read_all(directory, name, position=None, **options):
    """Return (records, reasons of refusals, position) of what is new in a file."""
    source = FileSource([name], directory, position, Reading(**options))
    records, reasons = [], []
    while (batch := source.read(1000)) is not None:
        batch = decode_json(batch)
        records += batch.records
        reasons += [refusal.reason for refusal in batch.refused]
    return records, reasons, source.position()


def store(path, text):
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.csv.gz"])
def test_a_file_cut_anywhere_is_read_once_it_has_grown(name, tmp_path):
    if ".csv" in name:
        text = b'x,k\n12,"a\nb"\n-3.5,c\n456,"d"\n'
    else:
        text = b'{"x": {"y": -1.5}, "k": "\xc3\xa9\\u00e9"}\n{"x": 12}\n\n{"x": true}\n'
    store(tmp_path / name, text)
    whole = read_all(tmp_path, name)[:2]
    for cut in range(len(text) + 1):
        store(tmp_path / name, text[:cut])
        first, refused, position = read_all(tmp_path, name)
        store(tmp_path / name, text)
        if text[max(cut - 3, 0) : cut] == b'"a\n':
            continue  # a row that ends inside quotes but at a line end is taken for a stray quote
        rest, others, _ = read_all(tmp_path, name, position)
        assert (first + rest, refused + others) == whole, cut


def test_a_whole_object_without_a_line_end_is_read(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b'{"x": 1}\n{"x": 2}')
    records, refused, position = read_all(tmp_path, "a.ndjson")
    assert (records, refused) == ([{"x": 1}, {"x": 2}], [])
    with open(tmp_path / "a.ndjson", "ab") as file:
        file.write(b'{"x": 3}\n{"x": 4}\n')
    records, refused, _ = read_all(tmp_path, "a.ndjson", position)
    assert records == [{"x": 4}]
    assert refused == ["the line went on after it was read without a line end: the rest of it"]


def test_a_line_that_can_not_become_an_object_is_refused_at_once(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b'{"x": 1}\n[2]')
    assert read_all(tmp_path, "a.ndjson")[:2] == ([{"x": 1}], ["expected a JSON object, got array"])


def test_a_last_line_that_is_too_long_waits(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b'{"x": 1}\n{"x": "' + b"a" * 10_000)
    records, refused, position = read_all(tmp_path, "a.ndjson", longest=100)
    assert (len(records), refused, position["files"]["a.ndjson"]["offset"]) == (1, [], 9)
    with open(tmp_path / "a.ndjson", "ab") as file:
        file.write(b'"}\n{"x": 2}\n')
    records, refused, _ = read_all(tmp_path, "a.ndjson", position, longest=100)
    assert (records, len(refused)) == ([{"x": 2}], 1)


def test_a_run_says_what_waits_and_score_takes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{x['x']},{x['y']},{x['kind']}" for x in events(150)]
    (tmp_path / "a.csv").write_text("x,y,kind\n" + "\n".join(rows), encoding="utf-8")
    write_config(tmp_path, 'kind = "file"\npath = "a.csv"', '[sink]\nkind = "ndjson"\npath = "o.ndjson"')
    status, _, said = run(tmp_path)
    assert (status, len(lines_of(tmp_path / "o.ndjson"))) == (0, 149)
    assert "a.csv: the last line, from byte" in said
    _, out, _ = call("score", "state", "a.csv")
    assert len([json.loads(line) for line in out.splitlines()]) == 150
    with open(tmp_path / "a.csv", "a") as file:
        file.write("\n")
    assert run(tmp_path)[0] == 0
    assert len(lines_of(tmp_path / "o.ndjson")) == 150
