"""Printing what a checkpoint holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streammix.auto.automixture import AutoMixture
from streammix.bucket import is_url
from streammix.pipeline.report import components_table
from streammix.pipeline.saved import newest
from streammix.pipeline.tables import Table, printable, show
from streammix.pipeline.talk import naming
from streammix.store import Checkpoint, CheckpointStore

__all__ = ["inspect"]

SUMS = ("scored", "log_density")
EVENTS_SHOWN = 10


def inspect(state: Path | str) -> None:
    """Print what a checkpoint holds; of a directory, the newest one and the history of all.

    Parameters
    ----------
    state
        A checkpoint, a directory of them, or their ``s3://bucket/prefix``.

    Raises
    ------
    ConfigError
        If there is no such file or directory.
    CheckpointError
        If the file is damaged or foreign, or there is no checkpoint in the directory.
    StreammixError
        If standard output can't be written.
    """
    found = newest(state)
    has_history = is_url(state) or Path(state).is_dir()
    history = _history(CheckpointStore(state, readonly=True)) if has_history else None
    with naming():
        for name, value in _facts(found).items():
            _print(name, value)
        if found.model.is_warm:
            show(components_table(found.model))
        if history is not None:
            show(history)


def _facts(found: Checkpoint) -> dict[str, Any]:
    model = found.model
    told, heading = model.infer_summary(), "inferred fields"
    if not model._learner.declaration.infers:
        heading = "fields that wait"
    return {
        "checkpoint": found.path,
        "written at": f"{found.written_at:%Y-%m-%d %H:%M:%S} UTC",
        "records learnt": f"{model.n_seen:,}" + ("" if model.is_warm else " (still warming up)"),
        "model": model._get_params(),
        **({heading: told} if told else {}),
        **(_supervision(model) if isinstance(model, AutoMixture) else {}),
        "positions": found.positions,
        "outputs": found.outputs,
    }


def _supervision(model: AutoMixture) -> dict[str, Any]:
    """What a supervised model has to say of itself."""
    told = [
        f"after {event['n_seen']:,} records: {event['kind']} "
        + ", ".join(f"{name} {value}" for name, value in event.items() if name not in ("n_seen", "kind"))
        for event in model.events[-EVENTS_SHOWN:]
    ]
    doubts: dict[str, str] = {}
    for doubt in model.warnings:
        doubts[doubt["sign"]] = "; ".join([*filter(None, [doubts.get(doubt["sign"])]), doubt["text"]])
    return {
        "labels": model.labels,
        "background weight": f"{model.background_weight:.4f}",
        "warnings": doubts or "none",
        "events": model.event_counts or "none",
        **({"last events": dict(enumerate(told, 1))} if told else {}),
    }


def _history(store: CheckpointStore) -> Table:
    columns = ["written at (UTC)", "records learnt", "mean log density", "weights", "bytes"]
    rows = store.history().select(["written_at", "n_seen", "weights", "positions"]).to_pylist()
    before: dict[str, Any] = {}
    told: list[Sequence[str]] = []
    for row, size in zip(rows, store.sizes, strict=True):
        weights = " ".join(f"{weight:.4f}" for weight in row["weights"])
        positions = json.loads(row["positions"])
        mean = _mean_log_density(before, positions)
        told.append((f"{row['written_at']:%Y-%m-%d %H:%M:%S}", f"{row['n_seen']:,}", mean, weights, f"{size:,}"))
        before = positions
    return Table("checkpoints, the oldest first", columns, len(columns), [told])


def _mean_log_density(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Of the records between two checkpoints, by what a run has noted in their positions."""
    if any(not isinstance(positions.get(name), int | float) for positions in (before, now) for name in SUMS):
        return "–"
    n, total = (now[name] - before[name] for name in SUMS)
    return f"{total / n:.4f}" if n else "–"


def _print(name: str, value: Any, indent: str = "") -> None:
    is_table = isinstance(value, Mapping) and value
    line = f"{indent}{name}:" if is_table else f"{indent}{name}: {value}"
    print(printable(line))
    for key, inner in value.items() if is_table else ():
        _print(", ".join(key) if isinstance(key, tuple) else key, inner, indent + "  ")
