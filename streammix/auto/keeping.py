"""A supervised mixture as plain data, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.alarm import Alarm
from streammix.auto.background import Box
from streammix.auto.beat import BEAT, Beat
from streammix.auto.challenge import Challenge
from streammix.auto.choice import Choice
from streammix.auto.dwell import Dwell
from streammix.auto.evidence import Paired
from streammix.auto.fading import Fading
from streammix.auto.findings import Findings
from streammix.auto.labels import Labels
from streammix.auto.line import Line
from streammix.auto.past import Past
from streammix.auto.reservoir import LARGEST, Reservoir
from streammix.auto.resolution import Resolution
from streammix.auto.settings import Settings
from streammix.auto.supervisor import Supervisor
from streammix.declaration import Declaration
from streammix.errors import CheckpointError
from streammix.packing import check_rows
from streammix.schema import Schema
from streammix.state import State, Supervision

__all__ = ["resumed", "supervision"]

FloatArray = NDArray[np.float64]


def supervision(running: Supervisor) -> Supervision:
    """Return what is kept beside the champion, as plain data."""
    rows, weights = running.reservoir.last(running.reservoir.n)
    states: dict[str, State] = {}
    arrays = {"reservoir": rows, "reservoir weights": weights}
    arrays |= dict(zip(("sample", "sample weights"), running.sample.all(), strict=True))
    arrays |= dict(zip(("strays", "strays numbers"), running.strays.kept.last(running.strays.kept.n), strict=True))
    for i, line in enumerate(running.lines):
        states |= {f"line{i} {name}": state.copy() for name, state in _line_states(line).items()}
        if line.challenge is not None:
            arrays |= {f"line{i} {name}": array.copy() for name, array in line.challenge.arrays().items()}
    if running.box is not None:
        arrays["box"] = running.box.spread.copy()
    document = {
        "leader": running.leader,
        "unborn": list(running.unborn),
        "is_young": running.is_young,
        "is_given": running.is_given,
        "lines": [_line_to_json(line) for line in running.lines],
        "reservoir": [running.reservoir.n, len(running.reservoir.rows)],
        "sample": running.sample.n,
        "box": None if running.box is None else [_finite(running.box.low), _finite(running.box.high)],
        "resolution": running.resolution.to_json(),
        "beat": asdict(running.beat),
        "gathered": running.gathered,
        "epoch": running.epoch,
        "choice": running.choice.to_json(),
        "told": list(running.told),
        "events": list(running.events.kept),
        "counts": dict(running.events.counts),
        "random_state": dict(running.rng.bit_generator.state),
    }
    return Supervision(document, states, arrays)


def resumed(declaration: Declaration, schema: Schema, settings: Settings, kept: Supervision) -> Supervisor:
    """Return what `supervision` was called of."""
    document, n_columns = kept.document, schema.reader.n_columns
    n, size = (int(value) for value in document["reservoir"])
    kept_rows = []
    for name, n_rows in (("reservoir", n), ("sample", int(document["sample"]))):
        rows, weights = kept.arrays[name], kept.arrays[f"{name} weights"]
        if len(rows) != len(weights) or len(rows) != min(n_rows, size) or size > LARGEST:
            raise CheckpointError(f"the checkpoint's {name} contradicts itself")
        check_rows(rows, schema.layout())
        kept_rows.append((rows, weights))
    reservoir = Reservoir(size, n_columns)
    reservoir.n = n - len(kept_rows[0][0])
    reservoir.add(*kept_rows[0])
    resolution = Resolution(n_columns, is_given=len(document["lines"]) == 1)  # as long as none was kept
    if "resolution" in document:
        resolution = Resolution.from_json(document["resolution"], n_columns)
    for state in kept.states.values():
        state.least = resolution.least
    box = None
    if document["box"] is not None:
        box = Box(n_columns)
        low, high = document["box"]
        box.steps = resolution.steps
        box.low[:], box.high[:] = _infinite(low, 1), _infinite(high, -1)
        box.refresh(schema.layout())
        box.spread[...] = kept.arrays.get("box", box.spread)  # levels may have come since it was written
        settings = replace(settings, spread=box.spread)
    lines = []
    for i, own in enumerate(document["lines"]):
        prefix = f"line{i} "
        states = {name.removeprefix(prefix): s.copy() for name, s in kept.states.items() if name.startswith(prefix)}
        arrays = {name.removeprefix(prefix): a.copy() for name, a in kept.arrays.items() if name.startswith(prefix)}
        lines.append(_line_resumed(schema, settings, own, states, arrays, i == int(document["leader"])))
    rng = np.random.default_rng()
    rng.bit_generator.state = document["random_state"]
    made = Supervisor(declaration, schema, lines, settings, reservoir, rng)
    made.sample = Reservoir(size, n_columns)
    made.sample.add(*kept_rows[1])
    made.sample.n = int(document["sample"])
    if "strays" in kept.arrays:
        check_rows(kept.arrays["strays"], schema.layout())
        made.strays.kept.add(kept.arrays["strays"], kept.arrays["strays numbers"])
    made.box, made.resolution = box, resolution
    made.leader = int(document["leader"])
    made.is_given = bool(document.get("is_given", False))
    made.unborn = [int(k) for k in document.get("unborn", [])]
    made.is_young = bool(document.get("is_young", False))
    if "beat" in document:  # what was kept before lines took turns has none
        made.beat, made.gathered = _beat(document["beat"], len(lines)), int(document["gathered"])
        made.look_at_beat()
        made.set_share()
    made.epoch = int(document.get("epoch", made.line.epoch))
    made.choice = Choice.from_json(document["choice"])
    made.told = [str(sign) for sign in document["told"]]
    made.events.kept = [dict(event) for event in document["events"]]
    made.events.counts = {str(kind): int(n) for kind, n in document["counts"].items()}
    made.point()
    return made


def _beat(document: Mapping[str, Any], n_lines: int) -> Beat:
    n, at, now, turn = (int(document[name]) for name in ("n", "at", "now", "turn"))
    if not (0 <= n <= BEAT and 0 <= turn <= n_lines):
        raise CheckpointError("the checkpoint's beat contradicts itself")
    return Beat(n, at, now, turn, [float(score) for score in document["scores"]])


def _line_to_json(line: Line) -> dict[str, Any]:
    """Everything of a line but states and arrays, as JSON can hold it."""
    return {
        "n_parameters": line.n_parameters,
        "times": line.times,
        "first": line.first,
        "epoch": line.epoch,
        "next_challenge": line.next_challenge,
        "shown": line.shown,
        "unit": line.unit,
        "shaken": line.shaken,
        "tried": line.tried,
        "present": line.present,
        "has_started": line.has_started,
        "is_young": line.is_young,
        "surplus": line.surplus,
        **line.findings.to_json(),
        "renewed": line.renewed,
        "sleepers": [sleeper.born for sleeper in line.sleepers],
        "proven": [sleeper.about["proven"] for sleeper in line.sleepers],
        "sleepers_labels": [list(sleeper.about["labels"]) for sleeper in line.sleepers],
        "past_labels": [list(law.labels) for law in line.past.laws],
        "former_labels": [list(law.labels) for law in line.labels.former.laws],
        "labels": list(line.labels.own),
        "next_label": line.labels.free,
        "hidden_label": line.labels.hidden,
        "alarm": line.alarm.to_json(),
        "dwell": line.dwell.to_json(),
        "crowns": line.crowns,
        "starving": line.fading.to_json(),
        "scores": [member.scores.to_json() for member in line.members],
        "challengers": [[member.born, member.about] for member in line.challengers],
        "challenge": None if line.challenge is None else line.challenge.to_json(),
    }


def _line_states(line: Line) -> dict[str, State]:
    """All statistics of a line by name."""
    found = {f"member{i}": member.state for i, member in enumerate(line.members)}
    found |= {f"past{i}": state for i, state in enumerate(line.past.states)}
    found |= {f"former{i}": state for i, state in enumerate(line.labels.former.states)}
    if line.challenge is not None:
        found |= {f"challenge {name}": state for name, state in line.challenge.states().items()}
    return found


def _line_resumed(
    schema: Schema,
    settings: Settings,
    document: dict[str, Any],
    states: dict[str, State],
    arrays: dict[str, FloatArray],
    is_leader: bool,
) -> Line:
    made = Line(schema, states["member0"], int(document["n_parameters"]), int(document["first"]), settings, 0)
    made.labels = Labels(made.n_components, is_leader)
    made.dwell, made.crowns = Dwell.from_json(document["dwell"]), bool(document["crowns"])
    if "starving" in document:
        made.fading = Fading.from_json(document["starving"])
    made.set_pace()
    made.average.become(states["member1"])
    for i, expert in enumerate(made.experts, 2):
        expert.become(states[f"member{i}"])
    for i, (born, about) in enumerate(document["challengers"], 2 + len(made.experts)):
        made.challengers.append(made.member(states[f"member{i}"], int(born), about))
    sleepers = len(document["sleepers"])
    proven = document.get("proven", [True] * sleepers)
    labels = document.get("sleepers_labels", [document["labels"]] * sleepers)
    for i, own in enumerate(zip(document["sleepers"], proven, labels, strict=True), len(made.members)):
        about = {"proven": bool(own[1]), "labels": [int(label) for label in own[2]]}
        made.sleepers.append(made.member(states[f"member{i}"], int(own[0]), about))
    _past_resumed(made.past, "past", document, states)
    _past_resumed(made.labels.former, "former", document, states)
    for member, scores in zip(made.members, document["scores"], strict=True):
        member.scores = Paired.from_json(scores)
    made.findings = Findings.from_json(document)
    made.has_started, made.renewed = bool(document["has_started"]), int(document.get("renewed", 0))
    made.is_young, made.surplus = bool(document.get("is_young", False)), float(document.get("surplus", 0.0))
    made.shaken, made.tried = int(document.get("shaken", 0)), int(document.get("tried", 0))
    made.unit, made.present = float(document.get("unit", 1.0)), float(document.get("present", 1.0))
    made.times, made.epoch = int(document["times"]), int(document["epoch"])
    made.next_challenge, made.shown = int(document["next_challenge"]), int(document["shown"])
    if is_leader or "hidden_label" in document:
        made.labels.own = [int(label) for label in document["labels"]]
        made.labels.free = int(document["next_label"])
        made.labels.hidden = int(document.get("hidden_label", made.labels.hidden))
    made.alarm = Alarm.from_json(document["alarm"])
    if document["challenge"] is not None:
        work = {name.removeprefix("challenge "): s for name, s in states.items() if name.startswith("challenge ")}
        made.challenge = Challenge.resumed(schema, document["challenge"], work, arrays)
    return made


def _past_resumed(made: Past, name: str, document: dict[str, Any], states: dict[str, State]) -> None:
    kept = [states[f"{name}{i}"] for i in range(made.most) if f"{name}{i}" in states]
    for labels, state in zip(document.get(f"{name}_labels", [document["labels"]] * len(kept)), kept, strict=True):
        if len(labels) != state.n_components:
            raise CheckpointError("the checkpoint's labels contradict themselves")
        made.add([int(label) for label in labels], state)


def _finite(values: FloatArray) -> list[float | None]:
    """Numbers as JSON can hold them: None where there is none yet."""
    return [float(value) if np.isfinite(value) else None for value in values]


def _infinite(values: Sequence[float | None], sign: int) -> list[float]:
    return [sign * np.inf if value is None else float(value) for value in values]
