"""The pipeline from NDJSON to scored Parquet with checkpoints, against decoding the same file and nothing else."""

import contextlib
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import data
from benchmarks.harness import Budget, Row, Side, compare, repeat

__all__ = ["BENCHMARKS"]

Benchmark = Callable[[Budget], list[Row]]

BLOCK = 1 << 20
_DECODER = msgspec.json.Decoder(dict[str, Any])
_CONFIG = """
[source]
kind = "file"
path = "events.ndjson"
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


def _pipeline(kind: str, batch_size: int, clock: Callable[[], float], budget: Budget) -> list[Row]:
    n = 20_000 if budget.is_quick else 300_000
    if kind == "mixed":
        drawn = data.mixed_records(5, 10_000)
        families = {name: type(family).__name__ for name, family in data.MIXED.items()}
    else:
        drawn = data.records(data.truth(10, 5, 10_000).rows)
        families = dict.fromkeys(drawn[0], "Normal")
    fields = "\n".join(f'{name} = "{family}"' for name, family in families.items())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _write(directory / "events.ndjson", drawn, n)
        (directory / "pipeline.toml").write_text(_CONFIG.format(batch_size=batch_size, fields=fields))
        what = "ten mixed fields" if kind == "mixed" else "10 Normal fields"
        events = directory / "events.ndjson"
        return compare(
            Budget(1 if budget.is_quick else 5, 0.0),
            f"NDJSON to scored Parquet with checkpoints, {what}, K=5, batch_size={batch_size}",
            Side("streammix run", repeat(partial(_run, directory)), n),
            [
                Side("msgspec, a line at a time", repeat(partial(_decode_each, events)), n),
                Side("msgspec, a block of lines at a time", repeat(partial(_decode_blocks, events)), n),
            ],
            "speed-up",
            [0.7, 0.7],
            clock,
            note="throughput as a share of decoding's",
        )


def _write(path: Path, records: Sequence[data.Record], n: int) -> None:
    block = b"".join(msgspec.json.encode(x) + b"\n" for x in records)
    with open(path, "wb") as file:
        for _ in range(n // len(records)):
            file.write(block)


def _run(directory: Path) -> None:
    """Run the pipeline from the beginning."""
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


BENCHMARKS: dict[str, Benchmark] = {
    "pipeline.normal": partial(_pipeline, "normal", 256, time.process_time),
    "pipeline.mixed": partial(_pipeline, "mixed", 256, time.process_time),
    "pipeline.single": partial(_pipeline, "mixed", 1, time.process_time),
    "pipeline.wall": partial(_pipeline, "mixed", 256, time.perf_counter),
}
