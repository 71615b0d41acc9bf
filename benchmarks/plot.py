"""Results as pictures: the ratios with their aims, and the growth curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Point, Row
from benchmarks.peers import found
from benchmarks.report import Results

__all__ = ["draw"]


def draw(results: Results, directory: Path) -> list[str]:
    """Write ratios.png and growth.png; return what was written, or what is missing for it."""
    if found("matplotlib") is None:
        return ["no plots: matplotlib is not installed"]
    import matplotlib as mpl

    mpl.use("Agg")
    written = []
    rows = [row for row in results.rows if row.ratio is not None]
    if rows:
        written.append(_save(_ratios(rows), directory / "ratios.png"))
    if results.points:
        written.append(_save(_growth(results.points), directory / "growth.png"))
    return written


def _save(figure: Any, path: Path) -> str:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path.name


def _ratios(rows: Sequence[Row]) -> Any:
    """A panel for costs (left is better) and one for speed-ups (right is better); a cross is an aim."""
    import matplotlib.pyplot as plt

    parts = {kind: [row for row in rows if row.relation == kind] for kind in ("cost", "speed-up")}
    heights = [max(len(part), 1) for part in parts.values()]
    figure, axes = plt.subplots(
        2, 1, figsize=(13, 1.5 + 0.24 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    titles = {"cost": "our cost / theirs: less is better", "speed-up": "their cost / ours: more is better"}
    for ax, (kind, part) in zip(axes, parts.items(), strict=True):
        for y, row in enumerate(reversed(part)):
            assert row.ratio is not None
            colour = {True: "tab:green", False: "tab:red", None: "tab:grey"}[row.is_met]
            ax.barh(y, row.ratio, color=colour, alpha=0.7)
            if row.aim is not None:
                ax.plot(row.aim, y, "kx")
        labels = [f"{row.job} | {row.peer}" for row in reversed(part)]
        ax.set_yticks(range(len(part)), labels, fontsize=7)
        ax.set_xscale("log")
        ax.axvline(1, color="black", linewidth=0.8)
        ax.set_title(f"{titles[kind]} (cross: the aim)")
        ax.margins(y=0.01)
    return figure


def _growth(points: Sequence[Point]) -> Any:
    import matplotlib.pyplot as plt

    panels = list(dict.fromkeys(point.panel for point in points))
    n_columns = min(len(panels), 3)
    n_rows = -(-len(panels) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(5 * n_columns, 4 * n_rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, panel in zip(axes.flat, panels, strict=False):
        shown = [point for point in points if point.panel == panel]
        for curve in dict.fromkeys(point.curve for point in shown):
            part = [point for point in shown if point.curve == curve]
            ax.plot([point.x for point in part], [point.cost for point in part], "o-", markersize=3, label=curve)
        ax.set(xscale="log", yscale="log", title=panel, xlabel=shown[0].axis, ylabel="ns a record")
        ax.grid(alpha=0.3, which="both")
        ax.legend(fontsize=8)
    return figure
