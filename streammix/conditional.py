"""What a mixture expects of some fields given the others: regression, and the filling of gaps."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix import frames
from streammix.arrow import decoded, doubles
from streammix.core.values import is_missing, level_key, level_of, plain_of
from streammix.errors import ConfigError
from streammix.families import Bernoulli, Categorical, Dirichlet, Family, Fixed, Multinomial, VonMises
from streammix.families.levels import Probabilities
from streammix.frames import Arrays, Frame
from streammix.parameters import families_of
from streammix.running import Running
from streammix.schema import Schema

__all__ = [
    "checked_fields",
    "impute_frame",
    "impute_record",
    "predict_frame",
    "predict_record",
]

FloatArray = NDArray[np.float64]
Names = tuple[str, ...]
NULL = level_key(None)


@dataclass(frozen=True)
class Expected:
    """What is expected of one field in each of n rows.

    Parameters
    ----------
    values
        The expectations, (n,); of a field of levels, their probabilities, (n, V).
    levels
        The keys of the levels.
    is_flag
        Whether the field is a yes or no.
    """

    values: FloatArray
    levels: list[Any] | None = None
    is_flag: bool = False

    def fills(self) -> list[Any]:
        """Return values of the field's kind, None where there is none: the mean, the most probable level or answer."""
        if self.levels is not None:
            if not self.levels:
                return [None] * len(self.values)
            return [level_of(self.levels[place]) for place in self.values.argmax(axis=1)]
        if self.is_flag:
            return [value > 0.5 for value in self.values.tolist()]
        return [value if np.isfinite(value) else None for value in self.values.tolist()]


def checked_fields(schema: Schema, fields: str | Iterable[str], waiting: Collection[str] = ()) -> list[str]:
    """Return the names of fields as a list, without those that wait to join the model.

    Raises
    ------
    ConfigError
        If the model lacks one of them.
    """
    wanted = [fields] if isinstance(fields, str) else list(fields)
    for name in wanted:
        if name not in schema.names and name not in waiting:
            raise ConfigError(f"the model has no field {name!r}; it has {', '.join(map(repr, schema.names))}")
    return [name for name in wanted if name in schema.names]


def _gaps_of(schema: Schema, x: Mapping[str, Any]) -> list[str]:
    """The fields that a record lacks."""
    return [name for name in schema.names if name not in x or _is_gap(schema, name, plain_of(x[name]))]


def predict_record(running: Running, x: Mapping[str, Any], fields: Sequence[str], r: FloatArray) -> dict[str, Any]:
    """Return what is expected of fields that a record, of these responsibilities (K,), lacks."""
    found = _expected(running, fields, r[None, :], lambda name: np.array([_number(x.get(name))]))
    return {
        name: float(one.values[0]) if one.levels is None else _probabilities(one.levels, one.values[0])
        for name, one in ((name, found[name]) for name in fields)
    }


def impute_record(running: Running, x: Mapping[str, Any], r: FloatArray) -> dict[str, Any]:
    """Return a record with its gaps filled."""
    fields = _gaps_of(running.schema, x)
    found = _expected(running, fields, r[None, :], lambda name: np.array([_number(x.get(name))]))
    filled = {name: found[name].fills()[0] for name in fields}
    return dict(x) | {name: value for name, value in filled.items() if value is not None}


def _as_unknown(frame: Frame, fields: Sequence[str]) -> Frame:
    """A frame in which nothing is known of some fields."""
    n = frame.num_rows
    if isinstance(frame, Arrays):
        unknown = np.full(n, np.nan)
        pairs = zip(frame.column_names, frame.columns, strict=True)
        return Arrays(frame.column_names, [unknown if name in fields else column for name, column in pairs], n)
    for name in fields:
        if name in frame.column_names:
            frame = frame.set_column(frame.column_names.index(name), name, pa.nulls(n))
    return frame


def predict_frame(running: Running, frame: Frame, fields: Sequence[str]) -> dict[str, FloatArray]:
    """Return columns of what is expected of fields given the others.

    A field of levels has a column for each level, named "field=level".
    """
    columns: dict[str, FloatArray] = {}
    known = _as_unknown(frame, fields)
    responsibilities = running.evaluate(running.schema.encode(known).table)[0]
    found = _expected(running, fields, responsibilities, lambda name: _numbers(known, name))
    for name in fields:
        levels = found[name].levels
        if levels is None:
            columns[name] = found[name].values
        else:
            columns |= {f"{name}={level_of(key)}": found[name].values[:, i] for i, key in enumerate(levels)}
    return columns


def impute_frame(running: Running, X: Any, frame: Frame, r: FloatArray) -> Any:
    """Return a frame of X's kind with the gaps of the model's fields filled."""
    schema, masks = running.schema, {}
    for name in schema.names:
        is_level = name in frame.column_names and NULL in schema.codes.get(name, ())
        mask = np.zeros(frame.num_rows, dtype=bool) if is_level else frames.missing_cells(frame, name)
        if mask.any():
            masks[name] = mask
    if not masks:
        return frames.filled(X, frame.column_names, {})
    rows = np.flatnonzero(np.logical_or.reduce(list(masks.values())))
    found = _expected(running, list(masks), r[rows], lambda name: _numbers(frame, name)[rows])
    fills = {}
    for name, mask in masks.items():
        values: list[Any] = [None] * frame.num_rows
        for row, value in zip(rows.tolist(), found[name].fills(), strict=True):
            values[row] = value
        fills[name] = mask & np.array([value is not None for value in values]), values
    return frames.filled(X, frame.column_names, fills)


def _is_gap(schema: Schema, name: str, value: Any) -> bool:
    return bool(is_missing(value) or value != value) and NULL not in schema.codes.get(name, ())


def _number(value: Any) -> float:
    value = plain_of(value)
    try:
        return float("nan") if value is None or is_missing(value) else float(value)
    except (TypeError, ValueError):  # a level: nothing is read off it
        return float("nan")


def _numbers(frame: Frame, name: str) -> FloatArray:
    if name not in frame.column_names:
        return np.full(frame.num_rows, np.nan)
    source = frame.column(name)
    return doubles(decoded(source) if pa.types.is_dictionary(source.type) else source)


def _probabilities(levels: Sequence[Any], values: FloatArray) -> Probabilities:
    return Probabilities(zip(map(level_of, levels), values.tolist(), strict=True))


def _inner(family: Family) -> Any:
    return family.distribution if isinstance(family, Fixed) else family


def _expected(
    running: Running, fields: Sequence[str], r: FloatArray, numbers: Callable[[str], FloatArray]
) -> dict[str, Expected]:
    """What is expected of fields under the responsibilities r (n, K), by name.

    `numbers` gives a field's values, NaN where it is not known, for those that stand in a group with others.
    """
    schema = running.schema
    groups = [names for names in schema.fields if not set(names).isdisjoint(fields)]
    found: dict[str, Expected] = {}
    families = families_of(schema, running.published, running.published_state, groups)
    for names in groups:
        own = families[names]
        inner = [_inner(family) for family in own]
        if any(isinstance(family, Categorical) for family in inner):
            found[names[0]] = _expected_levels(inner, r)
        elif any(isinstance(family, VonMises) for family in inner):
            found[names[0]] = Expected(_expected_direction(own, r))
        else:
            is_flag = all(isinstance(family, Bernoulli) for family in inner if isinstance(family, Family))
            is_flag = is_flag and any(isinstance(family, Family) for family in inner)
            x = np.column_stack([numbers(name) for name in names]) if len(names) > 1 else np.full((len(r), 1), np.nan)
            means = _expected_numbers(running, names, own, r, x)
            found |= {name: Expected(means[:, j], is_flag=is_flag) for j, name in enumerate(names)}
    return found


def _expected_levels(families: Sequence[Any], r: FloatArray) -> Expected:
    places: dict[Any, int] = {}
    for family in families:
        for level in family.probabilities or ():
            places.setdefault(level_key(level), len(places))
    shares = np.zeros((len(families), len(places)))
    for k, family in enumerate(families):
        for level, p in (family.probabilities or {}).items():
            shares[k, places[level_key(level)]] = p
    return Expected(r @ shares, list(places))


def _expected_direction(families: Sequence[Family], r: FloatArray) -> FloatArray:
    """The direction of the mixture's mean resultant: 23 and 1 o'clock meet at midnight."""
    period = next(inner.turn for inner in map(_inner, families) if isinstance(inner, VonMises))
    resultants = np.zeros(len(families), dtype=complex)
    for k, family in enumerate(families):
        inner = _inner(family)
        turns = 2j * np.pi * float(family.expectation()) / period
        length = 1.0 - float(inner.statistics()[1]) if isinstance(inner, VonMises) else 1.0
        resultants[k] = length * np.exp(turns)
    return np.asarray(np.angle(r @ resultants) / (2 * np.pi) * period % period)


def _expected_numbers(
    running: Running, names: Names, families: Sequence[Family], r: FloatArray, x: FloatArray
) -> FloatArray:
    """The expectations of a field or a group, (n, D), given those that are known."""
    mixed = np.zeros(x.shape)
    served = np.zeros(len(families), dtype=bool)
    for i, block in enumerate(running.schema.blocks):
        if block.kind == "mvn" and block.names == [names]:
            mixed += running.published.regress(i, np.ascontiguousarray(x), np.ascontiguousarray(r))
            served |= [family is not None for family in block.families[0][: len(families)]]  # K may be chosen
    for k in np.flatnonzero(~served).tolist():
        inner = _inner(families[k])
        means = np.atleast_1d(np.asarray(families[k].expectation(), dtype=np.float64))
        if isinstance(inner, Dirichlet):
            means = _expected_shares(means, x)
        elif isinstance(inner, Multinomial):
            means = _expected_counts(means, x)
        responds = r[:, k] > 0.0
        mixed[responds] += r[responds, k, None] * np.broadcast_to(means, x.shape)[responds]
    return mixed


def _expected_shares(means: FloatArray, x: FloatArray) -> FloatArray:
    """Shares that are not known split what the known ones leave in proportion to their means."""
    gaps = np.isnan(x)
    rest = 1.0 - np.where(gaps, 0.0, x).sum(axis=1, keepdims=True)
    whole = np.where(gaps, means, 0.0).sum(axis=1, keepdims=True)
    return np.where(gaps, rest * means / np.where(whole > 0.0, whole, 1.0), x)


def _expected_counts(means: FloatArray, x: FloatArray) -> FloatArray:
    """Counts that are not known are to the known ones as their means are; where none is known they are their means."""
    gaps = np.isnan(x)
    known, expected = (np.where(gaps, 0.0, part).sum(axis=1, keepdims=True) for part in (x, means))
    scale = np.where(gaps.all(axis=1, keepdims=True), 1.0, known / np.maximum(expected, 1e-300))
    return np.where(gaps, scale * means, x)
