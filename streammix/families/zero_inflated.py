"""A family of a field with more zeros than the family has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from streammix.errors import ConfigError
from streammix.families.base import Family, FloatArray, Interval

__all__ = ["ZeroInflated"]


@dataclass(frozen=True, repr=False)
class ZeroInflated(Family):
    """Zero-inflated distribution: some zeros are structural, all else is as in another family.

    p(x) = zero [x = 0] + (1 - zero) p_family(x).

    Where the family is of counts, a zero may be of either kind, and EM shares it out. Where it is continuous, every
    zero is structural (a hurdle model): `zero` is a probability, and p a density for all other x.

    Parameters
    ----------
    zero
        The share of structural zeros, a number from 0 to 1.
    family
        The other distribution: Poisson, NegativeBinomial, Binomial, Exponential, Gamma, LogNormal or Normal.

    Raises
    ------
    ConfigError
        If `zero` is outside its domain, `family` can't be inflated, or only one of them has parameters.

    References
    ----------
    Lambert, D. (1992). Zero-inflated Poisson regression, with an application to defects in manufacturing.
    Technometrics 34, 1-14.

    Examples
    --------
    >>> from streammix.families import LogNormal, Poisson, ZeroInflated
    >>> ZeroInflated(family=LogNormal())
    ZeroInflated(family=LogNormal())
    >>> ZeroInflated(0.25, Poisson(4)).expectation()
    3.0
    """

    zero: float | None = None
    family: Any = None

    core: ClassVar[str] = "inflated"
    domains: ClassVar[Mapping[str, Interval]] = {"zero": Interval(0.0, 1.0, what="a number from 0 to 1")}
    inner: ClassVar[tuple[str, ...]] = (
        "poisson",
        "negative_binomial",
        "binomial",
        "exponential",
        "gamma",
        "lognormal",
        "normal",
    )

    def __post_init__(self) -> None:
        if isinstance(self.zero, Family) and self.family is None:
            raise ConfigError(
                f"ZeroInflated: the share of zeros stands first; give the family by name, family={self.zero!r}"
            )
        if not isinstance(self.family, Family) or self.family.core not in self.inner:
            raise ConfigError(
                "ZeroInflated: family must be Poisson, NegativeBinomial, Binomial, Exponential, Gamma, LogNormal or "
                f"Normal, with or without parameters, not {self.family!r}"
            )
        if self.zero is not None:
            object.__setattr__(self, "zero", self._number("zero", self.zero, self.domains["zero"]))
        if (self.zero is not None) != self.family.is_given:
            raise ConfigError(
                f"ZeroInflated: zero is {self.zero!r}, but family is {self.family!r}; give all parameters or none"
            )

    @property
    def support(self) -> Interval:
        """The family's support, and 0."""
        support: Interval = self.family.support
        if support.low_open and support.low == 0.0:
            return replace(support, low_open=False, what="a number, 0 or more")
        return support

    @property
    def is_given(self) -> bool:
        """Whether the family has parameters."""
        return self.zero is not None

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the share of structural zeros, and the family's statistics without them."""
        zero, family = self.parameters
        return (np.asarray(zero), *family.statistics())

    def sample(self, n: int, rng: np.random.Generator) -> Any:
        """Draw n values."""
        zero, family = self.parameters
        return np.where(rng.random(n) < zero, 0, family.sample(n, rng))

    def expectation(self) -> float:
        """Return the mean."""
        zero, family = self.parameters
        mean = family.expectation()
        return float((1.0 - zero) * mean) if math.isfinite(mean) or zero < 1.0 else 0.0

    @classmethod
    def from_json_values(cls, values: Mapping[str, Any]) -> Family:
        """Return the family that the dict of `to_json`, without its name, declares: `of` is the family inside.

        Raises
        ------
        ConfigError
            If a parameter is unknown or outside its domain.
        """
        if unknown := [key for key in values if key not in ("zero", "of")]:
            raise ConfigError(f"ZeroInflated has no parameter {unknown[0]!r}; it has zero, of (the family inside)")
        return cls(values.get("zero"), values.get("of"))

    def _json_values(self) -> dict[str, Any]:
        inner = {"of": self.family.to_json()}
        return inner if self.zero is None else {"zero": self.zero, **inner}
