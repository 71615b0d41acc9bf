"""Results as JSON and as Markdown tables."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.harness import Limit, Point, Row

__all__ = ["Results", "line", "to_json", "to_markdown"]

_GROUPS = {
    "record": "Records one by one, against reading their fields",
    "peers": "Records one by one, against river and scikit-learn",
    "batch": "Mini-batches",
    "em": "Whole EM iterations",
    "level": "Mini-batches on machines with less",
    "stream": "Streams",
    "pipeline": "The pipeline",
    "checkpoint": "Checkpoints",
    "memory": "Memory",
    "start": "Start-up",
    "parts": "Where the time goes",
}


@dataclass
class Results:
    """All that was measured."""

    machine: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def to_json(results: Results) -> str:
    """Return everything, spreads included."""
    rows = [asdict(row) | {"is_met": row.is_met} for row in results.rows]
    content = asdict(results) | {"rows": rows}
    return json.dumps(content, indent=1) + "\n"


def to_markdown(results: Results, rounds: int, plots: Sequence[str] = ()) -> str:
    """Return the tables that people read, and the plots that lie beside them."""
    met = [row.is_met for row in results.rows if row.is_met is not None]
    parts = [
        "# Results",
        "",
        f"Written by `python -m benchmarks`: medians of {rounds} rounds in which all sides of a row took turns (fewer "
        "for the pipeline and start-up), one thread unless said otherwise. A ratio is the median of the rounds' "
        "ratios, in brackets the least and the greatest. “×” is ours / theirs, a cost; “× as fast” is theirs / ours. "
        "`README.md` here says what is measured and where the time goes.",
        "",
        f"Aims met: {sum(met)} of {len(met)}.",
        "",
        *_table(("machine", ""), results.machine.items()),
        *(f"![{name.removesuffix('.png')}]({name})\n" for name in plots),
    ]
    for group, title in _GROUPS.items():
        rows = [row for row in results.rows if row.benchmark.split(".")[0] == group]
        if rows:
            parts += [f"## {title}", "", *_table(_HEAD, map(_cells, rows))]
    if results.limits:
        parts += ["## Distance to the machine's limits", "", *_table(_LIMITS_HEAD, map(_limit_cells, results.limits))]
    if results.points:
        parts += ["## Growth", "", *_growth(results.points)]
    if results.failed:
        parts += ["## Not measured", "", *_table(("benchmark", "why"), results.failed.items())]
    return "\n".join(parts)


def line(row: Row) -> str:
    """Return a row as one line of text."""
    cells = _cells(row)
    return "  ".join(cell for cell in cells if cell)


_HEAD = ("what", "ours", "against", "theirs", "ratio", "aim", "met", "notes")


def _cells(row: Row) -> tuple[str, ...]:
    sign = "≤" if row.relation == "cost" else "≥"
    aim = ""
    if row.aim is not None:
        aim = f"{sign} {row.aim:g} ×" if row.peer else f"{sign} {_cost(row.aim, row.unit)}"
    ratio = ""
    if row.ratio is not None:
        ratio = f"{_number(row.ratio)} ×{' as fast' if row.relation == 'speed-up' else ''}"
        if row.spread and row.spread[0] != row.spread[1]:
            ratio += f" ({_number(row.spread[0])} – {_number(row.spread[1])})"
    notes = [row.note] if row.note else []
    notes += ["wall time"] if row.clock == "wall" else []
    notes += [f"{row.threads} threads"] if row.threads > 1 else []
    verdict = {True: "yes", False: "**no**", None: ""}[row.is_met]
    ours, theirs = _cost(row.cost, row.unit), _cost(row.peer_cost, row.unit)
    return row.job, ours, row.peer, theirs, ratio, aim, verdict, "; ".join(notes)


_LIMITS_HEAD = ("kernel", "a record", "10⁹ multiply-adds/s", "of BLAS's", "10⁹ bytes/s", "of a copy's")


def _limit_cells(limit: Limit) -> tuple[str, ...]:
    return (
        limit.kernel,
        _cost(limit.cost, "ns/record"),
        f"{limit.multiply_adds:.2f}",
        f"{limit.share:.0%}",
        f"{limit.moved:.2f}",
        f"{limit.moved_share:.0%}",
    )


def _growth(points: Sequence[Point]) -> list[str]:
    parts: list[str] = []
    for panel in dict.fromkeys(point.panel for point in points):
        shown = [point for point in points if point.panel == panel]
        values = sorted({point.x for point in shown})
        head = (f"{panel}: {shown[0].axis}", *(f"{x:,.0f}" for x in values))
        lines = []
        for curve in dict.fromkeys(point.curve for point in shown):
            costs = {point.x: point.cost for point in shown if point.curve == curve}
            lines.append((curve, *(_cost(costs.get(x), "ns/record") for x in values)))
        parts += _table(head, lines)
    return parts


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows, ""]


def _cost(value: float | None, unit: str) -> str:
    """Return a cost in a unit that makes it short."""
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value / 2**20:.1f} MiB"
    for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value >= 10 * size or (size > 1e3 and value >= size):
            return f"{_number(value / size)} {name}"
    return f"{_number(value)} ns"


def _number(value: float) -> str:
    """Return three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
