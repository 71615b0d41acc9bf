"""Which family a field gets that nobody declared: conservative, and the same for the same records."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streammix.core.times import is_time
from streammix.core.values import LONGEST_TEXT, level_key
from streammix.families import Bernoulli, Categorical, Family, MultivariateNormal, Normal, ZeroInflated

__all__ = [
    "MOST_RECORDS",
    "RECORDS_PER_PARAMETER",
    "Inferred",
    "Ready",
    "Values",
    "infer",
    "ready",
    "tell",
    "tell_declared",
]

Names = tuple[str, ...]

MOST_RECORDS, RECORDS_PER_PARAMETER = 4_000, 5  # of a warm-up
TIMES, FREE_TEXT, LONG_TEXT, CONSTANT = "times", "text that hardly ever repeats", "long text", "constant"

#: Families with a scale of their own: where it is a guess, the component with the tiniest takes everything.
SCALES = frozenset({"normal", "lognormal", "mvn", "student", "gamma", "inverse_gaussian", "beta", "vonmises"})

log = logging.getLogger("streammix")


class Values:
    """The values of records, field by field, where they are there.

    Parameters
    ----------
    records
        Plain values by field.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self.n = 0  # records
        self.by_field: defaultdict[str, list[Any]] = defaultdict(list)
        for record in records:
            self.take(record)

    def take(self, record: Mapping[str, Any]) -> None:
        """Take in a record."""
        self.n += 1
        for name, value in record.items():
            if value is not None:
                self.by_field[name].append(value)

    def count_levels(self, known: Collection[str]) -> dict[str, int]:
        """Return how many levels there are of each field that holds text or is known to hold levels."""
        return {
            name: len(set(map(level_key, values)))
            for name, values in self.by_field.items()
            if name in known or str in map(type, values)
        }


@dataclass(frozen=True)
class Inferred:
    """What was made of fields.

    Parameters
    ----------
    fields
        The families chosen.
    left_out
        The fields that will not be used, and why.
    constant
        The numbers that have had but one value: they say nothing of their scale yet.
    """

    fields: dict[Names, Family]
    left_out: dict[str, str]
    constant: dict[str, float]


@dataclass(frozen=True)
class Ready:
    """What the first records say of declared fields.

    Parameters
    ----------
    fields
        Those that are in use from the start.
    constant
        The numbers that have had but one value.
    absent
        Those that no record has.
    """

    fields: dict[Names, Family]
    constant: dict[str, float]
    absent: list[str]


def infer(found: Values, n_components: int, has_others: bool = False, known: Collection[str] = ()) -> Inferred:
    """Choose a family for each field from its values.

    Booleans are Bernoulli, text Categorical. Numbers that no record lacks are jointly MultivariateNormal, where the
    longest warm-up has five records for each of its parameters; other numbers are Normal. Times, long text and text
    that hardly ever repeats, a name or an identifier, are left out. Numbers that are constant have to wait until they
    vary. Where no other field is there, these and text are used all the same.

    Parameters
    ----------
    found
        The values of the first records.
    n_components
        K.
    has_others
        Whether the model has other fields than these.
    known
        Fields that are no matter of inference.
    """
    values = found.by_field
    names = sorted(name for name in values if name not in known)  # the order of a record's fields says nothing
    kinds = {name: _kind(values[name]) for name in names}
    left_out = {name: kind for name, kind in kinds.items() if kind in (TIMES, FREE_TEXT, LONG_TEXT)}
    constant = {name: float(values[name][0]) for name, kind in kinds.items() if kind == CONSTANT}
    if len(left_out) + len(constant) == len(kinds) and not has_others:
        left_out = {name: why for name, why in left_out.items() if why != FREE_TEXT}
        kinds = {name: "number" if name in constant else kind for name, kind in kinds.items()}
        constant = {}
    joint = tuple(name for name, kind in kinds.items() if kind == "number" and len(values[name]) == found.n)
    chosen: dict[Names, Family] = {}
    size = len(joint)
    if size > 1 and RECORDS_PER_PARAMETER * n_components * (size + 1) * (size + 2) // 2 <= MOST_RECORDS:
        chosen[joint] = MultivariateNormal()
    else:
        chosen.update({(name,): Normal() for name in joint})
    families = {"number": Normal(), "flag": Bernoulli()}
    for name, kind in kinds.items():
        if name not in left_out and name not in constant and name not in joint:
            chosen[(name,)] = families.get(kind, Categorical())
    return Inferred(chosen, left_out, constant)


def tell(inferred: Inferred) -> None:
    """Say in the log what was chosen, a line a field."""
    for names, family in inferred.fields.items():
        for name in names:
            others = ", ".join(repr(other) for other in names if other != name)
            log.info("field %r: inferred %r%s", name, family, f" together with {others}" if others else "")
    for name, why in inferred.left_out.items():
        log.info("field %r: left out (%s); declare it to have it learnt", name, why)
    for name, value in inferred.constant.items():
        log.info("field %r: always %r so far; it joins when it varies", name, value)


def ready(fields: Mapping[Names, Family], values: Values, has_others: bool) -> Ready:
    """Tell declared fields that can be learnt from the start from those that have to wait until they vary.

    A field whose family has a scale waits where the records don't have two values of it. Of a `MultivariateNormal`,
    only such coordinates wait, and the others make the group. Where nothing would be left, all are in use.

    Parameters
    ----------
    fields
        The declared families.
    values
        Those of the first records.
    has_others
        Whether the model has other fields than these.
    """
    found = {name: _first_two(values.by_field.get(name, ())) for names in fields for name in names}
    chosen: dict[Names, Family] = {}
    for names, family in fields.items():
        inner = family.family if isinstance(family, ZeroInflated) else family
        varying = tuple(name for name in names if len(found[name]) == 2)
        if inner.core not in SCALES or varying == names:
            chosen[names] = family
        elif varying:
            chosen[varying] = family if len(varying) > 1 else Normal()
    waiting = {name for names in fields for name in names} - {name for names in chosen for name in names}
    constant = {name: float(values[0]) for name, values in found.items() if name in waiting and values}
    absent = [name for name, values in found.items() if not values]
    return Ready(chosen, constant, absent) if chosen or has_others else Ready(dict(fields), {}, absent)


def tell_declared(found: Ready, n: int) -> None:
    """Warn in the log of declared fields that the first n records say nothing of: they may be called something else."""
    for name in found.absent:
        log.warning("field %r: none of the first %d records has it", name, n)
    for name, value in found.constant.items():
        log.warning("field %r: always %r in the first %d records; it joins when it varies", name, value, n)


def _first_two(values: Iterable[Any]) -> list[Any]:
    """The first values that differ, two at the most."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
            if len(found) == 2:
                break
    return found


def _kind(values: Sequence[Any]) -> str:
    types = set(map(type, values))
    if not any(issubclass(kind, str) for kind in types):
        if types == {bool}:
            return "flag"
        return "number" if any(value != values[0] for value in values) else CONSTANT
    written = [value for value in values if value]  # an empty text says nothing of the others
    if written and all(map(is_time, written)):
        return TIMES
    if any(len(value) > LONGEST_TEXT for value in values):
        return LONG_TEXT
    return FREE_TEXT if len(set(values)) > max(20, len(values) / 2) else "text"
