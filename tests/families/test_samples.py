"""Samples are records that the model takes back, whatever the parameters."""

from typing import Any

import pytest
from names import name_of

import streammix as sm

EXTREME = [
    sm.Normal(9e69, 1e139),
    sm.LogNormal(0.0, 1e6),
    sm.Exponential(1e-70),
    sm.Exponential(1e300),
    sm.Gamma(1e-3, 1.0),
    sm.Gamma(1e6, 1e90),
    sm.InverseGaussian(1e60, 1e50),
    sm.Beta(1e-3, 1e-3),
    sm.Beta(1e6, 1e-3),
    sm.Poisson(1e18),
    sm.Poisson(1e60),
    sm.Geometric(1e-17),
    sm.Geometric(1.0),
    sm.NegativeBinomial(1e20, 1e-2),
    sm.Binomial(2**53, 0.5),
    sm.StudentT(0.1, 0.0, 1e50),
    sm.VonMises(1e9, 0.0, 24),
    sm.VonMises(23.0, 1e12, "day"),
    sm.Uniform(-1e70, 1e70),
    sm.ZeroInflated(0.5, sm.LogNormal(0.0, 1e6)),
    sm.ZeroInflated(0.5, sm.Gamma(1e-3, 1.0)),
]
GROUPS = [
    sm.MultivariateNormal([9e49, 0], [[1e100, 0], [0, 1]]),
    sm.Dirichlet([1e-3, 1e-3, 1e3]),
    sm.Multinomial([0.5, 0.5, 0.0], 1e70),
]


@pytest.mark.parametrize("family", [*EXTREME, *GROUPS], ids=name_of)
def test_a_model_takes_its_own_samples(family: Any) -> None:
    key: Any = tuple("abc"[: family.n_fields]) if family.n_fields != 1 else "a"
    model = sm.Mixture(components=[{key: family}], seed=1)
    for record in model.sample(300):
        model.learn_one(record)
    assert model.n_seen == 300
