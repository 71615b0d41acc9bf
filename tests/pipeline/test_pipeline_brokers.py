"""Kafka, NATS and Redis, real servers: each record once, whatever is killed."""

import json
import random
import signal
import uuid

from pipeline_tools import events, lines_of, run, scored_parquet, state_of, write_config
from test_pipeline_crash import crash

PARQUET = '[[sink]]\nkind = "parquet"\npath = "scored"\n'
BAD = [b"{", None, b'{"x": "text"}', b" ", b'{"x": "' + b"a" * 3000 + b'"}', b'{"x": 1e999}', b'{"x": "\xff"}']


def texts(n, seed=0):
    """Return n records as JSON, some bad ones among them."""
    values = [json.dumps(record).encode() for record in events(n, seed)]
    for i, value in enumerate(BAD):
        values.insert(37 * (i + 1), value)
    return values


def named():
    return f"events-{uuid.uuid4().hex[:12]}"


def outcome(broker, directory):
    """Return all that a run leaves behind."""
    state = state_of(directory / "state")
    del state["outputs"]  # where the run's own name stands
    return {
        "state": state,
        "parquet": scored_parquet(directory / "scored").combine_chunks(),
        "refused": (directory / "state" / "_dead-letter.ndjson").read_bytes(),
        "sent": broker.sent(f"out-{directory.name}") if broker.sink("x") else None,
    }


def test_killed_at_every_kind_of_step(broker, tmp_path):
    n, name = 600, named()
    broker.fill(name, texts(n))
    rng = random.Random(5)
    template = tmp_path / f"{broker.kind}-{uuid.uuid4().hex[:8]}"
    template.mkdir()
    source = broker.source(name, "stop_at_end = true\nmax_record_bytes = 2000")
    write_config(template, source, PARQUET + broker.sink("out-DIRECTORY"), every=150)
    cases = [[], *([rng.randrange(1, 80) for _ in range(5)] for _ in range(3))]
    if broker.kind == "kafka":
        for i in range(len(cases)):
            broker.make(f"out-{template.name}-{i}", 2)
    results = crash(template, cases)

    whole = outcome(broker, template.with_name(f"{template.name}-0"))
    positions = [(p["source"], p["offset"]) for p in whole["parquet"]["position"].to_pylist()]
    assert len(set(positions)) == len(positions) == n
    if whole["sent"] is not None:
        assert sorted(str(row) for row in whole["sent"]) == sorted(str(row) for row in whole["parquet"].to_pylist())
    killed = 0
    for i, result in enumerate(results):
        directory = template.with_name(f"{template.name}-{i}")
        said = (directory / "log.txt").read_text()
        assert result["statuses"][-1] == 0, said
        assert set(result["statuses"][:-1]) <= {-signal.SIGKILL, 0}, said
        assert outcome(broker, directory) == whole, cases[i]
        killed += result["statuses"].count(-signal.SIGKILL)
    assert killed >= 10


def test_what_holds_no_record_goes_to_the_dead_letters(broker, tmp_path):
    name = named()
    broker.fill(name, [b'{"x": 1.0, "y": 1.0}', *BAD])
    write_config(tmp_path, broker.source(name, "stop_at_end = true\nmax_record_bytes = 2000"))
    assert run(tmp_path)[0] == 0
    letters = lines_of(tmp_path / "state" / "_dead-letter.ndjson")
    assert len(letters) == len(BAD)
    assert len({json.dumps(letter["position"]) for letter in letters}) == len(BAD)
    reasons = " | ".join(letter["reason"] for letter in letters)
    for words in ("cut short", "field 'x'", "longest allowed is 2000", "out of range", "not UTF-8", "blank"):
        assert words in reasons
    assert "tombstone" in reasons or "without the field 'data'" in reasons
