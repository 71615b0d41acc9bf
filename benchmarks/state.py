"""What surrounds the kernels: learn_many record by record, checkpoints, memory, import."""

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

import streammix as sm
from benchmarks import data
from benchmarks.harness import Budget, Row, Side, compare, repeat
from streammix.core.table import Table

__all__ = ["BENCHMARKS"]

Benchmark = Callable[[Budget], list[Row]]


def _kernel(shape: data.Shape, D: int, K: int, budget: Budget) -> list[Row]:
    """learn_many with batch_size=1 against the loop over records in the core, on the same columns."""
    drawn = data.truth(D, K)
    table = data.table(drawn.rows)
    public, bare = data.model(shape, drawn), data.model(shape, drawn)
    columns = Table([table[name].to_numpy() for name in table.column_names])
    engine = data.engine_of(bare)
    ours = Side("learn_many", repeat(partial(public.learn_many, table)), len(drawn.rows))
    kernel = Side(
        "the bare kernel",
        repeat(lambda: engine.learn_rows(columns, 0, columns.n_rows, None, None, None)),
        len(drawn.rows),
    )
    what = f"{D} Normal fields" if shape == "diagonal" else f"full covariance of {D}"
    return compare(budget, f"learn_many of 2,000, batch_size=1, {what}, K={K}", ours, [kernel], aims=[1.2])


def _ingest(budget: Budget) -> list[Row]:
    """Scoring and learning of a list of dicts in one call, against a loop over both methods."""
    drawn = data.truth(10, 5)
    records = data.records(drawn.rows)
    model, other = data.model("diagonal", drawn), data.model("diagonal", drawn)

    def both() -> None:
        for x in records:
            other.predict_proba_one(x)
            other.learn_one(x)

    ours = Side("ingest", repeat(partial(model.ingest, records)), len(records))
    return compare(
        budget,
        "ingest of 2,000 dicts, 10 Normal fields, K=5",
        ours,
        [Side("predict_proba_one, then learn_one", repeat(both), len(records))],
    )


def _checkpoint(shape: data.Shape, D: int, K: int, budget: Budget) -> list[Row]:
    """save and load, against writing the same bytes as safely and reading them; and the cost for a stream."""
    drawn = data.truth(D, K)
    model = data.model(shape, drawn)
    table = data.table(drawn.rows)
    model.learn_many(table)
    what = f"{'diagonal' if shape == 'diagonal' else 'full covariance'}, D={D}, K={K}"
    with tempfile.TemporaryDirectory() as directory:
        path, other = Path(directory, "model.arrow"), Path(directory, "bytes")
        sm.save(model, path)
        content = path.read_bytes()
        note = f"{len(content):,} bytes"
        saving = compare(
            budget,
            f"save, {what}",
            Side("save", repeat(partial(sm.save, model, path))),
            [Side("the same bytes, fsync and rename", repeat(partial(_write_safely, other, content)))],
            clock=time.perf_counter,
            note=note,
            unit="ns",
        )
        loading = compare(
            budget,
            f"load, {what}",
            Side("load", repeat(partial(sm.load, path))),
            [Side("reading the table", repeat(partial(_read_table, path)))],
            clock=time.perf_counter,
            note=note,
            unit="ns",
        )
        tail = compare(
            budget,
            f"10,000 records from Arrow and a checkpoint, {what}",
            Side("learn_many and save", repeat(partial(_learn_and_save, model, table, path)), 10_000),
            [Side("learn_many", repeat(partial(_learn, model, table)), 10_000)],
            clock=time.perf_counter,
        )
    return [*saving, *loading, *tail]


def _learn(model: sm.Mixture, table: pa.Table) -> None:
    for _ in range(5):
        model.learn_many(table)


def _learn_and_save(model: sm.Mixture, table: pa.Table, path: Path) -> None:
    _learn(model, table)
    sm.save(model, path)


def _write_safely(path: Path, content: bytes) -> None:
    """Write a file as any checkpoint has to: temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _read_table(path: Path) -> pa.Table:
    return pa.ipc.open_file(io.BytesIO(path.read_bytes())).read_all()


_MEMORY = """
import resource, sys
from benchmarks import data
kind, total = sys.argv[1], int(sys.argv[2])
if kind == "mixed":
    records = data.mixed_records(5, 10_000)
    model = data.mixed_model(5, records[:1_000])
else:
    drawn = data.truth(10, 5, 10_000)
    records, model = data.records(drawn.rows), data.model("full", drawn)
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
def learn(n):
    for i in range(n // 10_000):
        for x in records:
            model.learn_one(x)
        if kind == "mixed":
            model.learn_one(records[0] | {"level0": f"level seen once {model.n_seen}"})
learn(total // 10)
before = resident()
learn(total - total // 10)
print(before, resident())
"""


def _memory(kind: str, what: str, budget: Budget) -> list[Row]:
    """Resident memory after all records against a tenth of them, in a process of its own."""
    total = 100_000 if budget.is_quick else 10_000_000
    answer = _python(_MEMORY, kind, str(total)).split()
    before, after = float(answer[0]), float(answer[1])
    job = f"resident memory after {total:,} records by learn_one, {what}"
    ratio = after / before
    peer = f"after {total // 10:,}"
    return [Row(job, after, peer, before, ratio, (ratio, ratio), "cost", 1.02, "bytes", "none")]


_IMPORTS = {
    "numpy, scipy, river, pyarrow": "import numpy, scipy, river, pyarrow",
    "all that, and streammix": "import numpy, scipy, river, pyarrow; from streammix import *",
}


def _imports(budget: Budget) -> list[Row]:
    """Fresh interpreters, in turn; the row is the difference."""
    rounds = 1 if budget.is_quick else 7
    costs: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for _ in range(rounds + 1):  # the first one warms the file cache
        for name, code in _IMPORTS.items():
            text = f"import time; begin = time.process_time(); {code}; print(time.process_time() - begin)"
            costs[name].append(float(_python(text)) * 1e9)
    base, own = (sorted(times[1:])[rounds // 2] for times in costs.values())
    ratios = [b / a for a, b in zip(*(times[1:] for times in costs.values()), strict=True)]
    spread = (min(ratios), max(ratios))
    return [
        Row("import streammix and all its names, beyond what it stands on", own - base, aim=0.3e9, unit="ns"),
        Row("import, all", own, "numpy, scipy, river, pyarrow", base, own / base, spread, unit="ns"),
    ]


_HELP = """
import sys, time
begin = time.process_time()
sys.argv = ["streammix", "--help"]
from streammix.cli import main
try:
    main()
except SystemExit:
    pass
heavy = [name for name in ("river", "scipy.stats", "pandas", "pyarrow", "numpy") if name in sys.modules]
print("\\n", time.process_time() - begin, ",".join(heavy) or "none")
"""


def _help(budget: Budget) -> list[Row]:
    """The command line's help: it should load none of the heavy libraries."""
    rounds = 1 if budget.is_quick else 5
    answers = [_python(_HELP).split()[-2:] for _ in range(rounds)]
    times = sorted(float(seconds) * 1e9 for seconds, _ in answers)
    note = f"heavy libraries loaded: {answers[0][1]}"
    return [Row("streammix --help", times[rounds // 2], unit="ns", note=note)]


def _python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter that sees the same packages, compiled as by pip; return its output."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "streammix-benchmarks-bytecode"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


BENCHMARKS: dict[str, Benchmark] = {
    "stream.learn_many.normal": partial(_kernel, "diagonal", 10, 5),
    "stream.learn_many.full": partial(_kernel, "full", 10, 5),
    "stream.ingest": _ingest,
    "checkpoint.small": partial(_checkpoint, "diagonal", 10, 5),
    "checkpoint.large": partial(_checkpoint, "full", 32, 16),
    "memory.full": partial(_memory, "full", "full covariance of 10, K=5"),
    "memory.mixed": partial(_memory, "mixed", "ten mixed fields, a new category every 10,000 records, K=5"),
    "start.import": _imports,
    "start.help": _help,
}
