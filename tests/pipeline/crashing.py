"""Runs that are killed with SIGKILL just before or after the n-th step that touches disk, source or model.

``python crashing.py TEMPLATE CASES``: CASES is a JSON list of lists of numbers. For each list the directory
TEMPLATE is copied to TEMPLATE-0, TEMPLATE-1, ...; in the copy ``streammix run pipeline.toml`` is killed at
step n (or after n seconds, where n has a decimal point) for each n in turn, and then run to its end. Prints
the exit statuses, and how many steps and seconds the last run of each list took, as JSON.

Each run is a process of its own, forked from one that has imported all, so that it starts in no time.
"""

import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import redirect_stderr, suppress
from functools import partial
from pathlib import Path

STEPS = 0
LOCK = threading.Lock()


def step(function, kill_at):
    """Make a function count as two steps: before and after it."""

    def counted(*arguments, **named):
        tick(kill_at)
        result = function(*arguments, **named)
        tick(kill_at)
        return result

    return counted


def tick(kill_at):
    """Count a step, and die at the one that was asked for."""
    global STEPS
    with LOCK:  # checkpoints are written in a thread of their own
        STEPS += 1
        if kill_at == STEPS:
            os.kill(os.getpid(), signal.SIGKILL)


def run(directory, kill_at):
    """Run the pipeline in a child process; return its exit status (or -signal), its steps and its seconds."""
    begin = time.monotonic()
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        log = os.open(directory / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(in_child(directory, kill_at, write))
    os.close(write)
    if isinstance(kill_at, float):  # seconds from now
        time.sleep(kill_at)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    steps = os.read(read, 100)
    os.close(read)
    return os.waitstatus_to_exitcode(status), int(steps or 0), time.monotonic() - begin


def brokers():
    """Return what counts in sources and sinks on brokers, where their clients are installed."""
    found = []
    with suppress(ModuleNotFoundError):
        from streammix.pipeline.sinks.kafka import KafkaChannel
        from streammix.pipeline.sources.kafka import KafkaSource

        found += [(KafkaChannel, ("send",)), (KafkaSource, ("acknowledge",))]
    with suppress(ModuleNotFoundError):
        from streammix.pipeline.sinks.redis import RedisChannel

        found += [(RedisChannel, ("send",))]
    return found


def in_child(directory, kill_at, write):
    """Run the command line with every step counted."""
    from repeating import Repeating

    from streammix import cli
    from streammix.pipeline import commands as runs
    from streammix.pipeline import runner, talk
    from streammix.pipeline.sinks import ndjson, outbox, parquet
    from streammix.pipeline.sources import file
    from streammix.pipeline.sources.once import Once

    os.fsync = lambda descriptor: None  # what is written outlives its process: only a machine takes it along
    for owner, names in (
        (os, ("fsync", "rename", "replace", "truncate", "unlink")),
        (runner.Pipeline, ("_read", "_learn", "checkpoint")),
        (outbox.Posted, ("flush", "publish")),
        (ndjson.GrowingFile, ("write", "flush_beside")),
        (parquet, ("_publish",)),
        (parquet.ParquetSink, ("write", "flush_beside")),
        (file.FileSource, ("read",)),
        *brokers(),
    ):
        for name in names:
            setattr(owner, name, step(getattr(owner, name), kill_at))
    config = directory / "pipeline.toml"
    status = 0
    if 'kind = "own"' in config.read_text(encoding="utf-8"):
        talk.set_up(verbose=False)
        runs.run(config, source=Once.over(partial(Repeating, directory)))
    else:
        status = cli.call(["run", str(config)])
    os.write(write, str(STEPS).encode())
    return status


def import_all():
    """Import what a run needs: by one that ends at once."""
    from streammix import cli
    from streammix.pipeline.light import leave_out_pandas

    leave_out_pandas()
    brokers()
    with redirect_stderr(io.StringIO()):
        cli.call(["run", "nowhere.toml"])


def main():
    """Do as the module says."""
    import_all()
    template = Path(sys.argv[1])
    results = []
    for i, kills in enumerate(json.loads(sys.argv[2])):
        directory = template.with_name(f"{template.name}-{i}")
        shutil.copytree(template, directory)
        config = directory / "pipeline.toml"
        config.write_text(config.read_text(encoding="utf-8").replace("DIRECTORY", directory.name), encoding="utf-8")
        runs = [run(directory, kill_at) for kill_at in [*kills, 0]]
        statuses, steps, seconds = zip(*runs, strict=True)
        results.append({"statuses": statuses, "steps": steps[-1], "seconds": seconds[-1]})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
