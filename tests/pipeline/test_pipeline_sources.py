"""Sources: every format, resumed at every record, over files that grow, vanish or are cut."""

import csv
import gzip
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_tools import events, write_ndjson

from streammix.errors import ConfigError, StreammixError
from streammix.pipeline.decode import decode_json
from streammix.pipeline.sources.file import FileSource, find_files
from streammix.pipeline.sources.opening import Reading, format_of
from streammix.pipeline.sources.river import RiverSource
from streammix.pipeline.sources.stdin import StdinSource

RECORDS = events(53)


def write(path, records):
    """Write records in the format that the file's name says."""
    form, compression = format_of(path.name)
    plain = path.with_name("plain." + form)
    if form == "ndjson":
        write_ndjson(plain, records)
    elif form == "csv":
        with open(plain, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, records[0])
            writer.writeheader()
            writer.writerows(records)
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(records), plain, row_group_size=10)
    else:
        with pa.ipc.new_file(plain, pa.Table.from_pylist(records).schema) as file:
            for at in range(0, len(records), 10):
                file.write_table(pa.Table.from_pylist(records[at : at + 10]))
    if compression == "gzip":  # two members, as of a log that was appended to
        data = plain.read_bytes()
        plain.write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    elif compression == "zstd":
        data = plain.read_bytes()
        with pa.output_stream(str(plain), compression="zstd") as file:
            file.write(data)
    plain.rename(path)


def drain(source, limit=10**6):
    """Return (source, offset, record) of all that a source has left."""
    found = []
    while (batch := source.read(limit)) is not None:
        assert len(batch) <= limit
        batch = decode_json(batch)
        assert not batch.refused
        records = batch.records if isinstance(batch.records, list) else batch.records.to_pylist()
        found += [(batch.source, int(at), x) for at, x in zip(batch.offsets, records, strict=True)]
    return found


ENDINGS = ["ndjson", "jsonl.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet", "arrow", "feather"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_resumes_at_every_record(ending, tmp_path):
    name = f"events.{ending}"
    write(tmp_path / name, RECORDS)
    whole = drain(FileSource([name], tmp_path))
    assert [x for _, _, x in whole] == RECORDS
    for cut in range(0, len(RECORDS), 4):
        first = FileSource([name], tmp_path)
        found = []
        while len(found) < cut:
            batch = decode_json(first.read(min(3, cut - len(found))))
            found += batch.offsets.tolist()
        position = first.position()
        first.close()
        rest = drain(FileSource([name], tmp_path, position), limit=7)
        assert found + [at for _, at, _ in rest] == [at for _, at, _ in whole]
        assert [x for _, _, x in rest] == RECORDS[cut:]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_read_is_not_read_again(ending, tmp_path):
    name = f"events.{ending}"
    write(tmp_path / name, RECORDS)
    source = FileSource([name], tmp_path)
    drain(source)
    again = FileSource([name], tmp_path, source.position())
    assert drain(again) == []
    assert again.position() == source.position()


@pytest.mark.parametrize("ending", ["ndjson", "jsonl.gz", "csv", "csv.zst", "parquet", "arrow"])
def test_files_that_grow_and_new_files(ending, tmp_path):
    write(tmp_path / f"b.{ending}", RECORDS[:20])
    source = FileSource([f"b.{ending}"], tmp_path)
    assert len(drain(source)) == 20
    write(tmp_path / f"b.{ending}", RECORDS[:30])
    write(tmp_path / f"a.{ending}", RECORDS[30:40])
    names = find_files([f"*.{ending}"], tmp_path)
    rest = drain(FileSource(names, tmp_path, source.position()))
    assert [(name, x) for name, _, x in rest] == [(f"a.{ending}", x) for x in RECORDS[30:40]] + [
        (f"b.{ending}", x) for x in RECORDS[20:30]
    ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_was_cut(ending, tmp_path):
    name = f"events.{ending}"
    write(tmp_path / name, RECORDS)
    source = FileSource([name], tmp_path)
    drain(source)
    write(tmp_path / name, RECORDS[:20])
    with pytest.raises(StreammixError, match=r"events\..*was cut or replaced"):
        drain(FileSource([name], tmp_path, source.position()))


def test_a_file_that_is_gone(tmp_path):
    write(tmp_path / "a.ndjson", RECORDS)
    write(tmp_path / "b.ndjson", RECORDS)
    source = FileSource(["a.ndjson", "b.ndjson"], tmp_path)
    drain(source)
    (tmp_path / "a.ndjson").unlink()
    with pytest.raises(StreammixError, match=r"a\.ndjson: was read up to \d+ and is gone; put it back"):
        FileSource(["b.ndjson"], tmp_path, source.position())


@pytest.mark.parametrize("ending", ["jsonl.gz", "csv.zst", "parquet", "arrow"])
@pytest.mark.parametrize("keep", [0.6, 0.98])
def test_a_damaged_file_is_named(ending, keep, tmp_path):
    name = f"events.{ending}"
    write(tmp_path / name, events(3000))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(StreammixError, match=rf"^{name}: "):
        drain(FileSource([name], tmp_path))


def test_only_the_declared_columns_are_read(tmp_path):
    write(tmp_path / "events.parquet", RECORDS)
    write(tmp_path / "events.arrow", RECORDS)
    found = drain(FileSource(["events.parquet", "events.arrow"], tmp_path, how=Reading(wanted={"y", "absent"})))
    assert [x for _, _, x in found] == [{"y": record["y"]} for record in RECORDS] * 2


def test_finding_files(tmp_path):
    for name in ("b.ndjson", "a.ndjson", "sub/c.ndjson", "d.csv", "odd[1].ndjson", "out.ndjson"):
        write_ndjson(tmp_path / name, [])

    def is_own(path):
        return path.name == "out.ndjson"

    assert find_files(["*.ndjson"], tmp_path, is_own) == ["a.ndjson", "b.ndjson", "odd[1].ndjson"]
    assert find_files(["d.csv", "**/*.ndjson"], tmp_path, is_own)[0] == "d.csv"
    assert os.path.join("sub", "c.ndjson") in find_files(["**/*.ndjson"], tmp_path, is_own)
    assert find_files(["odd[1].ndjson"], tmp_path) == ["odd[1].ndjson"]
    assert find_files([str(tmp_path / "a*")], tmp_path / "sub") == [str(tmp_path / "a.ndjson")]
    with pytest.raises(ConfigError, match=r"out\.ndjson is one of this run's own outputs"):
        find_files(["out.ndjson"], tmp_path, is_own)
    with pytest.raises(ConfigError, match=r"out\* matches nothing but this run's own outputs"):
        find_files(["out*"], tmp_path, is_own)
    with pytest.raises(ConfigError, match="there is no file"):
        find_files(["gone.ndjson"], tmp_path, is_own)
    (tmp_path / os.fsdecode(b"z\xff.csv")).touch()
    with pytest.raises(ConfigError, match="can't be printed"):
        find_files(["*.csv"], tmp_path)


def test_formats_by_hand(tmp_path):
    write_ndjson(tmp_path / "events.log", RECORDS)
    assert len(drain(FileSource(["events.log"], tmp_path, how=Reading(form="ndjson")))) == len(RECORDS)
    with pytest.raises(ConfigError, match="parquet files are compressed inside"):
        FileSource(["events.parquet.gz"], tmp_path)


def test_empty_files(tmp_path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.ndjson").touch()
    (tmp_path / "c.csv").write_text("x,y\n")
    source = FileSource(["a.csv", "b.ndjson", "c.csv"], tmp_path)
    assert drain(source) == []
    assert drain(FileSource(["a.csv", "b.ndjson", "c.csv"], tmp_path, source.position())) == []


def test_river_drops_the_target_and_resumes():
    from river import datasets

    source = RiverSource("Phishing", 100)
    first = source.read(40)
    rest = drain(RiverSource("Phishing", 100, source.position()), limit=33)
    expected = [x for x, _ in datasets.Phishing().take(100)]
    assert first.records + [x for _, _, x in rest] == expected
    assert [at for _, at, _ in rest] == list(range(40, 100))
    with pytest.raises(ConfigError, match="dataset is Bananas, but the checkpoint was reading Phishing"):
        RiverSource("Bananas", None, source.position())


def fed(data, **arguments):
    """Return a stdin source whose input is `data`."""
    descriptor = os.memfd_create("stdin")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return StdinSource(descriptor=descriptor, **arguments)


def test_stdin_goes_on_with_what_it_is_given():
    first = fed(b'{"a": 1}\n{"a": 2}')
    assert [x["a"] for _, _, x in drain(first)] == [1, 2]
    second = fed(b'{"a": 3}\n', position=first.position())
    assert drain(second) == [("stdin", 17, {"a": 3})]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_stdin_replayed_skips_what_it_knows(form):
    data = b'{"a": 1}\n{"a": 2}\n{"a": 3}\n' if form == "ndjson" else b"a\n1\n2\n3\n"
    first = fed(data, form=form, replay=True)
    first.read(2)
    again = fed(data, form=form, replay=True, position=first.position())
    assert [x["a"] for _, _, x in drain(again)] == [3]
    short = fed(data[:4], form=form, replay=True, position=first.position())
    with pytest.raises(StreammixError, match="earlier runs have read"):
        drain(short)


def test_stdin_says_when_there_is_nothing_yet():
    read, write_end = os.pipe()
    source = StdinSource(descriptor=read)
    os.write(write_end, b'{"a": 1}\n{"a"')
    assert decode_json(source.read(10)).records == [{"a": 1}]
    assert len(source.read(10)) == 0
    os.write(write_end, b": 2}\n")
    assert decode_json(source.read(10)).records == [{"a": 2}]
    os.close(write_end)
    assert source.read(10) is None
    os.close(read)


def test_offsets_are_integers(tmp_path):
    write(tmp_path / "events.csv", RECORDS)
    source = FileSource(["events.csv"], tmp_path)
    assert source.read(5).offsets.dtype == np.int64
    source.close()


def test_stdin_remembers_what_a_column_holds():
    first = fed(b"code,n\n0001,5\nab,6\n", form="csv", infers=True)
    assert [x for _, _, x in drain(first)] == [{"code": "0001", "n": 5}, {"code": "ab", "n": 6}]
    second = fed(b"code,n\n17,07\n", form="csv", infers=True, position=first.position())
    assert [x for _, _, x in drain(second)] == [{"code": "17", "n": 7}]
