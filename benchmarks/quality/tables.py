"""Runs as tables and as JSON."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from benchmarks.quality.kinds import KINDS
from benchmarks.quality.runs import LIMIT, ORDERS, Run

__all__ = ["line", "table", "to_json", "to_markdown"]


def line(run: Run) -> str:
    """Return a run as one line of text."""
    warned = "" if run.warnings is None else f"  warned: {'; '.join(run.warnings) or 'no'}"
    verdict = "" if run.is_success else "  FAILED"
    how = f"{run.kind} {run.order} seed {run.seed}{', K chosen' if run.chooses else ''}"
    what = f"gap {run.gap:+.4f}  K={run.components}  {run.cost:.1f} us  longest {run.longest:.2f} ms  {run.events}"
    return f"{how}: {what}{verdict}{warned}"


def to_json(runs: Sequence[Run]) -> str:
    """Return every run, in the order of kinds, seeds and orders."""
    return json.dumps([asdict(run) | {"is_success": run.is_success} for run in runs], indent=1) + "\n"


def to_markdown(runs: Sequence[Run], model: str) -> str:
    """Return the tables that people read."""
    given, chosen = [run for run in runs if not run.chooses], [run for run in runs if run.chooses]
    seeds = sorted({run.seed for run in runs})
    what = f"Model: {model}. Seeds {seeds[0]} to {seeds[-1]}, {runs[0].records:,} records a stream."
    parts = [what, ""]
    if given:
        parts += [_in_all(given), "", *table(_HEAD, _kinds(given))]
    if chosen:
        parts += ["### K chosen by the learner", "", _in_all(chosen), "", *table(_HEAD, _kinds(chosen))]
    if any(run.warnings is not None for run in runs):
        parts += ["### Says when it does not know", "", *table(_SAID, _said(runs))]
    return "\n".join(parts)


_HEAD = ("kind", "", *ORDERS, "median gap", "worst gap", "K within 1", "µs a record", "longest, ms")
_SAID = ("", "runs", "successes", "false warnings", "failures", "missed failures")


def _in_all(runs: Sequence[Run]) -> str:
    shares = ", ".join(f"{order} {_share([run for run in runs if run.order == order])}" for order in ORDERS)
    return f"Within {LIMIT} nats a record of the best of twenty batch fits: {_share(runs)} ({shares})."


def _share(runs: Sequence[Run]) -> str:
    """How many of some runs are successes."""
    return f"{sum(run.is_success for run in runs)} of {len(runs)}"


def _kinds(runs: Sequence[Run]) -> Iterable[tuple[str, ...]]:
    for name in dict.fromkeys(run.kind for run in runs):
        own = [run for run in runs if run.kind == name]
        gaps = [run.gap for run in own]
        K = KINDS[name].K
        near = "" if K is None else f"{sum(abs(run.components - K) <= 1 for run in own)} of {len(own)}"
        yield (
            name,
            KINDS[name].title,
            *(_share([run for run in own if run.order == order]) for order in ORDERS),
            f"{statistics.median(gaps):+.4f}",
            f"{max(gaps):+.4f}",
            near,
            f"{statistics.median(run.cost for run in own):.1f}",
            f"{max(run.longest for run in own):.1f}",
        )


def _said(runs: Sequence[Run]) -> Iterable[tuple[str, ...]]:
    for title, chooses in (("K given", False), ("K chosen", True)):
        own = [run for run in runs if run.chooses == chooses and run.warnings is not None]
        good, bad = [run for run in own if run.is_success], [run for run in own if not run.is_success]
        if own:
            false, missed = sum(bool(run.warnings) for run in good), sum(not run.warnings for run in bad)
            yield title, str(len(own)), str(len(good)), _of(false, good), str(len(bad)), _of(missed, bad)


def _of(count: int, runs: Sequence[Run]) -> str:
    return f"{count} ({count / len(runs):.1%})" if runs else "0"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table and the empty line after it."""
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(cells)} |" for cells in lines), ""]
