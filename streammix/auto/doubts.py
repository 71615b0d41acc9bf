"""The signs that the model may be wrong."""

from typing import Any

import numpy as np

from streammix.auto.events import Events
from streammix.auto.fading import STARVED
from streammix.auto.findings import AUDIT, LAG
from streammix.auto.line import Line
from streammix.auto.verdicts import MATTERS

__all__ = ["doubts", "left_out"]

FALL = (0.1, 6.0)  # (nats a record, z) by which the last records were less likely than those before
AHEAD = (0.01, 2.5)  # (nats a record, z) by which what forgets fast predicts the last records better
TOO_FEW = 0.015  # nats a record that so many parameters cost
OVERTAKES = (0.01, 2.0)  # likewise, of a challenger and the ticks that it has run
RESTLESS = 5  # times in the second half at which there were alarms, or restarts that mattered
RUN = 4  # ticks that a challenger is looked at
LEFT = 0.3  # of the records, that no component explains


def doubts(line: Line, events: Events, n_seen: int, is_given: bool) -> list[dict[str, Any]]:
    """Return the signs that there are, each with its name, a sentence, and its evidence; K may be given, or chosen."""
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
    gain, z = _ahead(line)
    if gain > AHEAD[0] and z > AHEAD[1]:
        found.append(_sign("moving", "what forgets fast predicts the last records better", gain=gain, z=z))
    gain, z = _overtakes(line)
    if gain > OVERTAKES[0] and z > OVERTAKES[1]:
        found.append(_sign("challenged", "what came out of a challenge predicts better so far", gain=gain, z=z))
    gain, z = line.findings.audit
    if any(gain > least and z > least_z for least, least_z in AUDIT):
        found.append(_sign("audit", "other places for the components predict better", gain=gain, z=z))
    gain, z = line.findings.lag
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
    recent = [event for event in events.kept if event["n_seen"] > n_seen / 2]
    changes = len(
        {e["n_seen"] for e in recent if e["kind"] == "alarm" or (e["kind"] == "restart" and e["gain"] > MATTERS)}
    )
    if changes >= RESTLESS:
        found.append(_sign("restless", f"restarts or alarms at {changes} times in the second half", changes=changes))
    share = line.published.engine.background
    if share > LEFT:
        text = f"{share:.0%} of the records are the background's: the components explain the others alone"
        found.append(_sign("background", text, weight=share))
    alike = [k for k, label in enumerate(line.labels.own) if label in line.findings.alike]
    if len(alike) == 2 and is_given:
        one, other = alike
        text = f"components {one} and {other} may be one: a single one in their place predicts as well"
        found.append(_sign("alike", text, component=one, other=other))
    if not line.settings.alarms and line.dwell.passes():
        found.append(
            _sign("passing", "components come one after another and don't come back: their shares are a guess")
        )
    state = line.published.state
    count = state.counts[0, : state.n_components]
    for k in np.flatnonzero(count < STARVED).tolist():
        if line.fading.is_settled(line.labels.own[k]):
            continue
        text = f"component {k} rests on {count[k]:.1f} records"
        found.append(_sign("starved", text, component=k, records=float(count[k])))
    return found


def _ahead(line: Line) -> tuple[float, float]:
    """(gain, z) of the expert that has been most clearly ahead since the last tick began, if none is shown."""
    if line.is_long or line.shown > 1:
        return 0.0, 0.0
    found = [one for expert in line.experts for one in expert.scores.latest()]
    return max(found, key=lambda one: one[1], default=(0.0, 0.0))


def _overtakes(line: Line) -> tuple[float, float]:
    """(gain, z) of the challenger that has been most clearly ahead since it began, or over the last four ticks."""
    if line.is_long:  # records that follow one another say less than their number
        return 0.0, 0.0
    found = [one.scores.last(min(one.scores.n_ticks, RUN)) for one in line.challengers if one.scores.n_ticks]
    return max(found, key=lambda one: one[1], default=(0.0, 0.0))


def left_out(n: int, share: float) -> list[dict[str, Any]]:
    """Return the sign that so many of the background's last records lie together, if there are any."""
    if not n:
        return []
    text = f"{n} of the background's last records lie together: a group, {share:.2%} of all, that no component has"
    return [_sign("left out", text, records=n, share=share)]


def _sign(sign: str, text: str, **evidence: float) -> dict[str, Any]:
    return {"sign": sign, "text": text, **{name: round(value, 6) for name, value in evidence.items()}}
