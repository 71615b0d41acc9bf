"""Two hundred runs killed with SIGKILL, for each kind of source: ``python killing.py KIND [KILLS]``.

KIND is redis, nats, kafka, file (finite, as they stand) or follow (files that are written meanwhile). A run is killed
at random instants, or just before or after a random step, some times over, then goes to its end; state, scores and dead
letters have to be those of a run that nobody disturbed, and each record's score has to stand once in every output.
Prints what was done, as JSON.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from brokers import KafkaTopics, NatsStreams, RedisStreams
from pipeline_tools import count_lines, crash, events, lines_of, scored_parquet, state_of, write_config, write_ndjson

PARQUET = '[[sink]]\nkind = "parquet"\npath = "scored"\n'
NDJSON = '[[sink]]\nkind = "ndjson"\npath = "scored.ndjson"\n'
BAD = [b"{", None, b'{"x": "text"}', b" ", b'{"x": "' + b"a" * 3000 + b'"}', b'{"x": 1e999}', b'{"x": "\xff"}']
LINES_BAD = [value for value in BAD if value and value.strip()]  # a blank line is no record


def texts(n, seed=0):
    """Return n records as JSON, some bad ones among them."""
    values = [json.dumps(record).encode() for record in events(n, seed)]
    for i, value in enumerate(BAD):
        values.insert(37 * (i + 1), value)
    return values


class Files:
    """Files of lines, in the place of a broker."""

    kind = "file"

    def fill(self, name, values):
        """Write three files."""
        Path(name).mkdir(parents=True)
        lines = [value + b"\n" for value in values if value and value.strip()]
        third = len(lines) // 3
        for i, part in enumerate((lines[:third], lines[third : 2 * third], lines[2 * third :])):
            (Path(name) / f"{i}.ndjson").write_bytes(b"".join(part))

    def source(self, name, more=""):
        """Return the section of the source."""
        return f'kind = "file"\npath = "{name}/*.ndjson"\nmax_record_bytes = 2000'

    def sink(self, name):
        """Return the section of a sink of its own kind, if there is one."""
        return ""


def outcome(broker, directory):
    """Return all that a run leaves behind."""
    state = state_of(directory / "state")
    del state["outputs"]  # where the run's own name stands
    return {
        "state": state,
        "parquet": scored_parquet(directory / "scored").combine_chunks(),
        "ndjson": lines_of(directory / "scored.ndjson"),
        "refused": (directory / "state" / "_dead-letter.ndjson").read_bytes(),
        "sent": broker.sent(f"out-{directory.name}") if broker.sink("x") else None,
    }


def kill(broker, directory, n, cases, every):
    """Make runs over n records, kill them as the cases say, compare each with one that is not; return the kills.

    A case's whole numbers are steps; other numbers are times, as shares of what the run takes that is not killed.
    """
    name = f"events-{uuid.uuid4().hex[:12]}"
    if broker.kind == "file":
        name = str(directory / name)
    broker.fill(name, texts(n))
    whole_place, killed_place = (directory / f"{name}-{uuid.uuid4().hex[:8]}" for name in ("whole", "killed"))
    source = broker.source(name, "stop_at_end = true\nmax_record_bytes = 2000")
    for place, runs in ((whole_place, 1), (killed_place, len(cases))):
        place.mkdir()
        write_config(place, source, PARQUET + NDJSON + broker.sink("out-DIRECTORY"), every=every)
        if broker.kind == "kafka":
            for i in range(runs):
                broker.make(f"out-{place.name}-{i}", 2)
    (undisturbed,) = crash(whole_place, [[]], timeout=3600)
    seconds = undisturbed["seconds"]
    cases = [[kill * seconds if isinstance(kill, float) else kill for kill in kills] for kills in cases]
    results = crash(killed_place, cases, timeout=36_000)

    whole = outcome(broker, whole_place.with_name(f"{whole_place.name}-0"))
    positions = [(p["source"], p["offset"]) for p in whole["parquet"]["position"].to_pylist()]
    assert len(set(positions)) == len(positions) == n
    assert whole["ndjson"] == whole["parquet"].to_pylist()
    if whole["sent"] is not None:
        assert sorted(map(str, whole["sent"])) == sorted(map(str, whole["ndjson"]))
    kills = 0
    for i, result in enumerate(results):
        place = killed_place.with_name(f"{killed_place.name}-{i}")
        said = (place / "log.txt").read_text()
        assert result["statuses"][-1] == 0, said
        assert set(result["statuses"][:-1]) <= {-signal.SIGKILL, 0}, said
        assert outcome(broker, place) == whole, (cases[i], said)
        kills += result["statuses"].count(-signal.SIGKILL)
    return kills


def follow(directory, kills, rng):
    """Kill runs that follow files while those grow and are rotated; return the number of kills."""
    done, episode = 0, 0
    while done < kills:
        place = directory / f"follow-{episode}"
        episode += 1
        records = events(4000, seed=episode)
        log = place / "events" / "app.ndjson"
        config = write_config(place_made(place), FOLLOW, NDJSON, every=100)
        from_here = 0
        with open(place / "log.txt", "ab") as said:
            while from_here < len(records):
                process = subprocess.Popen([sys.executable, "-c", PROGRAM, "run", config], stdout=said, stderr=said)
                deadline = time.monotonic() + rng.uniform(0.5, 4.0)
                while time.monotonic() < deadline and from_here < len(records):
                    write_ndjson(log, records[from_here : from_here + 20], mode="a")
                    from_here += 20
                    if rng.random() < 0.05:
                        log.rename(log.with_name(f"app.ndjson.{time.time_ns()}"))
                    time.sleep(0.02)
                process.kill()
                done += process.wait() == -signal.SIGKILL
            process = subprocess.Popen([sys.executable, "-c", PROGRAM, "run", config], stdout=said, stderr=said)
            deadline = time.monotonic() + 120
            while count_lines(place / "scored.ndjson") < len(records):
                assert time.monotonic() < deadline, (place / "log.txt").read_text()
                time.sleep(0.1)
            process.terminate()
            assert process.wait() == 128 + signal.SIGTERM
        ours = lines_of(place / "scored.ndjson")
        before = state_of(place / "state")
        order = in_order(place, ours, json.loads(before["positions"][0].as_py())["source"]["files"])
        assert sorted(order) == sorted(json.dumps(record, ensure_ascii=False).encode() for record in records)
        whole = directory / f"whole-{episode}"
        place_made(whole)
        (whole / "events" / "app.ndjson").write_bytes(b"".join(line + b"\n" for line in order))
        write_config(whole, 'kind = "file"\npath = "events/app.ndjson"', NDJSON, every=100)
        subprocess.run([sys.executable, "-c", PROGRAM, "run", whole / "pipeline.toml"], check=True, capture_output=True)
        after, theirs = state_of(whole / "state"), lines_of(whole / "scored.ndjson")
        assert [row["score"] for row in ours] == [row["score"] for row in theirs]
        assert {name for name in after if before[name] != after[name]} <= {"positions", "outputs"}
        print(f"follow: {done} kills, nothing lost, nothing twice", file=sys.stderr, flush=True)
    return done


FOLLOW = 'kind = "file"\npath = "events/app.ndjson*"\nformat = "ndjson"\nfollow = true'
PROGRAM = "from streammix.cli import main; main()"


def in_order(place, rows, files):
    """Return the lines of the events in the order in which they were learnt: where several files are new, by name."""
    texts = {label: (place / mark["name"]).read_bytes() for label, mark in files.items()}
    at = [(row["position"]["source"], row["position"]["offset"]) for row in rows]
    return [texts[label][offset : texts[label].index(b"\n", offset)] for label, offset in at]


def place_made(place):
    """Make a directory for a run, with one for its events."""
    (place / "events").mkdir(parents=True)
    return place


def main():
    """Do as the module says."""
    kind, wanted = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    rng = random.Random(f"{kind}{wanted}")
    kinds = {"redis": RedisStreams, "nats": NatsStreams, "kafka": KafkaTopics, "file": lambda _: Files()}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        done = 0
        if kind == "follow":
            done = follow(directory, wanted, rng)
        else:
            broker = kinds[kind](directory)
            while done < wanted:
                steps = [[rng.randrange(1, 200) for _ in range(6)] for _ in range(4)]
                times = [[rng.uniform(0.0, 0.8) for _ in range(6)] for _ in range(4)]
                done += kill(broker, directory, 2000, steps + times, every=200)
                print(f"{kind}: {done} kills, nothing lost, nothing twice", file=sys.stderr, flush=True)
            if kind in ("redis", "nats"):
                broker.close()
    print(json.dumps({"source": kind, "kills": done, "seconds": round(time.monotonic() - begin)}))


if __name__ == "__main__":
    main()
