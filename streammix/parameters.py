"""Statistics and theta of the core → families with their parameters, as people see them."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING, Engine
from streammix.core.values import level_of
from streammix.families import Categorical, Family, Fixed, ZeroInflated
from streammix.families.levels import Probabilities
from streammix.gaps import GAPS, gap_parameters
from streammix.schema import OTHER, Schema, limits
from streammix.state import State

__all__ = ["center_of", "draw", "families_of", "parameters_of", "with_values"]

FloatArray = NDArray[np.float64]
Names = tuple[str, ...]


def center_of(component: Mapping[Any, Family]) -> dict[str, Any]:
    """Return the mean of each field of a component, or its most probable level."""
    center: dict[str, Any] = {}
    for field, family in component.items():
        values: Any = family.expectation() if family.is_given else None
        center |= zip(field, values, strict=True) if isinstance(field, tuple) else [(field, values)]
    return center


def draw(
    weights: FloatArray, components: Sequence[Mapping[Any, Family]], n: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Draw n records from a mixture of these components; what lies beyond what a field takes, its nearest number."""
    labels = rng.choice(len(weights), size=n, p=weights)
    records: list[dict[str, Any]] = [{} for _ in range(n)]
    for k, component in enumerate(components):
        chosen = np.flatnonzero(labels == k)
        for field, family in component.items():
            drawn = family.sample(len(chosen), rng)
            inner = family.distribution if isinstance(family, Fixed) else family
            if isinstance(drawn, np.ndarray) and drawn.dtype.kind == "f" and isinstance(inner, Family):
                drawn = np.clip(drawn, *limits(inner))
            values = drawn.tolist() if isinstance(drawn, np.ndarray) else drawn
            for i, value in zip(chosen, values, strict=True):
                pairs = zip(field, value, strict=True) if isinstance(field, tuple) else [(field, value)]
                records[i].update(pairs)
    return records


def families_of(schema: Schema, engine: Engine, state: State, wanted: Collection[Names]) -> dict[Names, list[Family]]:
    """Return, for fields and groups of fields, each component's family with its current parameters."""
    found: dict[Names, list[Any]] = {names: [None] * engine.n_components for names in wanted}
    for i, block in enumerate(schema.blocks):
        for unit, names in enumerate(block.names):
            for k, family in enumerate(block.families[unit][: engine.n_components] if names in found else ()):
                if family is not None and not isinstance(family, Fixed):
                    statistics, theta = state.statistics[i][unit, :, k], engine.theta[i][unit, :, k]
                    values = parameters_of(block.kind, schema.size(block), statistics, theta)
                    family = with_values(family, values, list(schema.codes.get(names[0], ())))
                if family is not None:
                    found[names][k] = family
    return found


def parameters_of(kind: str, size: Any, statistics: FloatArray, theta: FloatArray) -> Any:
    """The parameters in people's order, from one component's statistics and theta."""
    if kind.startswith(INFLATING):
        return float(theta[-4]), parameters_of(kind.removeprefix(INFLATING), size, statistics[:-2], theta[:-5])
    if kind in ("normal", "lognormal"):
        return float(statistics[0] + statistics[1]), float(theta[0])
    if kind == "mvn":
        triangle = np.eye(size)
        triangle[np.tril_indices(size, -1)] = statistics[3 * size :]
        covariance = (triangle * theta[:size]) @ triangle.T
        mean = statistics[:size] + statistics[size : 2 * size]
        return tuple(mean.tolist()), tuple(tuple(row) for row in ((covariance + covariance.T) / 2).tolist())
    if kind == "categorical":
        shares = statistics[1 : 1 + size] * theta[0] + theta[1]
        return (shares / shares.sum(),)
    if kind == "multinomial":
        return tuple(theta[:size].tolist()), float(theta[2 * size])
    if kind == "vonmises":
        return math.atan2(theta[1], theta[0]) / math.pi * size % size, float(theta[2])
    if kind == "student":
        location, scale = float(statistics[0] + statistics[1]), math.sqrt(theta[1])
        return (location, scale) if size else (float(theta[0]), location, scale)
    if kind in GAPS:
        return gap_parameters(kind, size, statistics, theta)
    return () if kind == "uniform" else (float(theta[0]),)


def with_values(family: Family, values: Any, keys: list[Any]) -> Family:
    """The family with learnt parameters. They are right by construction, so they are not checked anew."""
    if isinstance(family, Categorical) and not keys:
        return family  # no level was seen yet
    if isinstance(family, Categorical):
        other = "(other)"
        while other in keys:
            other = f"({other})"
        levels = [other if key == OTHER else level_of(key) for key in keys]
        return Categorical(Probabilities(zip(levels, map(float, values[0]), strict=True)))
    if isinstance(family, ZeroInflated):
        values = values[0], with_values(family.family, values[1], keys)
    learnt = object.__new__(type(family))
    for name in family.__dataclass_fields__:
        object.__setattr__(learnt, name, getattr(family, name))
    for name, value in zip(family.parameter_names, values, strict=True):
        object.__setattr__(learnt, name, value)
    return learnt
