"""The signs that the model may be wrong."""

from typing import Any

import numpy as np

from streammix.auto.events import Events
from streammix.auto.fading import STARVED
from streammix.auto.line import Line

__all__ = ["doubts"]

AUDIT = ((0.003, 2.0), (0.01, 1.0))  # (nats a record, z) by which another model predicts better
FALL = (0.1, 6.0)  # (nats a record, z) by which the last records were less likely than those before
TOO_FEW = 0.015  # nats a record that so many parameters cost
LAG = (0.005, 2.0)  # (nats a record, z) that polishing gains
RESTLESS = 5  # restarts and alarms in the second half


def doubts(line: Line, events: Events, n_seen: int) -> list[dict[str, Any]]:
    """Return the signs that there are: each with its name, a sentence, and its evidence."""
    found: list[dict[str, Any]] = []
    if not line.is_proven:
        found.append(
            _sign(
                "unproven", "no challenge of enough records has been held since it began or changed", since=line.shaken
            )
        )
    fall, z = line.alarm.fall()
    if not line.is_long and fall > FALL[0] and z > FALL[1]:
        found.append(_sign("falling", "the last records are less likely than those before were", fall=fall, z=z))
    gain, z = line.audit
    if any(gain > least and z > least_z for least, least_z in AUDIT):
        found.append(_sign("audit", "other places for the components predict better", gain=gain, z=z))
    gain, z = line.lag
    if gain > LAG[0] and z > LAG[1]:
        found.append(
            _sign("lag", "the model is behind: iterations of EM on the last records improve it", gain=gain, z=z)
        )
    n = line.effective_records(n_seen)
    cost = line.n_parameters / (2 * max(n * line.present, 1.0))
    if cost > TOO_FEW:
        gaps = f", {1 - line.present:.0%} of their cells missing," if line.present < 1.0 else ""
        text = f"{n:.0f} records{gaps} are few for {line.n_parameters} parameters"
        found.append(_sign("too few records", text, cost=cost))
    changes = sum(event["kind"] in ("restart", "alarm") and event["n_seen"] > n_seen / 2 for event in events.kept)
    if changes >= RESTLESS:
        found.append(_sign("restless", f"{changes} restarts and alarms in the second half", changes=changes))
    state = line.published.state
    count = state.counts[0, : state.n_components]
    for k in np.flatnonzero(count < STARVED).tolist():
        if line.fading.is_settled(line.labels.own[k]):
            continue
        text = f"component {k} rests on {count[k]:.1f} records"
        found.append(_sign("starved", text, component=k, records=float(count[k])))
    return found


def _sign(sign: str, text: str, **evidence: float) -> dict[str, Any]:
    return {"sign": sign, "text": text, **{name: round(value, 6) for name, value in evidence.items()}}
