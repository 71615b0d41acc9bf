"""Kafka, NATS and Redis, real servers: each record once, whatever is killed."""

import json
import random
import uuid

from killing import BAD, kill
from pipeline_tools import lines_of, run, write_config


def test_killed_at_every_kind_of_step(broker, tmp_path):
    rng = random.Random(5)
    cases = [[rng.randrange(1, 60) for _ in range(4)] for _ in range(2)]
    assert kill(broker, tmp_path, 500, cases, every=125) >= 5


def test_what_holds_no_record_goes_to_the_dead_letters(broker, tmp_path):
    name = f"events-{uuid.uuid4().hex[:12]}"
    broker.fill(name, [b'{"x": 1.0, "y": 1.0}', *BAD])
    write_config(tmp_path, broker.source(name, "stop_at_end = true\nmax_record_bytes = 2000"))
    assert run(tmp_path)[0] == 0
    letters = lines_of(tmp_path / "state" / "_dead-letter.ndjson")
    assert len(letters) == len(BAD)
    assert len({json.dumps(letter["position"]) for letter in letters}) == len(BAD)
    reasons = " | ".join(letter["reason"] for letter in letters)
    for words in ("cut short", "field 'x'", "longest allowed is 2000", "1e999", "not UTF-8", "blank"):
        assert words in reasons
    assert "tombstone" in reasons or "without the field 'data'" in reasons
