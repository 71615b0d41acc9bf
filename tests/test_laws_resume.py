"""Law 3: resume is exact. Save and load at any record, then the rest: the state of never having stopped."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import (
    BLOCKS,
    LAW,
    Case,
    cases,
    draw_records,
    explicit,
    reloaded,
    state_of,
    table_of,
    with_gaps,
)

import streammix as sm

ALL = sorted(BLOCKS)


@LAW
@given(cases(min_records=2), st.data())
def test_save_and_load_at_any_record(case: Case, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(case.records)))
    unbroken = case.learn(case.make())
    model = reloaded(case.learn(case.make(), 0, cut))
    assert state_of(case.learn(model, cut)) == state_of(unbroken)


@LAW
@given(cases())
def test_loading_gives_back_what_was_saved(case: Case) -> None:
    model = case.learn(case.make())
    again = reloaded(model)
    assert state_of(again) == state_of(model)
    for x in case.records[:5]:
        assert again.predict_proba_one(x) == model.predict_proba_one(x)
        assert again.score_one(x) == model.score_one(x)


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("warm_up", [None, 20])
def test_a_stop_at_every_single_record(batch_size: int, warm_up: int | None) -> None:
    """A save and a load between any two records: warm-up, its end, each filling of a mini-batch."""
    rng = np.random.default_rng(1)
    records = with_gaps(draw_records(ALL, 50, rng), 0.15, rng)
    common = {"batch_size": batch_size, "averaging": True, "seed": 5, "warm_up": warm_up}

    def make() -> sm.Mixture:
        if warm_up is None:
            return explicit(ALL, 2, **common)
        return sm.Mixture(n_components=2, fields={BLOCKS[n].key: BLOCKS[n].unlearnt for n in ALL}, **common)

    unbroken, broken = make(), make()
    for x in records:
        unbroken.learn_one(x)
        broken.learn_one(x)
        broken = reloaded(broken)
    assert state_of(broken) == state_of(unbroken)


def test_fields_that_are_inferred_survive_a_stop_inside_the_warm_up() -> None:
    rng = np.random.default_rng(2)
    records = with_gaps(draw_records(["normal", "bernoulli", "categorical"], 90, rng), 0.1, rng)

    def make() -> sm.Mixture:
        return sm.Mixture(n_components=2, warm_up=40, seed=9)

    unbroken = make()
    unbroken.learn_many(table_of(records))
    for cut in (0, 1, 17, 39, 40, 41, 77):
        broken = make()
        broken.learn_many(table_of(records).slice(0, cut))
        broken = reloaded(broken)
        broken.learn_many(table_of(records).slice(cut))
        assert state_of(broken) == state_of(unbroken), cut
        assert broken.infer_summary() == unbroken.infer_summary()


def test_a_level_seen_late_survives() -> None:
    model = sm.Mixture(n_components=2, fields={"country": sm.Categorical()}, warm_up=10, seed=0)
    for level in ["de", "fr", "it"] * 5 + ["ümlaut", "", "日本"]:
        model.learn_one({"country": level})
    again = reloaded(model)
    for level in ["ümlaut", "", "日本", "never seen", "de", *(f"level {i}" for i in range(40))]:
        again.learn_one({"country": level})
        again = reloaded(again)
        model.learn_one({"country": level})
    assert state_of(again) == state_of(model)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_random_numbers_go_on_where_they_stopped(batch_size: int) -> None:
    model = explicit(["normal", "poisson"], 2, seed=4, batch_size=batch_size)
    for x in draw_records(["normal", "poisson"], 20, np.random.default_rng(3)):
        model.learn_one(x)
    again = reloaded(model)
    assert repr(again.sample(5)) == repr(model.sample(5))


def test_a_copy_by_clone_starts_anew_and_a_loaded_model_does_not() -> None:
    records = draw_records(["normal"], 20, np.random.default_rng(3))
    model = explicit(["normal"], 2)
    fresh = state_of(model)
    for x in records:
        model.learn_one(x)
    assert state_of(model.clone()) == fresh
    assert state_of(reloaded(model)) == state_of(model) != fresh


def test_two_models_from_one_file_do_not_share_anything(tmp_path: Path) -> None:
    records = draw_records(ALL, 30, np.random.default_rng(4))
    model = explicit(ALL, 2, batch_size=4)
    for x in records[:10]:
        model.learn_one(x)
    sm.save(model, tmp_path / "state.arrow")
    before = state_of(model)
    first, second = sm.load(tmp_path / "state.arrow"), sm.load(tmp_path / "state.arrow")
    for x in records[10:]:
        first.learn_one(x)
    assert state_of(second) == before == state_of(model)
    assert state_of(sm.load(tmp_path / "state.arrow")) == before
    assert state_of(first) != before
