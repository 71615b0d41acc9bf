"""Where a run may not read or write: URLs, endings that would lie, and places that feed themselves."""

import pytest
from pipeline_tools import call, write_ndjson

SOURCE = '[source]\nkind = "file"\npath = "events.ndjson"\n'
KAFKA = '[source]\nkind = "kafka"\nbrokers = "b1:9092,localhost:9093"\ntopic = ["d", "e"]\n'
REDIS = '[source]\nkind = "redis"\nurl = "redis://localhost/0"\nstream = "e"\n'
NATS = '[source]\nkind = "nats"\nservers = "nats://127.0.0.1:1"\n'

LOCAL = "is a URL; a path on this machine is expected here"
ONE = "are one place"
WRONG = {
    "a directory of rows": (
        f'{SOURCE}[sink]\nkind = "parquet"\npath = "s3://b/rows"\n',
        f"[[sink]] number 1 path: 's3://b/rows' {LOCAL}",
    ),
    "a file of rows": (
        f'{SOURCE}[[sink]]\nkind = "stdout"\n[[sink]]\nkind = "ndjson"\npath = "file:///rows"\n',
        f"[[sink]] number 2 path: 'file:///rows' {LOCAL}",
    ),
    "dead letters": (f'{SOURCE}[dead_letter]\npath = "gs://b/x"\n', f"[dead_letter] path: 'gs://b/x' {LOCAL}"),
    "checkpoints with one slash": (
        f'{SOURCE}[checkpoint]\ndirectory = "s3:/b/state"\n',
        f"[checkpoint] directory: 's3:/b/state' {LOCAL}",
    ),
    "checkpoints elsewhere": (
        f'{SOURCE}[checkpoint]\ndirectory = "gs://b/state"\n',
        "gs://b/state: checkpoints on object storage lie at s3://bucket/prefix",
    ),
    "events": ('[source]\nkind = "file"\npath = ["events.ndjson", "s3://b/*.ndjson"]\n', f"'s3://b/*.ndjson' {LOCAL}"),
    "rows that are not compressed": (
        f'{SOURCE}[sink]\nkind = "ndjson"\npath = "rows.ndjson.gz"\n',
        "[[sink]] number 1 path: rows.ndjson.gz would hold plain text; leave .gz out",
    ),
    "dead letters that are not compressed": (
        f'{SOURCE}[dead_letter]\npath = "x.ZST"\n',
        "[dead_letter] path: x.ZST would hold plain text; leave .zst out",
    ),
    "dead letters in two places": (
        f'{SOURCE}[dead_letter]\npath = "x"\ntopic = "y"\n',
        "[dead_letter] has a path and a topic: refused records go to one of them",
    ),
    "brokers of no topic": (
        f'{SOURCE}[dead_letter]\nbrokers = "b"\n',
        "[dead_letter] brokers goes with a topic, which is missing",
    ),
    "settings of no topic": (
        f'{SOURCE}[dead_letter]\npath = "x"\nsettings = {{ acks = "all" }}\n',
        "[dead_letter] settings goes with a topic, which is missing",
    ),
    "dead letters without a name": (
        f'{SOURCE}[dead_letter]\npath = ""\n',
        "[dead_letter] path: expected str of length",
    ),
    "a topic twice": (KAFKA.replace('"d"', '"e"'), "[source] topic: 'e' stands twice"),
    "a topic that can't be": (KAFKA.replace('"d"', '"a b!"'), "[source] topic[0]: expected str matching regex"),
    "a topic of rows that can't be": (
        f'{SOURCE}[sink]\nkind = "kafka"\nbrokers = "b"\ntopic = "a/b"\n',
        "[sink] topic: expected str matching regex",
    ),
    "a stream of NATS that can't be": (
        f'{NATS}stream = "bad name.*"\n',
        "[source] stream: expected str matching regex",
    ),
    "rows into the source's topic": (
        f'{KAFKA}[sink]\nkind = "kafka"\nbrokers = "127.0.0.1:9093"\ntopic = "e"\n',
        f"[source] topic and [[sink]] number 1 topic {ONE}, kafka://127.0.0.1:9093/e",
    ),
    "rows into the source's topic, without a port": (
        f'{KAFKA}[sink]\nkind = "kafka"\nbrokers = "B1"\ntopic = "d"\n',
        f"[source] topic and [[sink]] number 1 topic {ONE}, kafka://b1:9092/d",
    ),
    "dead letters into the source's topic": (
        f'{KAFKA}[dead_letter]\ntopic = "d"\n',
        f"[source] topic and [dead_letter] topic {ONE}, kafka://",
    ),
    "dead letters among the rows": (
        f'{SOURCE}[sink]\nkind = "kafka"\nbrokers = "a,b"\ntopic = "t"\n[dead_letter]\ntopic = "t"\nbrokers = "b"\n',
        f"[[sink]] number 1 topic and [dead_letter] topic {ONE}, kafka://b:9092/t",
    ),
    "rows into the source's stream": (
        f'{REDIS}[sink]\nkind = "redis"\nurl = "redis://user@127.0.0.1:6379"\nstream = "e"\n',
        f"[source] stream and [[sink]] number 1 stream {ONE}, redis://127.0.0.1:6379/0/e",
    ),
    "rows into the source's stream, by a socket": (
        f'{REDIS}[sink]\nkind = "redis"\nurl = "unix:///r?db=0"\nstream = "e"\n'.replace(
            "redis://localhost/0", "unix:///r"
        ),
        f"[source] stream and [[sink]] number 1 stream {ONE}, unix:///r/0/e",
    ),
    "one stream twice": (
        f'{SOURCE}[[sink]]\nkind = "redis"\nurl = "redis://a"\nstream = "s"\n'
        '[[sink]]\nkind = "redis"\nurl = "rediss://A:6379/0"\nstream = "s"\n',
        f"[[sink]] number 1 stream and [[sink]] number 2 stream {ONE}, redis://a:6379/0/s",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_place_is_one_sentence_and_status_2(case, tmp_path):
    text, words = WRONG[case]
    write_ndjson(tmp_path / "events.ndjson", [{"x": 1.0}])
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    status, out, said = call("run", path)
    assert (status, out) == (2, "")
    assert said.startswith(f"error: {path}: ")
    assert words in said
    assert said.count("\n") == 1
    assert sorted(found.name for found in tmp_path.iterdir()) == ["events.ndjson", "pipeline.toml"]


def test_scores_are_read_and_written_on_this_machine(place):
    assert call("run", place / "pipeline.toml")[0] == 0
    for arguments in (("s3://b/events.ndjson",), (place / "events" / "a.ndjson", "-o", "s3://b/rows.parquet")):
        status, _, said = call("score", place / "state", *arguments)
        assert (status, said.count("\n"), LOCAL in said) == (2, 1, True)
