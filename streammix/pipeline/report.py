"""What a model and a checkpoint hold, in people's terms."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from streammix.families import Categorical, Family, Fixed, LogNormal, MultivariateNormal, Normal
from streammix.mixture import Mixture
from streammix.pipeline.tables import Table

__all__ = ["components_table", "describe"]

LEVELS_SHOWN = 4
LONGEST_LEVEL = 40


def components_table(model: Mixture) -> Table:
    """Return the components of a model that has warmed up: weights and current parameters."""
    title = f"{len(model.weights)} components after {model.n_seen:,} records"
    table = Table(title, ["component", "weight", "field", "family", "parameters"], 2)
    for k, (weight, parameters) in enumerate(zip(model.weights, model.parameters, strict=True)):
        rows = [row for names, family in parameters.items() for row in _rows(names, family)]
        who = [(str(k), f"{weight:.4f}")] + [("", "")] * (len(rows) - 1)
        table.sections.append([(*which, *row) for which, row in zip(who, rows, strict=True)])
    return table


def describe(family: Family) -> tuple[str, str]:
    """Return a family's name and its parameters in words.

    Examples
    --------
    >>> from streammix.families import Binomial, Categorical, MultivariateNormal
    >>> describe(Binomial(10, 0.4))
    ('Binomial', 'n 10, p 0.4')
    >>> describe(Categorical({"FR": 0.25, "DE": 0.75}))
    ('Categorical', 'DE 75.0%, FR 25.0%')
    >>> describe(MultivariateNormal([52.5, 13.4], [[0.04, 0.0], [0.0, 0.09]]))
    ('MultivariateNormal', 'mean (52.5, 13.4), sd (0.2, 0.3)')
    """
    name = type(family).__name__
    if isinstance(family, Fixed):
        inner = family.distribution
        shown = " ".join(describe(inner)) if isinstance(inner, Family) else repr(family)[len("Fixed(") : -1]
        return name, shown
    if not family.is_given:
        return name, "not learnt yet"
    if isinstance(family, Categorical):
        return name, _levels(family.parameters[0])
    if isinstance(family, MultivariateNormal):
        mean, covariance = family.parameters
        return name, f"mean {_number(mean)}, sd {_number(tuple(np.sqrt(np.diag(covariance))))}"
    if isinstance(family, Normal | LogNormal):
        mean, variance = family.parameters
        words = f"mean {_number(mean)}, sd {_number(math.sqrt(variance))}"
        return name, words if isinstance(family, Normal) else f"{words} of the logarithm"
    values = ((field.name, getattr(family, field.name)) for field in fields(family))
    return name, ", ".join(f"{parameter} {_number(value)}" for parameter, value in values)


def _rows(names: str | tuple[str, ...], family: Family) -> list[tuple[str, str, str]]:
    """Return (field, family, parameters); of fields that are jointly normal, one for each."""
    if not isinstance(names, tuple):
        return [(names, *describe(family))]
    if not isinstance(family, MultivariateNormal) or not family.is_given:
        return [(", ".join(names), *describe(family))]
    mean, covariance = family.parameters
    deviations = np.sqrt(np.diag(covariance)).tolist()
    return [
        (name, type(family).__name__, f"mean {_number(m)}, sd {_number(sd)}")
        for name, m, sd in zip(names, mean, deviations, strict=True)
    ]


def _shortened(level: Any) -> str:
    text = str(level) or '""'
    return text if len(text) <= LONGEST_LEVEL else f"{text[: LONGEST_LEVEL - 1]}…"


def _number(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_number, value))})"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _levels(probabilities: Mapping[Any, float]) -> str:
    likeliest = sorted(probabilities.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{_shortened(level)} {share:.1%}" for level, share in likeliest[:LEVELS_SHOWN])
    more = len(likeliest) - LEVELS_SHOWN
    return f"{shown}, and {more} more" if more > 0 else shown
