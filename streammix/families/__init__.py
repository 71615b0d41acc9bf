"""The families of distributions, one short file each; `base` says how to add one."""

import difflib
from collections.abc import Mapping
from typing import Any

from streammix.errors import ConfigError
from streammix.families.base import Family, Interval
from streammix.families.bernoulli import Bernoulli
from streammix.families.beta import Beta
from streammix.families.binomial import Binomial
from streammix.families.categorical import Categorical
from streammix.families.dirichlet import Dirichlet
from streammix.families.exponential import Exponential
from streammix.families.fixed import Fixed
from streammix.families.gamma import Gamma
from streammix.families.geometric import Geometric
from streammix.families.inverse_gaussian import InverseGaussian
from streammix.families.levels import Level, Levels, Probabilities, as_level
from streammix.families.lognormal import LogNormal
from streammix.families.multinomial import Multinomial
from streammix.families.multivariate_normal import MultivariateNormal
from streammix.families.negative_binomial import NegativeBinomial
from streammix.families.normal import Normal
from streammix.families.poisson import Poisson
from streammix.families.student_t import StudentT
from streammix.families.uniform import Uniform
from streammix.families.von_mises import VonMises
from streammix.families.zero_inflated import ZeroInflated

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Dirichlet",
    "Exponential",
    "Family",
    "Fixed",
    "Gamma",
    "Geometric",
    "Interval",
    "InverseGaussian",
    "Level",
    "Levels",
    "LogNormal",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "Probabilities",
    "StudentT",
    "Uniform",
    "VonMises",
    "ZeroInflated",
    "as_level",
    "from_json",
    "to_json",
]

FAMILIES: dict[str, type[Family]] = {
    family.__name__: family
    for family in (
        Bernoulli,
        Beta,
        Binomial,
        Categorical,
        Dirichlet,
        Exponential,
        Fixed,
        Gamma,
        Geometric,
        InverseGaussian,
        LogNormal,
        Multinomial,
        MultivariateNormal,
        NegativeBinomial,
        Normal,
        Poisson,
        StudentT,
        Uniform,
        VonMises,
        ZeroInflated,
    )
}


def to_json(family: Family) -> dict[str, Any]:
    """Return a family's declaration as a plain dict that JSON can hold.

    Examples
    --------
    >>> from streammix.families import Binomial, to_json
    >>> to_json(Binomial(10, 0.5))
    {'family': 'Binomial', 'n': 10, 'p': 0.5}
    """
    return family.to_json()


def from_json(declared: str | Mapping[str, Any]) -> Family:
    """Return the family that a name or a plain dict declares.

    Raises
    ------
    ConfigError
        If the family is unknown, or a parameter is unknown, missing or outside its domain.

    Examples
    --------
    >>> from streammix.families import from_json
    >>> from_json("Poisson")
    Poisson()
    >>> from_json({"family": "Binomial", "n": 10})
    Binomial(n=10)
    """
    values = {"family": declared} if isinstance(declared, str) else declared
    if not isinstance(values, Mapping) or "family" not in values:
        raise ConfigError(f"a family is declared by its name or by a table with the key family, not by {declared!r}")
    name = values["family"]
    if not isinstance(name, str) or name not in FAMILIES:
        close = difflib.get_close_matches(str(name), FAMILIES, 1, 0.4)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(FAMILIES)}"
        raise ConfigError(f"unknown family {name!r}: {hint}")
    given = {key: _value(x) for key, x in values.items() if key != "family"}
    if isinstance(given.get("of"), str):
        given["of"] = from_json(given["of"])
    return FAMILIES[name].from_json_values(given)


def _value(declared: Any) -> Any:
    is_family = isinstance(declared, Mapping) and "family" in declared
    return from_json(declared) if is_family else declared
