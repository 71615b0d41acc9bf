"""Streams of events, configurations and runs of the command line, for the tests of the pipeline."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streammix import cli

FILES = 'kind = "file"\npath = "events/*"'
SINKS = '[[sink]]\nkind = "parquet"\npath = "scored"\n[[sink]]\nkind = "ndjson"\npath = "scored.ndjson"\n'
PROGRAM = [sys.executable, "-c", "from streammix.cli import main; main()"]
MODEL = """
[model]
n_components = 2
warm_up = 100
batch_size = 16
seed = 3
[model.fields]
x = "Normal"
y = "Exponential"
kind = "Categorical"
"""


def events(n, seed=0):
    """Make n records of two groups."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, n)
    x = rng.normal(4.0 * group, 1.0)
    y = rng.exponential(1.0 + group)
    kind = np.where(rng.random(n) < 0.3 + 0.4 * group, "é", "b")
    return [{"x": float(a), "y": float(b), "kind": str(c)} for a, b, c in zip(x, y, kind, strict=True)]


def write_ndjson(path: Path, records, mode="w"):
    """Write records, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, mode, encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_config(
    directory: Path, source: str, sinks: str = "", every: int = 500, model: str = MODEL, more: str = ""
) -> Path:
    """Write pipeline.toml."""
    path = directory / "pipeline.toml"
    checkpoint = f'[checkpoint]\ndirectory = "state"\nevery_records = {every}\nkeep = 3\n{more}\n'
    path.write_text(f"[source]\n{source}\n{model}\n{checkpoint}\n{sinks}\n", encoding="utf-8")
    return path


def streammix(
    *arguments: Any, cwd: Path | None = None, stdin: bytes | None = None, stdout: Any = subprocess.PIPE
) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own, away from a terminal."""
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=120,
    )


def scored_parquet(directory: Path) -> pa.Table:
    """Return the rows of a parquet sink, in the order of its files."""
    files = sorted(directory.glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]) if files else pa.table({})


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the objects of an NDJSON file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def count_lines(path: Path) -> int:
    """Return how many whole lines a file has that may still be written."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def state_of(directory: Path) -> dict[str, Any]:
    """Return all that the newest checkpoint holds, but for the time when it was written."""
    newest = max(directory.glob("*.arrow"))
    table = pa.ipc.open_file(pa.memory_map(str(newest))).read_all()
    return {name: table[name] for name in table.column_names if name != "written_at"}


def call(*arguments: Any) -> tuple[int, str, str]:
    """Call the command line in this process; return (exit status, standard output, what was said)."""
    out, said = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(said):
        try:
            status = cli.call([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = ended.code
    return status, out.buffer.getvalue().decode(), said.buffer.getvalue().decode()


def run(place: Path) -> tuple[int, str, str]:
    """Run in this process; return (exit status, standard output, what was said)."""
    status, out, said = call("run", place / "pipeline.toml")
    assert "Traceback" not in out + said
    return status, out, said


def crash(template, cases, timeout=500):
    """Run the cases of `crashing`; return what it prints."""
    command = [sys.executable, Path(__file__).with_name("crashing.py"), template, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
