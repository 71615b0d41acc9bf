"""``python -m benchmarks [NAME ...]``: measure, print, and write tables, JSON and plots."""

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks import anatomy, blocks, growth, limits, per_record, pipeline, plot, report, state
from benchmarks.harness import Budget, Limit, Row
from benchmarks.machine import describe

HERE = Path(__file__).parent
BENCHMARKS: dict[str, Callable[[Budget], Sequence[Any]]] = {
    **per_record.BENCHMARKS,
    **blocks.BENCHMARKS,
    **state.BENCHMARKS,
    **anatomy.BENCHMARKS,
    **limits.LIMITS,
    **growth.CURVES,
    **pipeline.BENCHMARKS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are asked for; return 1 where one of them failed."""
    options = _parser().parse_args(arguments)
    chosen = [name for name in BENCHMARKS if _is_chosen(name, options.names)]
    if options.list or not chosen:
        print("\n".join(BENCHMARKS))
        return 0 if options.list else 2
    budget = Budget(2, 0.002, is_quick=True) if options.quick else Budget(options.rounds, options.seconds)
    results, begin = report.Results(describe()), time.perf_counter()
    for i, name in enumerate(chosen):
        print(f"[{i + 1}/{len(chosen)}] {name}", flush=True)
        try:
            found = BENCHMARKS[name](budget)
        except Exception as error:  # one benchmark that can't run must not cost the others
            results.failed[name] = f"{type(error).__name__}: {error}"
            print(f"    failed: {results.failed[name]}", flush=True)
            continue
        for one in found:
            _take(results, dataclasses.replace(one, benchmark=name))
    options.output.mkdir(parents=True, exist_ok=True)
    plots = plot.draw(results, options.output)
    table = report.to_markdown(results, budget.rounds, plots)
    (options.output / "results.md").write_text(table, encoding="utf-8")
    (options.output / "results.json").write_text(report.to_json(results), encoding="utf-8")
    written = ["results.md", "results.json", *plots]
    if options.publish:
        (HERE / "RESULTS.md").write_text(table, encoding="utf-8")
        for name in plots:
            shutil.copyfile(options.output / name, HERE / name)
        written.append("RESULTS.md")
    print(f"wrote {', '.join(written)}; it took {(time.perf_counter() - begin) / 60:.1f} minutes")
    return 1 if results.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="names or beginnings of names, * allowed; all where left out")
    parser.add_argument("--list", action="store_true", help="list the names")
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--rounds", type=int, default=9, help="rounds in which the sides take turns (9)")
    parser.add_argument("--seconds", type=float, default=0.08, help="of a side in a round, about (0.08)")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="where to write (benchmarks/results)")
    parser.add_argument("--publish", action="store_true", help="write benchmarks/RESULTS.md and its plots as well")
    return parser


def _is_chosen(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(fnmatchcase(name, w) or f"{name}.".startswith(f"{w}.") for w in wanted)


def _take(results: report.Results, one: Any) -> None:
    if isinstance(one, Row):
        results.rows.append(one)
        print(f"    {report.line(one)}", flush=True)
    elif isinstance(one, Limit):
        results.limits.append(one)
        print(f"    {one.kernel}: {one.share:.0%} of BLAS's multiply-adds", flush=True)
    else:
        results.points.append(one)


if __name__ == "__main__":
    sys.exit(main())
