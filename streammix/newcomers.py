"""Fields that first appear after the warm-up: their values wait until there are enough to choose a family from.

A value waits with its record's weight and the responsibilities that the components had for it, by the other fields.
After JOIN_AFTER values a field joins with the statistics that these make, a prior of its own, a mass and a clock; or
it is left out, as the warm-up would have done. A number that has never varied is such a field as well, from the value
on that is another one; so is a declared field of which the warm-up had no two values.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.values import short
from streammix.declaration import Declaration
from streammix.errors import CheckpointError, RecordError
from streammix.families import Family
from streammix.inference import TIMES
from streammix.plain import kind_of, plain_value
from streammix.schema import LARGEST_JOINT, field_name

__all__ = ["JOIN_AFTER", "MOST_FIELDS", "MOST_WAITING", "AllBut", "Newcomers", "WaitingField"]

FloatArray = NDArray[np.float64]

JOIN_AFTER = 200  # values
MOST_WAITING = 100  # fields at a time; the one whose last value lies longest back makes room
MOST_FIELDS = 2_000  # that a model knows, in use or left out; later ones are ignored
LEFT_OUT = {"time": TIMES, "list or object": "lists or objects"}


@dataclass
class WaitingField:
    """The values of a field that is not in use yet."""

    values: list[Any] = field(default_factory=list)
    responsibilities: list[list[float]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


class AllBut:
    """All fields but some.

    Parameters
    ----------
    names
        Those.
    """

    def __init__(self, names: Container[str]) -> None:
        self.names = names

    def __contains__(self, name: object) -> bool:
        return name not in self.names


class Newcomers:
    """The fields that wait, the one with the newest value last; those left out, and why; those that never varied.

    `awaited` has the families of declared fields that are not in use yet.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, WaitingField] = {}
        self.left_out: dict[str, str] = {}
        self.constant: dict[str, float] = {}
        self.awaited: dict[str, Family] = {}

    def read(
        self, found: Sequence[tuple[str, Any]], declared: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> list[tuple[str, Any]]:
        """Return what waits of a record's new fields, in an order that is not the record's.

        Parameters
        ----------
        found
            The fields and their values.
        declared
            Returns the values of declared fields as they wait, checked.

        Raises
        ------
        RecordError
            If a value is of another kind than the field's earlier ones, or can't be understood.
        """
        news = []
        for name, value in sorted(found, key=lambda pair: pair[0]):
            if name in self.awaited:
                plain = declared({name: value})[name]
                if plain != self.constant.get(name):
                    news.append((name, plain))
                continue
            kind = kind_of(value)
            known = kind_of(self.waiting[name].values[0]) if name in self.waiting else kind
            known = "number" if name in self.constant else known
            if kind != known:
                text = f"field {name!r}: expected a {known}, as before, got {short(value)}"
                raise RecordError(text, field=name)
            plain = value if kind in LEFT_OUT else plain_value(name, value, LARGEST_JOINT)
            if name not in self.constant or plain != self.constant[name]:
                news.append((name, plain))
        return news

    def add(self, news: Sequence[tuple[str, Any]], responsibilities: FloatArray, weight: float) -> list[str]:
        """Let values wait; return the fields that have enough, which wait no longer than their caller wants."""
        full = []
        for name, value in news:
            kind = kind_of(value)
            if kind is None:
                continue
            if kind in LEFT_OUT:
                self.left_out[name] = LEFT_OUT[kind]
                continue
            self.constant.pop(name, None)
            own = self.waiting.pop(name, None) or WaitingField()
            if len(self.waiting) == MOST_WAITING:
                del self.waiting[next(iter(self.waiting))]
            self.waiting[name] = own
            own.values.append(value)
            own.responsibilities.append(responsibilities.tolist())
            own.weights.append(weight)
            if len(own.values) == JOIN_AFTER:
                full.append(name)
        return [name for name in full if name in self.waiting]

    def told(
        self, chosen: Mapping[tuple[str, ...], Family], declaration: Declaration
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Return what became of the fields, in words for those inferred, and as arguments of a mixture for all."""
        left_out = dict.fromkeys([*declaration.ignored, *sorted(self.left_out)])
        words = {", ".join(names): repr(f) for names, f in chosen.items() if names[0] not in declaration.declared_names}
        words |= {name: f"left out ({why})" for name, why in sorted(self.left_out.items())}
        words |= self.waiting_for()
        learnt = {field_name(names): family for names, family in chosen.items()} | self.awaited
        return words, {"fields": learnt | left_out, "infer": True}

    def waiting_for(self) -> dict[str, str]:
        """Return what the fields are that join once they vary, in words."""
        words = dict.fromkeys(self.awaited, "not seen to vary so far")
        return words | {name: f"always {value!r} so far" for name, value in sorted(self.constant.items())}

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        waiting = [
            [name, list(own.values), [list(r) for r in own.responsibilities], list(own.weights)]
            for name, own in self.waiting.items()
        ]
        return {"waiting": waiting, "left_out": dict(self.left_out), "constant": dict(self.constant)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], n_components: int) -> "Newcomers":
        """Return what `to_json` was called of.

        Raises
        ------
        CheckpointError
            If the document is not of its form.
        """
        made = cls()
        try:
            made.left_out = {str(name): str(why) for name, why in document.get("left_out", {}).items()}
            made.constant = {str(name): float(value) for name, value in document.get("constant", {}).items()}
            for name, values, responsibilities, weights in document.get("waiting", []):
                rows = np.array(responsibilities, dtype=np.float64)
                is_sound = (
                    isinstance(name, str)
                    and 0 < len(values) == len(weights) < JOIN_AFTER
                    and rows.shape == (len(values), n_components)
                    and all(isinstance(value, bool | float | str) for value in values)
                    and np.isfinite([*weights, *rows.ravel()]).all()
                )
                if not is_sound:
                    raise ValueError(name)
                made.waiting[name] = WaitingField(list(values), rows.tolist(), [float(weight) for weight in weights])
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint's new fields contradict themselves ({error})") from None
        return made
