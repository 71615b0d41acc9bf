"""Fields → blocks of the core; which family reads which column; categories ↔ codes."""

import math
import sys
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.columns import Encoded, Encoder, Rule
from streammix.core.engine import INFLATING
from streammix.core.reader import Reader
from streammix.core.values import LARGEST, LARGEST_LEVEL, LONGEST_TEXT, level_key, level_of, of_magnitude, short
from streammix.families import (
    Binomial,
    Categorical,
    Family,
    Fixed,
    StudentT,
    Uniform,
    VonMises,
    ZeroInflated,
)
from streammix.families.base import Interval
from streammix.frames import Frame
from streammix.standing import Names, check_components, field_name

__all__ = ["LARGEST_JOINT", "MAX_LEVELS", "OTHER", "Block", "Schema", "field_name", "limits"]

FloatArray = NDArray[np.float64]

LARGEST_JOINT = 1e50  # products of several of them, where coordinates are missing
HUGE = sys.float_info.max
MAX_LEVELS = 10_000  # levels of a field, OTHER among them: the rarest of all are folded into it
FOLDED = MAX_LEVELS // 10  # levels at once, where there is no room for a new one
OTHER = ("other", None)

#: What the columns of a unit hold of its value, where that is not the value alone; a group's fields come in turn.
COLUMNS = {
    "lognormal": ("log",),
    "gamma": ("real", "log"),
    "beta": ("real", "complement", "log", "log_complement"),
    "dirichlet": ("real", "log"),
}
TIMES = {
    "day": "a time of the day (a datetime, a time, text such as 2026-01-31T09:30) or its hours from 0 to 24",
    "week": "a date (a datetime, text such as 2026-01-31T09:30) or days of the week from 0 to 7",
}


@dataclass(frozen=True)
class Block:
    """Some units that share a family and the components they serve, as the core sees them.

    Parameters
    ----------
    kind
        The family's name in the core.
    names
        The fields of each unit.
    columns
        Which columns of a row the units read, one unit after the other.
    size
        D of a group, the number of levels, n of a binomial, the period of a von Mises, the df of a Student's t (0:
        learnt), the ends of a uniform.
    is_fixed
        Whether the statistics never move.
    lanes
        Which components it serves; None for all.
    families
        For each unit, each component's family; None where the component has another one.
    """

    kind: str
    names: list[Names]
    columns: list[int]
    size: Any
    is_fixed: bool
    lanes: tuple[bool, ...] | None
    families: list[list[Family | None]]


class Schema:
    """How records become rows, and which family reads which column.

    Parameters
    ----------
    components
        For each component, its families by field or group of fields; all have the same fields.
    of_text
        Fields of levels that take text alone.

    Raises
    ------
    ConfigError
        If components differ in their fields, a field stands in two groups, or a family doesn't fit its fields.
    """

    def __init__(self, components: Sequence[Mapping[Names, Family]], of_text: Collection[str] = ()) -> None:
        self._of_text = of_text
        copies = {id(component): dict(component) for component in components}  # most often one that all share
        self.components = [copies[id(component)] for component in components]
        self.fields: list[Names] = list(self.components[0])
        check_components(list(copies.values()))
        self.blocks: list[Block] = []
        self._rules: list[Rule] = []
        self._whats: list[str] = []
        self._externals: list[tuple[int, Names, Fixed]] = []
        self._closed: dict[str, dict[Any, int]] = {}
        foreign: list[tuple[Names, list[int], Fixed]] = []
        for names in self.fields:
            self._add(names, foreign)
        for names, lanes, distribution in foreign:
            column = len(self._rules) + len(self._externals)
            self._externals.append((column, names, distribution))
            mask = tuple(k in lanes for k in range(len(self.components)))
            families: list[list[Family | None]] = [[distribution if on else None for on in mask]]
            self.blocks.append(Block("external", [names], [column], 0, True, mask, families))
        compositions = [(b.columns[: b.size], b.names[0]) for b in self.blocks if b.kind == "dirichlet"]
        self.reader = Reader(self._rules, self._externals, self._explain, compositions)
        self._encoder = Encoder(self._rules, self._externals, self._explain, compositions)

    @cached_property
    def may_refuse(self) -> bool:
        """Whether a well-formed record can lie outside the support of every component."""
        return bool(self._externals) or any(rule[6] for rule in self._rules)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All fields by name, in the order of their declaration."""
        return tuple(name for names in self.fields for name in names)

    @property
    def codes(self) -> dict[str, dict[Any, int]]:
        """The codes of the levels, by field."""
        return {rule[0]: rule[4] for rule in self._rules if rule[4] is not None}

    def column_of(self, name: str) -> int:
        """Return the first column that reads a field."""
        return next(column for column, rule in enumerate(self._rules) if rule[0] == name)

    def kind_of(self, name: str) -> str | None:
        """Return by which kind of rule a field is read; None: the model doesn't read it."""
        return self._kinds.get(name)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return dict.fromkeys(self.names, "real") | {rule[0]: rule[1] for rule in reversed(self._rules)}

    def is_impossible(self, row: FloatArray) -> bool:
        """Tell whether objects from elsewhere leave no component that can have made a row."""
        if not self.may_refuse:
            return False
        dead = np.zeros(len(self.components), dtype=bool)
        for block in self.blocks:
            if block.kind == "external" and row[block.columns[0]] == -np.inf:
                dead |= np.array(block.lanes)
        return bool(dead.all())

    def layout(self) -> list[tuple[str, list[int], Any, bool, tuple[bool, ...] | None]]:
        """Return the blocks in the form of the core's Engine."""
        return [(b.kind, b.columns, self.size(b), b.is_fixed, b.lanes) for b in self.blocks]

    def size(self, block: Block) -> Any:
        """Return the number of levels of a categorical block as of now, the size of any other."""
        return len(self.codes[block.names[0][0]]) if block.kind == "categorical" else block.size

    def block_of(self, column: int) -> int:
        """Return which block reads a column."""
        return self._owners[column]

    @cached_property
    def _owners(self) -> dict[int, int]:
        return {column: i for i, block in enumerate(self.blocks) for column in block.columns}

    def levels(self, column: int) -> dict[Any, int]:
        """Return the codes of a column's levels."""
        codes = self._rules[column][4]
        assert codes is not None
        return codes

    def fold_levels(self, column: int, counts: FloatArray) -> NDArray[np.intp]:
        """Fold the rarest levels into OTHER, among equals the oldest; return the new code of each old one."""
        codes = self.levels(column)
        keys = [key for key in codes if key != OTHER]
        order = np.argsort(counts[[codes[key] for key in keys]], kind="stable")
        rarest = set(order[: max(FOLDED, len(codes) + FOLDED - MAX_LEVELS)].tolist())
        before = dict(codes)
        self.set_levels(self._rules[column][0], [*(key for i, key in enumerate(keys) if i not in rarest), OTHER])
        return np.array([codes.get(key, codes[OTHER]) for key in before], dtype=np.intp)

    def whole(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record as it waited, with the first field at least: what has none is read as one that lacks all."""
        return {self.fields[0][0]: None} | dict(record)

    def first_levels(self, column: int, keys: Sequence[Any]) -> list[int]:
        """Return the codes of the levels that the first records have, one a record that has one."""
        codes = self.levels(column)
        found = [codes.setdefault(key, len(codes)) for key in keys]
        if len(codes) <= MAX_LEVELS:
            return found
        places = self.fold_levels(column, np.bincount(found, minlength=len(codes)).astype(np.float64))
        return [int(place) for place in places[found]]

    def set_levels(self, field: str, keys: Sequence[Any]) -> None:
        """Take over the levels of a field, in the order of their codes."""
        codes = self.codes[field]
        codes.clear()
        codes.update({key: code for code, key in enumerate(keys)})

    def look_out(
        self, ignored: Container[str] | None, constant: dict[str, float], awaited: Collection[str] = ()
    ) -> None:
        """Let the reader note the values of fields that may join, as its own `look_out` says."""
        self.reader.look_out(ignored, constant, awaited)
        self._encoder.look_out(awaited)

    def encode(self, frame: Frame) -> Encoded:
        """Encode a frame.

        Raises
        ------
        RecordError
            For the first row that is refused; `row` says which.
        """
        return self._encoder.encode(frame)

    def _add(self, names: Names, foreign: list[tuple[Names, list[int], Fixed]]) -> None:
        """Make the columns and the blocks of one field or group."""
        kinds: dict[tuple[str, Any, bool], list[int]] = {}
        for k, component in enumerate(self.components):
            family = component[names]
            if isinstance(family, Fixed) and family.is_foreign:
                known = next((f for f in foreign if f[0] == names and f[2] == family), None)
                if known is None:
                    foreign.append((names, [k], family))
                else:
                    known[1].append(k)
                continue
            inner = family.distribution if isinstance(family, Fixed) else family
            is_fixed = isinstance(family, (Fixed, Uniform))
            kinds.setdefault((_core(inner), _size(inner, len(names)), is_fixed), []).append(k)
        supports = {(kind, size) for kind, size, _ in kinds}
        # 1: other components' families may take what this one's support excludes; 2: an object from elsewhere may
        is_shared = 2 if kinds and any(f[0] == names for f in foreign) else int(len(supports) > 1)
        columns: dict[tuple[str, Any], list[int]] = {}
        for (kind, size, is_fixed), lanes in kinds.items():
            if (kind, size) not in columns:
                columns[kind, size] = self._add_columns(names, kind, size, lanes, is_shared)
            self._place(names, kind, size, is_fixed, lanes, columns[kind, size])

    def _add_columns(self, names: Names, kind: str, size: Any, lanes: list[int], is_shared: int) -> list[int]:
        inner = [_inner(self.components[k][names]) for k in lanes]
        first = len(self._rules)
        if kind == "categorical":
            for name in names:
                codes: dict[Any, int] = {}
                for family in inner:
                    assert isinstance(family, Categorical)
                    for level in family.probabilities or ():
                        codes.setdefault(level_key(level), len(codes))
                is_open = 0 if inner[0].is_given else 2 if name in self._of_text else 1
                self._rules.append((name, "level", 0.0, 0.0, codes, is_open, 0))
                open_whats = ("a string, a whole number or a boolean", "a string, as before")
                self._whats.append(open_whats[is_open - 1] if is_open else f"one of {_levels(codes)}")
            return list(range(first, len(self._rules)))
        support = inner[0].support
        assert isinstance(support, Interval)
        low, high = limits(inner[0])
        rules, what = (
            COLUMNS.get(kind.removeprefix(INFLATING), ("whole" if support.integer else "real",)),
            support.describe(),
        )
        if isinstance(inner[0], VonMises) and isinstance(inner[0].period, str):
            rules, low, high, what = (inner[0].period,), 0.0, inner[0].turn, TIMES[inner[0].period]
        for rule in rules:
            for name in names:
                self._rules.append((name, rule, low, high, None, 0, is_shared))
                self._whats.append(what)
        return list(range(first, len(self._rules)))

    def _place(self, names: Names, kind: str, size: Any, is_fixed: bool, lanes: list[int], columns: list[int]) -> None:
        everyone = len(lanes) == len(self.components)
        mask = None if everyone else tuple(k in lanes for k in range(len(self.components)))
        families = [component[names] if k in lanes else None for k, component in enumerate(self.components)]
        alone = kind in ("mvn", "dirichlet", "multinomial", "categorical")
        size = size if alone or kind.removeprefix(INFLATING) in ("binomial", "vonmises", "student") else 1
        for block in self.blocks:
            if not alone and (block.kind, block.size, block.is_fixed, block.lanes) == (kind, size, is_fixed, mask):
                block.names.append(names)
                block.columns.extend(columns)
                block.families.append(families)
                return
        self.blocks.append(Block(kind, [names], list(columns), size, is_fixed, mask, [families]))

    def _explain(self, column: int, value: Any) -> str:
        name, kind, _, high = self._rules[column][:4]
        expected = self._whats[column]
        if kind == "level":
            if isinstance(value, str) and len(value) > LONGEST_TEXT:
                expected = f"text of at most {LONGEST_TEXT:,} characters"
            elif not isinstance(value, float):
                expected = of_magnitude(expected, value, LARGEST_LEVEL)
        elif high > 1e30:
            expected = of_magnitude(expected, value, high)
        return f"field {name!r}: expected {expected}, got {short(value)}"


def limits(family: Family) -> tuple[float, float]:
    """Return the least and the greatest number that a field of a family takes."""
    support, kind = family.support, _core(family).removeprefix(INFLATING)
    assert isinstance(support, Interval)
    largest = {"lognormal": HUGE, "vonmises": HUGE, "mvn": LARGEST_JOINT}.get(kind, LARGEST)
    low = math.nextafter(support.low, math.inf) if support.low_open else support.low
    high = math.nextafter(support.high, -math.inf) if support.high_open else support.high
    return max(low, -largest), min(high, largest)


def _core(family: Family) -> str:
    return INFLATING + family.family.core if isinstance(family, ZeroInflated) else family.core


def _size(family: Family, n_fields: int) -> Any:
    """What a block's families have in common besides their kind."""
    match family:
        case Binomial():
            return family.n
        case VonMises():
            return family.turn
        case StudentT():
            return family.held_df
        case ZeroInflated():
            return _size(family.family, n_fields)
        case Uniform():
            return family.low, family.high
    return n_fields


def _inner(family: Family) -> Family:
    inner = family.distribution if isinstance(family, Fixed) else family
    assert isinstance(inner, Family)
    return inner


def _levels(codes: Mapping[Any, int]) -> str:
    names = [repr(level_of(key)) for key in codes]
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
