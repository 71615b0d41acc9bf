"""AutoMixture keeps the laws: cuts and resumes make no difference, with challenges in flight as well."""

import numpy as np
import pandas as pd
import pytest
from laws import reloaded, state_of

import streammix as sm

N = 5_000


def stream() -> pd.DataFrame:
    """Three clusters, the first part of the stream sorted by cluster."""
    rng = np.random.default_rng(3)
    z = rng.integers(3, size=N)
    z[:1_500] = np.sort(z[:1_500])
    return pd.DataFrame(rng.normal(size=(N, 2)) + np.array([[0, 0], [4, 0], [0, 5.0]])[z], columns=["a", "b"])


def make() -> sm.AutoMixture:
    return sm.AutoMixture(n_components=3, warm_up=300, seed=1)


def test_cuts_make_no_difference() -> None:
    frame = stream()
    whole, single, cut = make(), make(), make()
    whole.learn_many(frame)
    for record in frame.to_dict("records"):
        single.learn_one(record)
    rng, at = np.random.default_rng(4), 0
    while at < N:
        size = int(rng.integers(1, 700))
        cut.learn_many(frame[at : at + size])
        at += size
    assert state_of(single) == state_of(whole)
    assert state_of(cut) == state_of(whole)


@pytest.mark.parametrize("at", [1, 299, 301, 377, 1_003, 2_011, 3_011, 3_333])
def test_resume_is_exact(at: int) -> None:
    frame = stream()
    expected = make()
    expected.learn_many(frame)
    model = make()
    model.learn_many(frame[:at])
    again = reloaded(model)
    again.learn_many(frame[at:])
    assert state_of(again) == state_of(expected)
