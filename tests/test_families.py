"""Families as values: parameters, supports, statistics, sampling; round trips through repr, JSON, pickle."""

import copy
import enum
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from names import name_of

from streammix import families as fam
from streammix.errors import ConfigError, RecordError
from streammix.families import (
    FAMILIES,
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Family,
    Fixed,
    Gamma,
    Geometric,
    Interval,
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
    from_json,
    to_json,
)

NAMES: dict[str, Any] = {**FAMILIES, "scipy": scipy}
COVARIANCE = [[2.0, 0.6], [0.6, 1.0]]

GIVEN: list[tuple[Family, Any]] = [
    (Normal(3, 4), scipy.stats.norm(3, 2)),
    (LogNormal(0.5, 0.25), scipy.stats.lognorm(s=0.5, scale=math.exp(0.5))),
    (Exponential(4), scipy.stats.expon(scale=0.25)),
    (Poisson(3.5), scipy.stats.poisson(3.5)),
    (Geometric(0.2), scipy.stats.geom(0.2, loc=-1)),
    (Bernoulli(0.8), scipy.stats.bernoulli(0.8)),
    (Binomial(10, 0.4), scipy.stats.binom(10, 0.4)),
    (Gamma(2.5, 3), scipy.stats.gamma(2.5, scale=3)),
    (InverseGaussian(3, 2), scipy.stats.invgauss(1.5, scale=2)),
    (Beta(2, 0.7), scipy.stats.beta(2, 0.7)),
    (NegativeBinomial(3, 2), scipy.stats.nbinom(2, 0.4)),
    (StudentT(30, 1, 2), scipy.stats.t(30, 1, 2)),
    (Uniform(2, 5), scipy.stats.uniform(2, 3)),
    (VonMises(3, 2), scipy.stats.vonmises(2, loc=3)),
]
LEARNT: list[Family] = [
    Normal(),
    LogNormal(),
    Exponential(),
    Poisson(),
    Geometric(),
    Bernoulli(),
    Binomial(7),
    MultivariateNormal(),
    Multinomial(),
    Categorical(),
    Gamma(),
    InverseGaussian(),
    Beta(),
    Dirichlet(),
    NegativeBinomial(),
    StudentT(),
    StudentT(df=4),
    VonMises(period=24),
    ZeroInflated(family=Poisson()),
]

REALS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVES = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
SHARES = st.floats(0, 1)
LEVELS = st.one_of(st.none(), st.booleans(), st.integers(), st.text())


@st.composite
def covariances(draw: st.DrawFn) -> MultivariateNormal:
    size = draw(st.integers(1, 4))
    numbers = st.floats(-10, 10)
    rows = np.array(draw(st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=size, max_size=size)))
    mean = draw(st.lists(REALS, min_size=size, max_size=size))
    return MultivariateNormal(mean, rows @ rows.T + np.eye(size))


@st.composite
def categoricals(draw: st.DrawFn) -> Categorical:
    levels = draw(st.lists(LEVELS, min_size=1, max_size=6, unique_by=lambda level: (type(level), level)))
    masses = draw(st.lists(st.integers(1, 9), min_size=len(levels), max_size=len(levels)))
    return Categorical([(level, mass / sum(masses)) for level, mass in zip(levels, masses, strict=True)])


@st.composite
def multinomials(draw: st.DrawFn) -> Multinomial:
    masses = draw(st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any))
    return Multinomial([mass / sum(masses) for mass in masses], draw(st.floats(1e-9, 1e70)))


FROZEN = st.one_of(
    st.builds(scipy.stats.norm, REALS, st.floats(0.1, 10)),
    st.builds(scipy.stats.gamma, st.floats(0.1, 10), scale=st.floats(0.1, 10)),
    st.builds(scipy.stats.poisson, mu=st.floats(0.1, 10), loc=st.integers(0, 3)),
)
SIMPLE = st.one_of(
    st.sampled_from(LEARNT),
    st.builds(Normal, REALS, POSITIVES),
    st.builds(LogNormal, REALS, POSITIVES),
    st.builds(Exponential, POSITIVES),
    st.builds(Poisson, POSITIVES),
    st.builds(Geometric, SHARES.filter(lambda p: p > 0)),
    st.builds(Bernoulli, SHARES),
    st.builds(Binomial, st.integers(1, 2**53), SHARES),
    covariances(),
    categoricals(),
    multinomials(),
    st.builds(Gamma, POSITIVES, POSITIVES),
    st.builds(InverseGaussian, POSITIVES, POSITIVES),
    st.builds(Beta, POSITIVES, POSITIVES),
    st.builds(Dirichlet, st.lists(POSITIVES, min_size=2, max_size=5)),
    st.builds(NegativeBinomial, POSITIVES, POSITIVES),
    st.builds(StudentT, st.floats(0.1, 1e6), REALS, POSITIVES),
    st.builds(VonMises, REALS, st.floats(0, 1e12), st.floats(1e-50, 1e50)),
    st.builds(Uniform, st.floats(-1e70, 0), st.floats(1, 1e70)),
    st.builds(ZeroInflated, SHARES, st.builds(LogNormal, REALS, POSITIVES)),
)
ANY = st.one_of(SIMPLE, st.builds(Fixed, SIMPLE.filter(lambda family: family.is_given)), st.builds(Fixed, FROZEN))


# --- round trips


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY)
def test_every_family_comes_back_from_repr_json_pickle_and_copy(family: Family) -> None:
    from_repr = eval(repr(family), NAMES)
    from_text = from_json(json.loads(json.dumps(to_json(family), allow_nan=False)))
    for back in (from_repr, from_text, pickle.loads(pickle.dumps(family)), copy.deepcopy(family)):
        assert back == family
        assert hash(back) == hash(family)
        assert repr(back) == repr(family)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_name_alone_declares_a_family_to_be_learnt(name: str) -> None:
    if name == "ZeroInflated":
        with pytest.raises(ConfigError, match="ZeroInflated: family must be"):
            from_json(name)
    elif name in ("Binomial", "Fixed", "Uniform"):
        with pytest.raises(ConfigError, match=f"{name} needs"):
            from_json(name)
    else:
        assert repr(from_json(name)) == repr(FAMILIES[name]())
        assert not from_json(name).is_given


def test_representations() -> None:
    assert repr(Normal(0, np.float32(1))) == "Normal(mean=0.0, variance=1.0)"
    assert repr(Normal(np.float64(0), np.int64(1))) == "Normal(mean=0.0, variance=1.0)"
    assert repr(Binomial(np.int64(10))) == repr(Binomial(10.0)) == "Binomial(n=10)"
    assert repr(Binomial(10, 0.5)) == "Binomial(n=10, p=0.5)"
    assert repr(MultivariateNormal(np.zeros(1), np.eye(1))) == "MultivariateNormal(mean=(0.0,), covariance=((1.0,),))"
    assert repr(Categorical({"a": 1})) == "Categorical(probabilities={'a': 1.0})"
    assert repr(Fixed(Bernoulli(0.8))) == "Fixed(Bernoulli(p=0.8))"
    assert repr(Fixed(scipy.stats.norm(0, 1))) == "Fixed(scipy.stats.norm(0, 1))"
    assert repr(Fixed(scipy.stats.norm)) == "Fixed(scipy.stats.norm())"
    assert repr(Fixed(scipy.stats.gamma(2, scale=np.float64(3)))) == "Fixed(scipy.stats.gamma(2, scale=3.0))"


def test_different_declarations_differ() -> None:
    several = [
        Normal(),
        Normal(0, 1),
        LogNormal(0, 1),
        Fixed(Normal(0, 1)),
        Fixed(scipy.stats.norm(0, 1)),
        Binomial(3),
    ]
    assert len(set(several)) == len(several)
    assert all(a != b for i, a in enumerate(several) for b in several[:i])
    with pytest.raises(AttributeError):
        several[1].mean = 2.0  # type: ignore[attr-defined]


# --- parameters and statistics


@pytest.mark.parametrize(("family", "known"), GIVEN, ids=name_of)
def test_expectation_and_sample_agree_with_scipy(family: Family, known: Any) -> None:
    assert family.expectation() == pytest.approx(known.mean(), rel=1e-14)
    sample = np.asarray(family.sample(20_000, np.random.default_rng(1)))
    assert sample.shape == (20_000,)
    assert sample.mean() == pytest.approx(known.mean(), abs=5 * known.std() / math.sqrt(20_000))
    assert sample.std() == pytest.approx(known.std(), rel=0.05)
    assert all(family.support.contains(x) for x in sample[:100])
    if hasattr(known, "logpdf"):
        assert scipy.stats.kstest(sample, known.cdf).pvalue > 1e-3
    else:
        counts = np.arange(sample.max() + 1)
        shares = np.bincount(sample) / sample.size
        np.testing.assert_allclose(shares, known.pmf(counts), atol=0.015)


def test_the_same_seed_draws_the_same() -> None:
    everything = [family for family, _ in GIVEN]
    everything += [MultivariateNormal([0, 1], COVARIANCE), Dirichlet([1, 2]), Multinomial([0.25, 0.75], 8)]
    everything += [Categorical({"a": 0.5, None: 0.5})]
    for family in [*everything, *map(Fixed, everything), Fixed(scipy.stats.gamma(2))]:
        first, second = (family.sample(50, np.random.default_rng(3)) for _ in range(2))
        assert list(map(str, first)) == list(map(str, second))


def test_statistics_are_the_inverse_of_the_m_step() -> None:
    def statistics(family: Family) -> list[Any]:
        assert all(isinstance(array, np.ndarray) and array.dtype == np.float64 for array in family.statistics())
        return [array.tolist() for array in family.statistics()]

    assert statistics(Normal(3, 4)) == [3.0, 4.0]
    assert statistics(LogNormal(3, 4)) == [3.0, 4.0]
    assert statistics(MultivariateNormal([0, 1], COVARIANCE)) == [[0.0, 1.0], COVARIANCE]
    assert statistics(Exponential(4)) == [0.25]
    assert statistics(Poisson(3.5)) == [3.5]
    assert statistics(Geometric(0.2)) == [4.0]
    assert statistics(InverseGaussian(3, 2)) == [3.0, 1.5]
    assert statistics(Bernoulli(0.8)) == [0.8]
    assert statistics(Binomial(10, 0.4)) == [4.0]
    assert statistics(Categorical({"a": 0.75, "b": 0.25})) == [[0.75, 0.25]]
    assert statistics(Multinomial([0.25, 0.75], 8)) == [[2.0, 6.0]]
    assert statistics(Fixed(Poisson(3.5))) == [3.5]
    assert statistics(Fixed(scipy.stats.norm())) == []


@pytest.mark.parametrize("family", LEARNT, ids=repr)
def test_a_family_without_parameters_says_so(family: Family) -> None:
    assert not family.is_given
    rng = np.random.default_rng(0)
    calls: list[Callable[[], Any]] = [family.statistics, family.expectation, lambda: family.sample(1, rng)]
    for call in calls:
        with pytest.raises(ConfigError, match="has no parameters yet"):
            call()


def test_with_parameters_keeps_the_declaration() -> None:
    assert Binomial(10).with_parameters(0.5) == Binomial(10, 0.5)
    assert Normal().with_parameters(np.float64(1), np.float64(2)) == Normal(1, 2)
    assert Categorical().with_parameters({"a": 1.0}) == Categorical({"a": 1})
    assert MultivariateNormal().with_parameters(np.zeros(2), np.eye(2)).n_fields == 2
    assert Fixed(Normal(0, 1)).with_parameters() == Fixed(Normal(0, 1))
    for family, _ in GIVEN:
        assert family.with_parameters(*family.parameters) == family


def test_multivariate_normal() -> None:
    family = MultivariateNormal([1, -1], COVARIANCE)
    assert (MultivariateNormal().n_fields, family.n_fields) == (None, 2)
    assert family.expectation().tolist() == [1, -1]
    sample = np.asarray(family.sample(20_000, np.random.default_rng(2)))
    assert sample.shape == (20_000, 2)
    np.testing.assert_allclose(sample.mean(axis=0), [1, -1], atol=0.05)
    np.testing.assert_allclose(np.cov(sample.T), COVARIANCE, atol=0.08)


def test_a_covariance_off_by_rounding_is_made_symmetric() -> None:
    family = MultivariateNormal([0, 0], [[1.0, 0.3 + 1e-12], [0.3, 1.0]])
    _, covariance = family.statistics()
    assert (covariance == covariance.T).all()


def test_an_overflowing_log_normal_mean_is_infinite() -> None:
    assert LogNormal(0, 3000).expectation() == math.inf


# --- supports

INSIDE_OUTSIDE: list[tuple[Family, list[Any], list[Any]]] = [
    (Normal(), [0, -1e300, 5.5, 10**300], [math.nan, math.inf, -math.inf, 10**400]),
    (MultivariateNormal(), [0, -1e300], [math.nan, math.inf]),
    (LogNormal(), [5e-324, 1e300], [0, -0.0, -1, math.inf, math.nan]),
    (Exponential(), [0, 1e300], [-1e-300, math.inf, math.nan]),
    (Poisson(), [0, 1, 10**15], [-1, 0.5, math.inf, math.nan, 10**400]),
    (Geometric(), [0, 1, 10**15], [-1, 0.5, math.inf, math.nan]),
    (Bernoulli(), [0, 1, True, False, 1.0], [2, -1, 0.5, math.nan]),
    (Binomial(10), [0, 10, 3.0], [11, -1, 2.5, math.nan]),
    (
        Categorical(),
        ["", "a", 0, 10**400, True, None, np.str_("b"), np.bool_(False)],
        [0.5, math.nan, [], {}, b"a"],
    ),
    (Gamma(), [5e-324, 1e300], [0, -1, math.inf, math.nan]),
    (InverseGaussian(), [5e-324, 1e300], [0, -1, math.inf, math.nan]),
    (Beta(), [5e-324, 0.5, 1 - 2**-53], [0, 1, math.nan]),
    (Multinomial(), [0, 1, 10**15], [-1, 0.5, math.inf, math.nan]),
    (Dirichlet(), [5e-324, 0.5, 1 - 2**-53], [0, 1, math.nan]),
    (NegativeBinomial(), [0, 1, 10**15], [-1, 0.5, math.inf, math.nan]),
    (Fixed(Bernoulli(0.5)), [0, 1], [2]),
    (StudentT(), [0, -1e300], [math.nan, math.inf]),
    (VonMises(), [0, -1e300, 7], [math.nan, math.inf]),
    (Uniform(2, 5), [2, 5, 3.5], [1.999, 5.001, math.nan]),
    (ZeroInflated(family=LogNormal()), [0, -0.0, 5e-324, 3], [-1, math.inf, math.nan]),
    (ZeroInflated(family=Binomial(4)), [0, 4], [5, 2.5]),
    (Fixed(scipy.stats.norm()), [0, -1], [math.nan, math.inf]),
]


@pytest.mark.parametrize(("family", "inside", "outside"), INSIDE_OUTSIDE, ids=lambda x: repr(x)[:30])
def test_supports(family: Family, inside: list[Any], outside: list[Any]) -> None:
    assert [x for x in inside if not family.support.contains(x)] == []
    assert [x for x in outside if family.support.contains(x)] == []


def test_supports_in_words() -> None:
    assert Binomial(10).support.describe() == "a whole number from 0 to 10"
    assert LogNormal().support.describe() == "a positive number"
    assert Poisson().support.describe() == "a whole number, 0 or more"
    assert Categorical().support.describe() == "a string, a whole number, a boolean or None"


@given(REALS)
def test_open_and_closed_ends(end: float) -> None:
    assert Interval(end, math.inf).contains(end)
    assert not Interval(end, math.inf, low_open=True).contains(end)
    assert Interval(-math.inf, end).contains(end)
    assert not Interval(-math.inf, end, high_open=True).contains(end)


# --- refusals


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Normal(0, 0), "Normal: variance must be a positive number, not 0"),
        (lambda: Normal(0, -1), "Normal: variance must be a positive number, not -1"),
        (lambda: Normal(math.nan, 1), "Normal: mean must be a finite number, not nan"),
        (lambda: Normal(0, math.inf), "Normal: variance must be a positive number, not inf"),
        (lambda: Normal("0", 1), "Normal: mean must be a finite number, not '0'"),
        (lambda: Normal(True, 1), "Normal: mean must be a finite number, not True"),
        (lambda: Normal(0), "Normal: variance is missing; give all parameters or none"),
        (lambda: Normal(variance=1), "Normal: mean is missing; give all parameters or none"),
        (lambda: LogNormal(0, -1), "LogNormal: variance must be a positive number"),
        (lambda: Exponential(0), "Exponential: rate must be a positive number"),
        (lambda: Poisson(-1), "Poisson: rate must be a positive number"),
        (lambda: InverseGaussian(1, 0), "InverseGaussian: shape must be a positive number, not 0"),
        (lambda: InverseGaussian(1), "InverseGaussian: shape is missing"),
        (lambda: Geometric(0), "Geometric: p must be a number above 0, up to 1, not 0"),
        (lambda: Bernoulli(1.01), "Bernoulli: p must be a number from 0 to 1, not 1.01"),
        (lambda: Binomial(10, -0.1), "Binomial: p must be a number from 0 to 1"),
        (lambda: Binomial(0), "Binomial: n must be a whole number from 1"),
        (lambda: Binomial(2.5), "Binomial: n must be a whole number from 1"),
        (lambda: Binomial(None), "Binomial: n must be a whole number from 1"),
        (lambda: MultivariateNormal([0, 1]), "covariance is missing"),
        (
            lambda: MultivariateNormal([0, 1], [[1, 2], [2, 1]]),
            "covariance must be a symmetric positive definite 2 x 2",
        ),
        (lambda: MultivariateNormal([0, 1], [[1, 0.5], [0.4, 1]]), "covariance must be a symmetric"),
        (lambda: MultivariateNormal([0, 1], [[1, 1], [1, 1]]), "covariance must be a symmetric"),
        (lambda: MultivariateNormal([0, 1], np.eye(3)), "covariance must be a symmetric"),
        (lambda: MultivariateNormal([0, 1], [[1], [0, 1]]), "covariance must be a symmetric"),
        (lambda: MultivariateNormal([0, 1], np.diag([1.0, -1.0])), "covariance must be a symmetric"),
        (lambda: MultivariateNormal([0, math.nan], np.eye(2)), "mean must be a list of finite numbers"),
        (lambda: MultivariateNormal(["0", "1"], np.eye(2)), "mean must be a list of finite numbers"),
        (lambda: MultivariateNormal([], []), "mean must be a list of finite numbers"),
        (lambda: MultivariateNormal(0, 1), "mean must be a list of finite numbers"),
        (lambda: Categorical({"a": 0.5}), "must sum to 1 within 1e-6, not to 0.5"),
        (lambda: Categorical({}), "must sum to 1"),
        (
            lambda: Categorical({"a": -0.5, "b": 1.5}),
            "probability of 'a' must be a number from 0 to 1, not -0.5",
        ),
        (lambda: Categorical({"a": "1"}), "probability of 'a' must be a number"),
        (lambda: Categorical({1.5: 1}), "level must be a string, a whole number, a boolean or None, not 1.5"),
        (lambda: Categorical([("a", 0.5), ("a", 0.5)]), "level 'a' is named twice"),
        (lambda: Categorical("ab"), "must be a mapping from levels to probabilities"),
        (lambda: Categorical(3), "must be a mapping from levels to probabilities"),
        (lambda: Fixed(Normal()), "Fixed needs a family with parameters, not Normal"),
        (lambda: Fixed(Fixed(Normal(0, 1))), "is fixed already"),
        (lambda: Fixed(3), "Fixed needs a family or an object with logpdf or logpmf, not 3"),
        (lambda: Fixed(Normal), "Fixed needs a family or an object with logpdf or logpmf"),
        (lambda: Fixed(scipy.stats.gamma), "scipy.stats.gamma: missing 1 required positional argument: 'a'"),
        (lambda: Fixed(scipy.stats.norm(0, -1)), "scipy.stats.norm: parameters outside the domain"),
        (lambda: Fixed(scipy.stats.norm([0, 1], 1)), "scipy.stats.norm: parameters of several distributions"),
        (lambda: Fixed(scipy.stats.norm(True)), "scipy.stats.norm: a parameter must be a number, not True"),
        (lambda: Fixed(scipy.stats.norm(math.nan)), "scipy.stats.norm: a parameter must be a number"),
    ],
)
def test_wrong_parameters_are_refused(declare: Callable[[], Family], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        declare()
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("Norml", "unknown family 'Norml': did you mean Normal?"),
        ("normal", "did you mean Normal?"),
        ("zzz", "expected one of Bernoulli, Beta, Binomial"),
        (3, "a family is declared by its name or by a table"),
        (None, "a family is declared by its name or by a table"),
        ({"mean": 0}, "a family is declared by its name or by a table"),
        ({"family": ["Normal"]}, "unknown family ['Normal']"),
        ({"family": "Family"}, "unknown family 'Family'"),
        ({"family": "Normal", "mu": 0}, "Normal has no parameter 'mu'; it has mean, variance"),
        ({"family": "Normal", "mean": "0", "variance": 1}, "Normal: mean must be a finite number"),
        ({"family": "Normal", "mean": {"family": "Poisson"}, "variance": 1}, "mean must be a finite number"),
        ({"family": "Fixed", "distribution": "Normal"}, "Fixed needs a family or an object"),
        ({"family": "Fixed", "object": "mine.Thing"}, "Fixed(mine.Thing) can't be read from a file"),
        ({"family": "Fixed", "scipy": "os"}, "scipy.stats has no distribution named 'os'"),
        (
            {"family": "Fixed", "scipy": "rv_continuous"},
            "scipy.stats has no distribution named 'rv_continuous'",
        ),
        ({"family": "Fixed", "scipy": "norm.__init__"}, "scipy.stats has no distribution named"),
        ({"family": "Fixed", "scipy": ["norm"]}, "scipy.stats has no distribution named"),
        ({"family": "Fixed", "scipy": "norm", "args": ["0"]}, "a parameter must be a number, not '0'"),
        ({"family": "Fixed", "scipy": "norm", "args": [[0, 1]]}, "parameters of several distributions"),
        ({"family": "Fixed", "scipy": "norm", "args": [[0, "1"]]}, "a parameter must be a number, not '1'"),
        ({"family": "Fixed", "scipy": "norm", "args": [math.nan]}, "a parameter must be a number, not nan"),
        ({"family": "Fixed", "scipy": "norm", "args": 0}, "args must be a list and kwds a mapping"),
        ({"family": "Fixed", "scipy": "norm", "kwds": {"sigma": 1}}, "unexpected keyword argument 'sigma'"),
        ({"family": "Fixed", "scipy": "norm", "args": [0, -1]}, "parameters outside the domain"),
        ({"family": "Fixed", "scipy": "norm", "code": "1"}, "unknown key 'code'"),
    ],
)
def test_wrong_declarations_are_refused(declared: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        from_json(declared)
    assert message in str(refused.value)


# --- levels


def test_levels_keep_their_identity() -> None:
    pairs = [(True, 0.1), (1, 0.2), ("1", 0.3), (None, 0.15), ("None", 0.15), (False, 0.05), (0, 0.05)]
    family = Categorical(pairs)
    back = from_json(json.loads(json.dumps(to_json(family))))
    assert isinstance(back, Categorical)
    for one in (family, back):
        assert one.probabilities is not None
        assert [(type(level), level, p) for level, p in one.probabilities.items()] == [
            (type(level), level, p) for level, p in pairs
        ]
        assert one.probabilities[True] == 0.1
        assert one.probabilities[1] == 0.2
        assert 1.0 not in one.probabilities
    assert repr(family).startswith("Categorical(probabilities=[(True, 0.1), (1, 0.2)")
    assert Categorical({True: 1}) != Categorical({1: 1})
    assert Categorical({"a": 0.5, "b": 0.5}) == Categorical({"b": 0.5, "a": 0.5})
    with pytest.raises(KeyError, match="'missing'"):
        back.parameters[0]["missing"]


def test_levels_become_plain_python_values() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    family = Categorical({np.str_("a"): 0.25, np.int64(3): 0.25, np.bool_(True): 0.25, Colour.RED: 0.25})
    assert [type(level) for level in family.parameters[0]] == [str, int, bool, str]
    assert list(family.parameters[0]) == ["a", 3, True, "red"]
    assert Categorical(family.parameters[0]) == family
    assert family.parameters[0] == {"a": 0.25, 3: 0.25, True: 0.25, "red": 0.25}
    assert family.parameters[0] != 3


def test_categorical_sample_and_expectation() -> None:
    shares = {"a": 0.2, None: 0.5, 7: 0.3}
    family = Categorical(shares)
    sample = family.sample(10_000, np.random.default_rng(4))
    assert isinstance(sample, list)
    for level, p in shares.items():
        assert sample.count(level) / len(sample) == pytest.approx(p, abs=0.03)
    assert family.expectation() is None
    assert Categorical({"a": 0.5, "b": 0.5}).expectation() == "a"


# --- Fixed


class Triangle:
    """A density of our own: 1 - |x| on [-1, 1]."""

    def logpdf(self, x: float) -> float:
        return math.log(1 - abs(x)) if abs(x) < 1 else -math.inf


class Answers:
    """Answers whatever it was told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def logpmf(self, x: float) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "known",
    [scipy.stats.norm(0.3, 1.7), scipy.stats.gamma(2.5), scipy.stats.poisson(3), scipy.stats.t(3)],
    ids=name_of,
)
def test_log_density_is_the_objects_own_however_values_are_grouped(known: Any) -> None:
    family = Fixed(known)
    assert family.is_foreign
    assert family.n_fields == 1
    own = getattr(known, "logpmf", None) or known.logpdf
    values = 1.0 + np.random.default_rng(6).poisson(4, 40)
    whole = family.log_density(values)
    one_by_one = np.concatenate([family.log_density(values[i : i + 1]) for i in range(len(values))])
    thirds = np.concatenate([family.log_density(part) for part in np.array_split(values, 3)])
    assert whole.tobytes() == one_by_one.tobytes() == thirds.tobytes()
    np.testing.assert_allclose(whole, own(values), rtol=1e-13)
    assert family.log_density(np.empty(0)).shape == (0,)


def test_log_density_of_rows() -> None:
    known = scipy.stats.multivariate_normal([0, 1], COVARIANCE)
    rows = np.random.default_rng(7).normal(size=(20, 2))
    np.testing.assert_allclose(Fixed(known).log_density(rows), known.logpdf(rows), rtol=1e-13)
    assert Fixed(known).n_fields is None
    assert Fixed(known).expectation().tolist() == [0, 1]


def test_an_object_with_both_methods_is_read_as_what_it_is() -> None:
    class Coin(Triangle):
        def logpdf(self, x: float) -> float:
            return math.inf if x in (0, 1) else -math.inf

        def logpmf(self, x: float) -> float:
            return math.log(0.5)

    assert Fixed(Coin()).log_density([0, 1, 2]).tolist() == [math.log(0.5), math.log(0.5), -math.inf]


def test_an_object_of_ones_own() -> None:
    family = Fixed(Triangle())
    assert family.log_density([0.5, 2.0]).tolist() == [math.log(0.5), -math.inf]
    assert math.isnan(family.expectation())
    assert family.n_fields is None
    assert repr(family) == f"Fixed({__name__}.Triangle)"
    assert to_json(family)["object"] == f"{__name__}.Triangle"
    with pytest.raises(ConfigError, match="can't be read from a file"):
        from_json(to_json(family))
    with pytest.raises(ConfigError, match="can't be sampled from: it has no method rvs"):
        family.sample(3, np.random.default_rng(0))


@pytest.mark.parametrize("answer", [math.nan, math.inf])
def test_a_value_without_a_density_is_refused_by_its_row(answer: float) -> None:
    class Partial:
        def logpdf(self, x: float) -> float:
            return answer if x == 3 else 0.0

    with pytest.raises(RecordError, match=r"log density (nan|inf) at 3\.0") as refused:
        Fixed(Partial()).log_density([1.0, 2.0, 3.0])
    assert refused.value.row == 2


@pytest.mark.parametrize("answer", ["0", None, [0.0, 1.0], 1j])
def test_an_answer_that_is_not_one_number_is_refused(answer: Any) -> None:
    with pytest.raises(ConfigError, match="logpmf must return one number"):
        Fixed(Answers(answer)).log_density([1.0])


def test_fixed_families_answer_as_the_family() -> None:
    for inner, _ in GIVEN:
        family = Fixed(inner)
        assert not family.is_foreign
        assert family.is_given
        assert family.parameters == ()
        assert (family.support, family.n_fields) == (inner.support, inner.n_fields)
        assert family.expectation() == inner.expectation()


def test_infinite_parameters_of_scipy_survive_json() -> None:
    family = Fixed(scipy.stats.truncnorm(0, np.inf))
    declared = to_json(family)
    assert declared == {"family": "Fixed", "scipy": "truncnorm", "args": [0, "inf"], "kwds": {}}
    assert from_json(json.loads(json.dumps(declared, allow_nan=False))) == family


def test_every_distribution_of_scipy_is_known_by_name() -> None:
    from scipy.stats._distr_params import distcont, distdiscrete

    for name, shapes in [*distcont, *distdiscrete]:
        if isinstance(name, str):
            family = Fixed(getattr(scipy.stats, name)(*shapes))
            back = from_json(json.loads(json.dumps(to_json(family), allow_nan=False)))
            assert (back, hash(back), repr(back)) == (family, hash(family), repr(family))


def test_a_look_alike_is_not_taken_for_scipys_own() -> None:
    class Norm(scipy.stats.rv_continuous):  # type: ignore[misc]
        def _logpdf(self, x: Any) -> Any:
            return np.zeros_like(x)

    assert "object" in to_json(Fixed(Norm(name="norm")()))


def test_the_table_of_families_is_the_modules() -> None:
    for name, family in FAMILIES.items():
        assert getattr(fam, name) is family
        assert name in fam.__all__
        assert {"Parameters", "Raises", "References", "Examples"} <= {
            line.strip() for line in (family.__doc__ or "").splitlines()
        }
    assert len({family.core for family in FAMILIES.values()}) == len(FAMILIES)
