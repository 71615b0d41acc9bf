"""The pipeline from NDJSON to scored Parquet with checkpoints, against decoding the same file and nothing else."""

import contextlib
import io
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import data
from benchmarks.harness import Budget, Row, Side, compare, measure, repeat

__all__ = ["BENCHMARKS", "CONFIG", "fields_of", "normals", "run"]

Benchmark = Callable[[Budget], list[Row]]

BLOCK = 1 << 20
_DECODER = msgspec.json.Decoder(dict[str, Any])
CONFIG = """
[source]
{source}
[model]
n_components = 5
batch_size = {batch_size}
warm_up = 1000
seed = 7
[model.fields]
{fields}
[checkpoint]
directory = "out/state"
every_records = 10_000
[[sink]]
kind = "parquet"
path = "out/scored"
"""
_FILE = 'kind = "file"\npath = "events.ndjson"'


def normals(n: int = 10_000) -> list[data.Record]:
    """Return the records of ten Normal fields that pipelines are measured on."""
    return data.records(data.truth(10, 5, n).rows)


def fields_of(families: dict[str, str]) -> str:
    """Return fields as lines of a configuration."""
    return "\n".join(f'{name} = "{family}"' for name, family in families.items())


def _pipeline(kind: str, batch_size: int, clock: Callable[[], float], budget: Budget) -> list[Row]:
    n, first = (20_000, 2_000) if budget.is_quick else (600_000, 2_000)
    if kind == "mixed":
        drawn = data.mixed_records(5, 10_000)
        families = {name: type(family).__name__ for name, family in data.MIXED.items()}
    else:
        drawn = normals()
        families = dict.fromkeys(drawn[0], "Normal")
    with tempfile.TemporaryDirectory() as name:
        whole, start = Path(name) / "whole", Path(name) / "start"
        for directory, some in ((whole, n), (start, first)):
            directory.mkdir()
            _write(directory / "events.ndjson", drawn[:some], some)
            config = CONFIG.format(source=_FILE, batch_size=batch_size, fields=fields_of(families))
            (directory / "pipeline.toml").write_text(config)
        what = "ten mixed fields" if kind == "mixed" else "10 Normal fields"
        events = whole / "events.ndjson"
        rounds = Budget(1 if budget.is_quick else 5, 0.0)
        rows = compare(
            rounds,
            f"NDJSON to scored Parquet with checkpoints, {what}, K=5, batch_size={batch_size}",
            Side("streammix run", repeat(partial(run, whole)), n),
            [
                Side("msgspec, a line at a time", repeat(partial(_decode_each, events)), n),
                Side("msgspec, a block of lines at a time", repeat(partial(_decode_blocks, events)), n),
            ],
            "speed-up",
            [0.7, 0.7],
            clock,
            note="throughput as a share of decoding's",
        )
        (costs,) = measure(rounds, [Side("start", repeat(partial(run, start)))], clock)
        begun = statistics.median(costs)
    return [each for row in rows for each in (row, _past_the_start(row, begun, n, first))]


def _past_the_start(row: Row, begun: float, n: int, first: int) -> Row:
    """What the row is without the first records, the warm-up among them, and what a run costs at all."""
    assert row.cost is not None  # for the type checker: both sides ran
    assert row.peer_cost is not None
    cost = (row.cost * n - begun) / (n - first)
    note = f"without the {begun / 1e6:.0f} ms of a run of its first {first:,} records"
    return replace(row, job=f"{row.job}: past the start", cost=cost, ratio=row.peer_cost / cost, spread=None, note=note)


def _write(path: Path, records: Sequence[data.Record], n: int) -> None:
    block = b"".join(msgspec.json.encode(x) + b"\n" for x in records)
    with open(path, "wb") as file:
        for _ in range(n // len(records)):
            file.write(block)


def run(directory: Path) -> None:
    """Run the pipeline of a directory from the beginning."""
    from streammix.pipeline import commands

    shutil.rmtree(directory / "out", ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        commands.run(directory / "pipeline.toml")


def _decode_each(path: Path) -> None:
    decode = _DECODER.decode
    with open(path, "rb") as file:
        for line in file:
            decode(line)


def _decode_blocks(path: Path) -> None:
    with open(path, "rb") as file:
        for block in _blocks(file):
            _DECODER.decode_lines(block)


def _blocks(file: Any) -> Iterator[bytes]:
    """The file in blocks that end with whole lines."""
    rest = b""
    while part := file.read(BLOCK):
        end = part.rfind(b"\n") + 1
        yield rest + part[:end]
        rest = part[end:]
    if rest:
        yield rest


def _start(budget: Budget) -> list[Row]:
    """A process of its own that learns few records: Python, numpy, pyarrow, and what a run costs at all."""
    command = [sys.executable, "-c", "from streammix.cli import main; main()", "run", "pipeline.toml"]
    times = []
    with tempfile.TemporaryDirectory() as name:
        directory, drawn = Path(name), normals(1_000)
        _write(directory / "events.ndjson", drawn, len(drawn))
        config = CONFIG.format(source=_FILE, batch_size=256, fields=fields_of(dict.fromkeys(drawn[0], "Normal")))
        (directory / "pipeline.toml").write_text(config)
        for _ in range(1 if budget.is_quick else 9):
            shutil.rmtree(directory / "out", ignore_errors=True)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, cwd=directory, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    note = f"from {min(times):.2f} to {max(times):.2f} s of processor time"
    return [
        Row(
            "streammix run of 1,000 records, 10 Normal fields, as a process",
            statistics.median(times) * 1e9,
            unit="ns",
            note=note,
        )
    ]


def _stop(number: int, what: str, budget: Budget) -> list[Row]:
    """From a signal, in the middle of a stream that never ends, to the exit with a checkpoint."""
    block = b"".join(msgspec.json.encode(x) + b"\n" for x in normals(2_000))
    times = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        fields = fields_of(dict.fromkeys(normals(1)[0], "Normal"))
        config = CONFIG.format(source='kind = "stdin"\nformat = "ndjson"', batch_size=256, fields=fields)
        (directory / "pipeline.toml").write_text(config)
        for _ in range(1 if budget.is_quick else 5):
            shutil.rmtree(directory / "out", ignore_errors=True)
            times.append(_seconds_to_stop(directory, block, number))
    cost = statistics.median(times) * 1e9
    note = f"from {min(times):.2f} to {max(times):.2f} s"
    return [Row(f"from {what} to the exit, with a checkpoint", cost, aim=2e9, unit="ns", clock="wall", note=note)]


def _seconds_to_stop(directory: Path, block: bytes, number: int) -> float:
    command = [sys.executable, "-c", "from streammix.cli import main; main()", "run", "pipeline.toml"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, **quiet) as process:
        assert process.stdin is not None
        writer = threading.Thread(target=_pour, args=(process.stdin, block))
        writer.start()
        while process.poll() is None and not list(directory.glob("out/state/*.arrow")):
            time.sleep(0.02)
        time.sleep(0.3)  # into the stream again
        if process.poll() is not None:
            raise RuntimeError(f"streammix run ended by itself, with status {process.returncode}")
        begin = time.perf_counter()
        process.send_signal(number)
        status = process.wait()
        taken = time.perf_counter() - begin
        writer.join()
    if status != 128 + number:
        raise RuntimeError(f"streammix run ended with status {status}")
    return taken


def _pour(file: Any, block: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            file.write(block)


BENCHMARKS: dict[str, Benchmark] = {
    "pipeline.normal": partial(_pipeline, "normal", 256, time.process_time),
    "pipeline.normal.wall": partial(_pipeline, "normal", 256, time.perf_counter),
    "pipeline.mixed": partial(_pipeline, "mixed", 256, time.process_time),
    "pipeline.mixed.wall": partial(_pipeline, "mixed", 256, time.perf_counter),
    "pipeline.single": partial(_pipeline, "mixed", 1, time.process_time),
    "pipeline.start": _start,
    "pipeline.sigterm": partial(_stop, signal.SIGTERM, "SIGTERM"),
    "pipeline.interrupt": partial(_stop, signal.SIGINT, "Ctrl-C"),
}
