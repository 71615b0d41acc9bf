"""Families that have parameters → the statistics that a model starts from."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING
from streammix.core.values import level_key
from streammix.errors import ConfigError
from streammix.families import Fixed
from streammix.gaps import GAPS, check_given, gap_priors
from streammix.schema import Schema
from streammix.standing import Names
from streammix.state import State
from streammix.zeros import fill_inflated

__all__ = ["fill_given"]

FloatArray = NDArray[np.float64]


def fill_given(schema: Schema, state: State) -> None:
    """Write the statistics of the families that have parameters; the scale of a floor is the start's own."""
    for i, block in enumerate(schema.blocks):
        values, prior = state.statistics[i], state.priors[i]
        for unit, served_by in enumerate(block.families):
            families = served_by[: state.n_components]
            distinct = {id(family): family for family in families if family is not None}.values()
            if not any(family.is_given for family in distinct):
                continue
            for k, family in enumerate(families):
                if block.kind == "external" or family is None or not family.is_given:
                    continue
                given = family.statistics()
                _check_scale(block.kind, given, block.names[unit])
                inner: Any = family.distribution if isinstance(family, Fixed) else family
                if block.kind.startswith(INFLATING):
                    check_given(block.kind, inner.family.parameters, given[1], block.names[unit])
                    fill_inflated(block.kind, given, values[unit, :, k], prior[unit, :, k])
                elif block.kind in ("normal", "lognormal"):
                    values[unit, 0, k], values[unit, 2, k] = given[0], given[1]
                    prior[unit, 0, k] = given[1]
                elif block.kind == "mvn":
                    _fill_factor(values[unit, :, k], prior[unit, :, k], given[0], given[1])
                elif block.kind == "vonmises":
                    half = math.pi * float(given[0]) / block.size
                    values[unit, :, k] = math.cos(half), math.sin(half), given[1], 0.0
                    prior[unit, 0, k] = given[1]
                elif block.kind == "student":
                    values[unit, :, k] = given[0], 0.0, given[1], 1.0, given[2]
                    prior[unit, 0, k] = given[1]
                elif block.kind == "categorical":
                    codes = schema.codes[block.names[unit][0]]
                    values[unit, 1:, k] = 0.0
                    for level, p in inner.probabilities.items():
                        values[unit, 1 + codes[level_key(level)], k] = p
                    prior[unit, 0, k] = 0.0
                elif block.kind in GAPS:
                    check_given(block.kind, inner.parameters, given[0], block.names[unit])
                    values[unit, :, k] = np.concatenate([np.ravel(part) for part in given])
                    prior[unit, :, k] = gap_priors(block.kind, *given)
                else:
                    values[unit, :, k] = prior[unit, :, k] = given[0]
            served = [k for k, family in enumerate(families) if family is not None and family.is_given]
            for k in range(state.n_components):
                if served and k not in served:
                    values[unit, :, k] = values[unit, :, served[0]]
                    prior[unit, :, k] = prior[unit, :, served[0]]


def _check_scale(kind: str, given: tuple[FloatArray, ...], names: Names) -> None:
    if kind.startswith(INFLATING):
        _check_scale(kind.removeprefix(INFLATING), given[1:], names)
    if kind in ("normal", "lognormal", "mvn", "student"):
        variances = np.diag(given[1]) if kind == "mvn" else given[1]
        if not ((variances > 1e-120) & (variances < 1e140)).all():
            raise ConfigError(f"field {', '.join(names)}: a variance must lie between 1e-120 and 1e140, not {given[1]}")


def _fill_factor(values: FloatArray, prior: FloatArray, mean: FloatArray, covariance: FloatArray) -> None:
    """Write anchor, offset, pivots and the unit triangle of one component."""
    size = len(mean)
    root = np.linalg.cholesky(covariance)
    scale = np.diag(root)
    values[:size] = mean
    values[size : 2 * size] = 0.0
    values[2 * size : 3 * size] = scale**2
    values[3 * size :] = (root / scale)[np.tril_indices(size, -1)]
    prior[:size] = scale**2
