"""Files that are still being written: growing, joined by others, rotated, taken away."""

import gzip
import json
import os
from functools import partial

import pytest

from streammix.pipeline.decode import decode_json
from streammix.pipeline.sources import follow
from streammix.pipeline.sources.file import find_files
from streammix.pipeline.sources.follow import FollowSource
from streammix.pipeline.sources.opening import Reading


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(follow, "PAUSE", 0.0)


def line(n):
    return json.dumps({"n": n}).encode() + b"\n"


@pytest.fixture
def following(tmp_path):
    """Return what makes sources of the files that a pattern matches."""
    opened = []

    def make(pattern, position=None):
        find = partial(find_files, [pattern], tmp_path, may_lack=True)
        opened.append(FollowSource(find, tmp_path, position, Reading(form="ndjson", holds="all")))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def drain(source, limit=7):
    """Return (source, n) of what is there now: until two reads in a row find nothing."""
    found, idle = [], 0
    while idle < 2:
        source._next_look = 0.0
        batch = decode_json(source.read(limit))
        idle = 0 if len(batch) else idle + 1
        assert not batch.refused
        found += [(batch.source, record["n"]) for record in batch.records]
    return found


def append(path, *numbers):
    with open(path, "ab") as file:
        for n in numbers:
            file.write(line(n))


def numbers(found):
    return [n for _, n in found]


def test_files_grow_and_others_join_them(tmp_path, following):
    source = following("*.ndjson")
    assert drain(source) == []
    append(tmp_path / "b.ndjson", *range(20))
    assert numbers(drain(source)) == list(range(20))
    append(tmp_path / "b.ndjson", 20)
    append(tmp_path / "a.ndjson", 30, 31)
    append(tmp_path / "c.ndjson", 40)
    assert sorted(numbers(drain(source))) == [20, 30, 31, 40]
    again = following("*.ndjson", position=source.position())
    assert drain(again) == []
    append(tmp_path / "a.ndjson", 32)
    assert drain(again) == [("a.ndjson", 32)]


def test_what_is_there_is_read_in_the_order_of_names(tmp_path, following):
    for name in ("c", "a", "b"):
        append(tmp_path / f"{name}.ndjson", *(f"{name}{i}" for i in range(10)))
    whole = numbers(drain(following("*.ndjson")))
    assert whole == [f"{name}{i}" for name in "abc" for i in range(10)]
    position, found = None, []
    for _ in range(15):  # resumed after every two records
        source = following("*.ndjson", position=position)
        found += [record["n"] for record in decode_json(source.read(2)).records]
        position = json.loads(json.dumps(source.position()))
        source.close()
    assert found == whole


def test_what_comes_while_the_directory_is_looked_at_keeps_its_order(tmp_path, following):
    source = following("*.ndjson")
    append(tmp_path / "a.ndjson", 1)
    assert numbers(drain(source)) == [1]
    find = source._find

    def writing_meanwhile():
        append(tmp_path / "a.ndjson", 2)
        append(tmp_path / "b.ndjson", 3)
        source._find = find
        return find()

    source._find = writing_meanwhile
    assert numbers(drain(source)) == [2, 3]


def test_a_rotation_between_a_look_and_the_opening(tmp_path, following):
    append(tmp_path / "a.ndjson", *range(10))
    append(tmp_path / "app.ndjson", *range(10, 20))
    source = following("a*.ndjson*")
    assert len(source.read(5)) == 5  # both are found, one is open
    (tmp_path / "app.ndjson").rename(tmp_path / "app.ndjson.1")
    append(tmp_path / "app.ndjson", *range(20, 40))
    found = drain(source)
    assert sorted(numbers(found)) == list(range(5, 40))
    assert [n for name, n in found if name == "app.ndjson"] == list(range(10, 20))
    assert [n for name, n in found if name == "app.ndjson#2"] == list(range(20, 40))


def test_a_second_name_of_a_file_is_passed_over(tmp_path, following):
    append(tmp_path / "m.ndjson", 1, 2)
    source = following("*.ndjson")
    assert drain(source) == [("m.ndjson", 1), ("m.ndjson", 2)]
    for other in ("z.ndjson", "a.ndjson"):
        (tmp_path / other).hardlink_to(tmp_path / "m.ndjson")
        assert drain(source) == []
    append(tmp_path / "a.ndjson", 3)
    again = following("*.ndjson", position=json.loads(json.dumps(source.position())))
    for each in (source, again):
        assert drain(each) == [("m.ndjson", 3)]
        assert list(each.position()["files"]) == ["m.ndjson"]
    assert numbers(drain(following("*.ndjson"))) == [1, 2, 3]


def test_a_rotation_by_link_and_unlink(tmp_path, following):
    path = tmp_path / "app.ndjson"
    append(path, 1)
    source = following("app*")
    found = drain(source)
    (tmp_path / "app.1").hardlink_to(path)
    append(path, 2)
    found += drain(source)
    path.unlink()
    found += drain(source)
    append(tmp_path / "app.1", 3)
    append(path, 4)
    found += drain(source)
    assert found == [("app.ndjson", 1), ("app.ndjson", 2), ("app.ndjson", 3), ("app.ndjson#2", 4)]


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_rotation_while_the_directory_is_looked_at(tmp_path, following, caplog, is_begun):
    source = following("app.ndjson*")
    append(tmp_path / "app.ndjson", 1, 2)
    found = drain(source) if is_begun else []
    position = source.position()
    source = following("app.ndjson*", position)
    append(tmp_path / "app.ndjson", 3)
    head = source._head

    def rotating(*arguments):
        (tmp_path / "app.ndjson").rename(tmp_path / "app.ndjson.1")
        append(tmp_path / "app.ndjson", 4)
        source._head = head
        return head(*arguments)

    source._head = rotating
    found += drain(source)
    assert sorted(numbers(found)) == [1, 2, 3, 4]
    assert not caplog.records


def test_a_line_is_read_once_it_is_whole(tmp_path, following):
    path = tmp_path / "a.ndjson"
    path.write_bytes(line(1) + b'{"n": 2}')
    source = following("*.ndjson")
    assert numbers(drain(source)) == [1]
    with open(path, "ab") as file:
        file.write(b"\n" + line(3))
    assert numbers(drain(source)) == [2, 3]


@pytest.mark.parametrize("is_resumed", [False, True])
@pytest.mark.parametrize("pattern", ["app.ndjson", "app.ndjson*"])
def test_rotation_by_renaming(tmp_path, following, pattern, is_resumed):
    source = following(pattern)
    path = tmp_path / "app.ndjson"
    append(path, 1, 2)
    found = drain(source)
    for turn in range(3):
        append(path, 10 * turn + 3)  # written after the last look, before the renaming
        for number in (2, 1):
            if (old := tmp_path / f"app.ndjson.{number}").exists():
                old.rename(tmp_path / f"app.ndjson.{number + 1}")
        path.rename(tmp_path / "app.ndjson.1")
        append(tmp_path / "app.ndjson.1", 10 * turn + 4)  # the writer still has it open
        append(path, 10 * turn + 5, 10 * turn + 6)
        if is_resumed:
            source.close()
            source = following(pattern, position=source.position())
        found += drain(source)
    assert numbers(found) == [1, 2, *(10 * turn + n for turn in range(3) for n in (3, 4, 5, 6))]
    assert len({name for name, _ in found}) == 4


def test_a_file_that_is_cut_back_is_read_from_its_beginning(tmp_path, following, caplog):
    path = tmp_path / "app.ndjson"
    append(path, *range(5))
    source = following("app.ndjson")
    assert numbers(drain(source)) == list(range(5))
    path.write_bytes(line(100))
    assert drain(source) == [("app.ndjson#2", 100)]
    assert "app.ndjson was cut back or overwritten; it is read from its beginning" in caplog.text
    path.write_bytes(b"".join(map(line, range(200, 220))))  # longer than what was read, but another text
    assert numbers(drain(source)) == list(range(200, 220))
    assert drain(source) == []


def test_a_file_that_is_taken_away_and_put_back(tmp_path, following):
    append(tmp_path / "a.ndjson", 1, 2)
    source = following("*.ndjson")
    assert numbers(drain(source)) == [1, 2]
    (tmp_path / "away").mkdir()
    (tmp_path / "a.ndjson").rename(tmp_path / "away" / "a.ndjson")
    assert drain(source) == []
    again = following("*.ndjson", position=source.position())
    assert drain(again) == []
    data = (tmp_path / "away" / "a.ndjson").read_bytes()
    (tmp_path / "a.ndjson").write_bytes(data + line(3))  # a copy: another inode
    assert drain(again) == [("a.ndjson", 3)]


def test_another_file_under_the_name_of_one_that_was_removed(tmp_path, following):
    append(tmp_path / "a.ndjson", *range(5))
    source = following("*.ndjson")
    drain(source)
    os.unlink(tmp_path / "a.ndjson")
    append(tmp_path / "a.ndjson", *range(100, 110))
    assert drain(source) == [("a.ndjson#2", n) for n in range(100, 110)]


def test_a_file_with_the_inode_of_one_that_is_gone(tmp_path, following, caplog):
    append(tmp_path / "app.ndjson", *range(100))
    mark = {"name": "app.ndjson.7", "offset": 1000, "size": 1000, "head": [256, 1]}
    mark["inode"] = (tmp_path / "app.ndjson").stat().st_ino
    gone = {"app.ndjson": mark, "other.ndjson": mark | {"name": "other.ndjson.3"}}
    source = following("app.ndjson*", position={"files": gone})
    assert drain(source) == [("app.ndjson#2", n) for n in range(100)]
    assert drain(source) == []
    assert caplog.text == ""


def test_compressed_files_are_read_when_they_are_whole(tmp_path, following, caplog):
    data = gzip.compress(b"".join(map(line, range(50))))
    (tmp_path / "a.ndjson.gz").write_bytes(data[:-20])
    source = following("*.gz")
    found = drain(source)
    (tmp_path / "a.ndjson.gz").write_bytes(data)
    assert numbers(found + drain(source)) == list(range(50))
    assert drain(source) == []
