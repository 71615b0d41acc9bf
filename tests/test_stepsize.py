"""Step sizes against arithmetic."""

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streammix.errors import ConfigError
from streammix.stepsize import (
    HalfLife,
    PowerDecay,
    RunningMean,
    StepSize,
    step_size_from_json,
    step_size_to_json,
)

ALPHAS = st.floats(0.5, 1.0, exclude_min=True)
STEP_SIZES = st.one_of(
    st.builds(PowerDecay, ALPHAS), st.builds(HalfLife, st.floats(1e-3, 1e12)), st.just(RunningMean())
)


@pytest.mark.parametrize(("n", "n0"), [(1, 1), (1, 1000), (0.5, 20), (123456, 1000)])
def test_values(n: float, n0: float) -> None:
    assert PowerDecay(0.6)(n, n0) == pytest.approx(n0**-0.4 / (n0 + n) ** 0.6, rel=1e-14)
    assert RunningMean()(n, n0) == pytest.approx(float(1 / (Fraction(n0) + Fraction(n))), rel=1e-15)
    assert HalfLife(8)(n, n0) == pytest.approx(1 - 0.5 ** (1 / 8), rel=1e-15)


def test_alpha_one_is_the_running_mean() -> None:
    for n in range(1, 200):
        assert PowerDecay(1.0)(n, 37) == pytest.approx(RunningMean()(n, 37), rel=1e-14)


def test_running_mean_weighs_every_record_alike() -> None:
    records = np.random.default_rng(5).normal(size=300)
    mean = records[:50].mean()
    for n, x in enumerate(records[50:], start=1):
        mean += RunningMean()(n, 50) * (x - mean)
    assert mean == pytest.approx(records.mean(), rel=1e-12)


@pytest.mark.parametrize("records", [1.0, 10.0, 1e4])
def test_a_weight_halves_over_a_half_life(records: float) -> None:
    step = HalfLife(records)
    weight = math.prod(1 - step(n, 5) for n in range(1, int(records) + 1))
    assert weight == pytest.approx(0.5, rel=1e-11)


def test_a_long_half_life_keeps_its_digits() -> None:
    assert HalfLife(1e12).core[1] == pytest.approx(math.log(2) * 1e-12, rel=1e-11)


@given(ALPHAS, st.floats(1, 1e9), st.floats(1, 1e9))
def test_power_decay_falls_and_stays_a_step(alpha: float, n: float, n0: float) -> None:
    step = PowerDecay(alpha)
    assert 0 < step(n + 1, n0) <= step(n, n0) < 1


def test_what_the_core_reads() -> None:
    assert PowerDecay(0.7).core == (0, 0.7)
    assert RunningMean().core == (0, 1.0)
    assert HalfLife(1).core == (1, 0.5)


@given(STEP_SIZES)
def test_round_trips(step_size: StepSize) -> None:
    names = {"PowerDecay": PowerDecay, "HalfLife": HalfLife, "RunningMean": RunningMean}
    assert eval(repr(step_size), names) == step_size
    assert step_size_from_json(step_size_to_json(step_size)) == step_size
    assert pickle.loads(pickle.dumps(step_size)) == copy.deepcopy(step_size) == step_size
    assert hash(copy.deepcopy(step_size)) == hash(step_size)


def test_numbers_are_stored_as_floats() -> None:
    assert repr(PowerDecay(np.float64(0.6))) == repr(PowerDecay()) == "PowerDecay(alpha=0.6)"
    assert repr(PowerDecay(1)) == "PowerDecay(alpha=1.0)"
    assert repr(HalfLife(np.int64(100))) == "HalfLife(records=100.0)"


@pytest.mark.parametrize("alpha", [0.5, 0, -1, 1.01, math.nan, math.inf, "0.6", None, True, 10**400])
def test_a_wrong_alpha_is_refused(alpha: object) -> None:
    with pytest.raises(ConfigError, match=r"PowerDecay: alpha must be a number above 0\.5 and at most 1, not"):
        PowerDecay(alpha)


@pytest.mark.parametrize("records", [0, -1, math.nan, math.inf, "10", None, False, 1e16])
def test_a_wrong_half_life_is_refused(records: object) -> None:
    with pytest.raises(ConfigError, match="HalfLife: records must be a positive number, at most 1e15, not"):
        HalfLife(records)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("PowerDecy", "unknown step size 'PowerDecy': did you mean PowerDecay"),
        ("zzz", "expected one of PowerDecay, RunningMean, HalfLife"),
        ({"alpha": 0.6}, "unknown step size None"),
        ({"step_size": "PowerDecay", "beta": 1}, "step size PowerDecay has no parameter 'beta'"),
        ({"step_size": "HalfLife"}, "step size HalfLife needs records"),
        ({"step_size": ["PowerDecay"]}, "unknown step size"),
        (0.6, "a step size is declared by"),
    ],
)
def test_a_wrong_declaration_is_refused(declared: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        step_size_from_json(declared)
