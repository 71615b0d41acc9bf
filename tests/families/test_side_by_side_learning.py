"""Components that differ in the family of one field: the oracle's step of EM, and streams in any cuts."""

import itertools
from typing import Any

import numpy as np
import oracle
import pytest
from laws import assert_close, families, reloaded, state_of, table_of

import streammix as sm

Distribution = tuple[Any, ...]

#: Families by what a field of theirs may hold, and values that every one of them can have made.
SUPPORTS: dict[str, tuple[list[Distribution], Any]] = {
    "positive": (
        [
            ("gamma", 2.0, 1.5),
            ("lognormal", 0.5, 0.6),
            ("exponential", 0.4),
            ("normal", 2.0, 4.0),
            ("student", 4.0, 3.0, 1.5),
            ("uniform", 0.0, 60.0),
            ("vonmises", 2.0, 0.7, 24.0),
            ("inflated", 0.1, ("gamma", 4.0, 1.5)),
            ("inflated", 0.1, ("lognormal", 1.0, 0.3)),
            ("inflated", 0.1, ("exponential", 0.2)),
        ],
        lambda rng, n: rng.gamma(2.0, 1.5, n) + 4.0 * rng.integers(2, size=n),
    ),
    "not_negative": (
        [
            ("exponential", 0.4),
            ("inflated", 0.4, ("gamma", 2.0, 1.5)),
            ("inflated", 0.3, ("lognormal", 1.0, 0.3)),
            ("inflated", 0.2, ("normal", 2.0, 4.0)),
            ("inflated", 0.2, ("exponential", 0.2)),
            ("normal", 2.0, 4.0),
            ("uniform", 0.0, 60.0),
        ],
        lambda rng, n: rng.gamma(2.0, 1.5, n) * (rng.random(n) < 0.6),
    ),
    "counts": (
        [
            ("poisson", 3.0),
            ("negative_binomial", 6.0, 2.0),
            ("binomial", 40, 0.2),
            ("inflated", 0.3, ("poisson", 5.0)),
            ("inflated", 0.2, ("negative_binomial", 6.0, 3.0)),
            ("inflated", 0.3, ("binomial", 40, 0.1)),
            ("normal", 4.0, 9.0),
            ("exponential", 0.2),
            ("uniform", 0.0, 40.0),
        ],
        lambda rng, n: np.minimum(rng.poisson(3.0 + 5.0 * rng.integers(2, size=n)) * (rng.random(n) < 0.8), 40),
    ),
    "shares": (
        [
            ("beta", 2.0, 3.0),
            ("uniform", 0.0, 1.0),
            ("normal", 0.4, 0.05),
            ("gamma", 3.0, 0.15),
            ("exponential", 2.0),
            ("vonmises", 0.4, 1.5, 1.0),
        ],
        lambda rng, n: rng.beta(2.0 + 3.0 * rng.integers(2, size=n), 3.0),
    ),
    "flags": (
        [
            ("bernoulli", 0.3),
            ("binomial", 1, 0.6),
            ("poisson", 0.5),
            ("negative_binomial", 0.5, 2.0),
            ("binomial", 3, 0.2),
        ],
        lambda rng, n: rng.integers(2, size=n),
    ),
}


def kind_of(distribution: Distribution) -> str:
    return f"inflated_{distribution[2][0]}" if distribution[0] == "inflated" else str(distribution[0])


PAIRS = [
    pytest.param(support, (a, b), id=f"{support}-{kind_of(a)}-{kind_of(b)}")
    for support, (distributions, _) in SUPPORTS.items()
    for a, b in itertools.combinations(distributions, 2)
]


def stream(support: str, n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Records with the field in question, which may be missing, and one that all components share."""
    rng = np.random.default_rng(seed)
    values = SUPPORTS[support][1](rng, n).tolist()
    return [
        {"x": None if gone else value, "y": other}
        for value, other, gone in zip(values, rng.normal(size=n).tolist(), rng.random(n) < 0.1, strict=True)
    ]


def parts(pair: tuple[Distribution, ...]) -> list[Any]:
    return [{"x": distribution, "y": ("normal", float(k), 1.0)} for k, distribution in enumerate(pair)]


@pytest.mark.parametrize(("support", "pair"), PAIRS)
def test_one_step_of_em_is_the_oracles(support: str, pair: tuple[Distribution, ...]) -> None:
    records = stream(support, 150)
    model = sm.Mixture(components=families(parts(pair)), weights=[0.4, 0.6])
    trace = sm.batch.fit(model, table_of(records), max_iter=1)
    weights, expected, log_likelihood, counts = oracle.em_iteration([0.4, 0.6], parts(pair), records)
    np.testing.assert_allclose(trace.log_likelihood[0], log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(trace.expected_counts, counts, rtol=1e-9)
    assert_close(model, weights, expected)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize(("support", "pair"), PAIRS)
def test_cuts_and_resuming_make_no_difference(support: str, pair: tuple[Distribution, ...], batch_size: int) -> None:
    records = stream(support, 130, seed=2)
    whole, cut, resumed = (
        sm.Mixture(components=families(parts(pair)), batch_size=batch_size, seed=3) for _ in range(3)
    )
    whole.learn_many(table_of(records))
    for begin, end in itertools.pairwise([0, 1, 2, 60, 61, 130]):
        cut.learn_many(table_of(records[begin:end]))
    for i, record in enumerate(records):
        resumed.learn_one(record)
        if i in (0, 70):
            resumed = reloaded(resumed)
    assert state_of(whole) == state_of(cut) == state_of(resumed)
    for component in whole.parameters:
        assert "nan" not in repr(component)


@pytest.mark.parametrize("support", SUPPORTS)
def test_all_of_them_at_once(support: str) -> None:
    records, everything = stream(support, 400, seed=4), tuple(SUPPORTS[support][0])
    model = sm.Mixture(components=families(parts(everything)))
    weights = np.full(len(everything), 1 / len(everything))
    trace = sm.batch.fit(model, table_of(records), max_iter=12, tol=0.0)
    assert (np.diff(trace.log_likelihood) > -1e-9).all()
    assert trace.log_likelihood[0] == pytest.approx(
        oracle.log_likelihood(weights, parts(everything), records), rel=1e-10
    )
    for record in records[:20]:
        assert sum(model.predict_proba_one(record).values()) == pytest.approx(1.0)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    ("narrow", "outside"),
    [
        (sm.Gamma(2.0, 1.0), [-1.0, 0.0, -3.5]),
        (sm.LogNormal(0.0, 1.0), [-1.0, 0.0, -3.5]),
        (sm.Exponential(1.0), [-1.0, -0.5]),
        (sm.Beta(2.0, 2.0), [0.0, 1.0, 1.5, -2.0]),
        (sm.Poisson(3.0), [0.5, -1.0]),
        (sm.NegativeBinomial(3.0, 2.0), [0.5, -1.0]),
        (sm.Binomial(4, 0.5), [5.0, 0.5]),
        (sm.Bernoulli(0.5), [2.0, 0.5]),
        (sm.Uniform(0.0, 1.0), [1.5, -0.1]),
        (sm.ZeroInflated(0.3, sm.Gamma(2.0, 1.0)), [-1.0, -0.5]),
        (sm.ZeroInflated(0.3, sm.LogNormal(0.0, 1.0)), [-1.0, -0.5]),
        (sm.ZeroInflated(0.3, sm.NegativeBinomial(3.0, 2.0)), [-1.0, 0.5]),
    ],
    ids=repr,
)
def test_what_a_family_cannot_have_made_is_the_others(narrow: Any, outside: list[float], batch_size: int) -> None:
    model = sm.Mixture(components=[{"x": narrow}, {"x": sm.Normal(0.0, 4.0)}], batch_size=batch_size, seed=1)
    for value in outside:
        assert model.predict_proba_one({"x": value}) == {0: 0.0, 1: 1.0}
    np.testing.assert_array_equal(model.predict_proba_many(table_of([{"x": v} for v in outside])).column(0), 0.0)
    model.learn_many(table_of([{"x": value} for value in outside * 8]))
    np.testing.assert_allclose(
        np.asarray(model.parameters[0]["x"].statistics()[0]), narrow.statistics()[0], rtol=1e-12, err_msg="it moved"
    )
    assert model.weights[0] < 0.5


def test_what_makes_no_sense_side_by_side_is_refused() -> None:
    for components, message in [
        ([sm.VonMises(1.0, 2.0, 24.0), sm.Normal(0, 1), sm.VonMises(1.0, 2.0, 360.0)], "have one period, not 24, 360"),
        ([sm.VonMises(1.0, 2.0, 7.0), sm.Fixed(sm.VonMises(1.0, 2.0, 360.0))], "have one period, not 7, 360"),
        ([sm.Categorical({"a": 1.0}), sm.Normal(0, 1)], "field 'x': these families can't stand side by side"),
    ]:
        with pytest.raises(sm.ConfigError, match=message):
            sm.Mixture(components=[{"x": family} for family in components])
