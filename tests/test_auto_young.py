"""AutoMixture's first records: it predicts soon, by as many components as there are records for, and keeps the laws."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from laws import reloaded, state_of

import streammix as sm
from streammix.auto.choice import Choice

MEANS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 7.0]])


def stream(n: int, late: int = 200) -> list[dict[str, Any]]:
    """Three clusters of two numbers; a third number varies from record `late` on; some words, and a time."""
    rng = np.random.default_rng(2)
    z = rng.integers(3, size=n)
    places = MEANS[z] + rng.normal(size=(n, 2))
    return [
        {
            "a": float(a),
            "b": float(b),
            "c": float(a + rng.normal()) if i >= late else 1.5,
            "word": f"w{rng.integers(4) + 2 * k}",
            "note": f"{rng.integers(35)}" if i % 3 else None,
            "at": "2026-03-01T10:20:30",
        }
        for i, (k, (a, b)) in enumerate(zip(z, places.tolist(), strict=True))
    ]


def rows(n: int, seed: int = 1, means: np.ndarray = MEANS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(means[rng.integers(len(means), size=n)] + rng.normal(size=(n, means.shape[1])))


def table(values: np.ndarray) -> pa.Table:
    return pa.table({f"x{j}": values[:, j] for j in range(values.shape[1])})


def truth(values: np.ndarray) -> float:
    squares = ((values[:, None] - MEANS) ** 2).sum(axis=2)
    return float(np.log(np.exp(-squares / 2).mean(axis=1) / (2 * np.pi)).mean())


@pytest.mark.parametrize("n_components", [3, (1, 4)])
@pytest.mark.parametrize("fields", [None, {("a", "b"): sm.MultivariateNormal(), "word": sm.Categorical()}])
def test_neither_cuts_nor_resumes_nor_the_door_make_a_difference(n_components: Any, fields: Any) -> None:
    """Undeclared, the fields are others at the second look than at the first: all is made anew then."""
    records = stream(1_300)
    make = lambda: sm.AutoMixture(n_components, fields=fields, seed=1)  # noqa: E731
    one, many, in_turn = make(), make(), make()
    shown = []
    for record in records:
        shown.append(one.log_density_one(record))
        one.learn_one(record)
    whole = pa.Table.from_pylist(records)
    begin = 0
    for end in (30, 51, 53, 66, 400, 999, 1_001, 1_004, 1_300):
        many.learn_many(whole[begin:end])
        many, begin = reloaded(many), end
    got = in_turn.ingest(records)
    assert state_of(one) == state_of(many) == state_of(in_turn)
    np.testing.assert_allclose(got.log_density, shown, rtol=1e-9)
    assert one.is_warm
    assert one.n_seen == 1_300
    if fields is None:
        assert "at" not in one.parameters[0]
        assert ("a", "b", "c") in one.parameters[0]


def test_a_resume_at_any_record_is_exact() -> None:
    records = stream(1_020, late=70)
    whole, parts = (sm.AutoMixture(2, seed=3) for _ in range(2))
    for i, record in enumerate(records):
        whole.learn_one(record)
        parts.learn_one(record)
        if 48 <= i < 64 or i % 211 == 0 or i > 997:
            parts = reloaded(parts)
    assert state_of(whole) == state_of(parts)


def test_a_refused_record_changes_nothing() -> None:
    model = sm.AutoMixture(2, seed=3)
    for record in stream(200):
        model.learn_one(record)
    before = state_of(model)
    for bad in ({"a": "text"}, {"a": float("inf")}, {}, {"word": 3.0}):
        with pytest.raises(sm.RecordError):
            model.learn_one(bad)
    with pytest.raises(sm.RecordError):
        model.learn_many(pa.Table.from_pylist([*stream(10), {"a": float("inf")}]))
    assert state_of(model) == before


def test_it_predicts_from_few_records() -> None:
    values, fresh = rows(400), rows(4_000, seed=9)
    model = sm.AutoMixture(3, seed=1)
    model.learn_many(table(values[:70]))
    assert model.is_warm
    model.learn_many(table(values[70:]))
    assert len(model.weights) == 3
    assert truth(fresh) - np.mean(np.asarray(model.log_density_many(table(fresh)))) < 0.06


def test_fewer_components_stand_in_for_many_parameters() -> None:
    rng = np.random.default_rng(4)
    means = 8 * rng.normal(size=(6, 10))
    values = rows(4_000, means=means)
    model = sm.AutoMixture(6, seed=1)
    model.learn_many(table(values[:150]))
    assert "standing in" in {doubt["sign"] for doubt in model.warnings}
    assert model.weights.sum() == pytest.approx(1.0)
    absent = [k for k, label in enumerate(model.labels) if label < 0]
    assert absent == list(range(absent[0], 6))
    assert model.weights[absent].max() < 1e-4
    assert len(model.parameters) == 6
    responsibilities = model.predict_proba_one(table(values[:1]).to_pylist()[0])
    assert list(responsibilities) == list(range(6))
    assert max(responsibilities[k] for k in absent) < 1e-4
    assert max(model.predict_proba_one({f"x{j}": 500.0 for j in range(10)})[k] for k in absent) < 1e-4
    model.learn_many(table(values[150:]))
    assert len(model.weights) == len(set(model.labels)) == 6
    assert "standing in" not in {doubt["sign"] for doubt in model.warnings}


def test_a_number_of_components_is_chosen_early() -> None:
    model = sm.AutoMixture(None, seed=1)
    model.learn_many(table(rows(700)))
    assert len(model.weights) == 3


def test_lines_that_come_later_are_compared_by_what_both_have_predicted() -> None:
    choice = Choice(1)
    for _ in range(10):
        choice.add(50, [-100.0])
    choice.grow()
    assert choice.best([2, 5], 0, 50) == (0, 0.0)
    for _ in range(4):
        choice.add(50, [-100.0, -80.0])
    best, gain = choice.best([2, 5], 0, 50)
    assert best == 1
    assert gain == pytest.approx(2 * 4 * 20.0 - 1.5 * np.log(400))
    again = Choice.from_json(choice.to_json())
    assert again.best([2, 5], 0, 50) == (best, gain)
    for _ in range(300):
        choice.add(50, [-90.0, -100.0])
    assert len(choice.blocks) <= 64
    assert choice.best([2, 5], 1)[0] == 0


def test_a_choice_that_went_by_ticks_goes_on() -> None:
    """Blocks of two ticks, and an open one of a tick and a half."""
    old = {
        "blocks": [[1_000, [-5.0, -4.0]], [1_000, [-5.0, -4.0]]],
        "open": [750, [-1.0, -1.0]],
        "ticks": 2,
        "taken": 1,
    }
    choice = Choice.from_json(old)
    for _ in range(5):
        choice.add(50, [0.0, 0.0])
    assert [n for n, _ in choice.blocks] == [1_000] * 3


def test_the_background_has_a_share_of_what_is_new() -> None:
    """The likelihood of the records that were learnt would leave it nothing."""
    rng = np.random.default_rng(5)
    values = rng.standard_t(2.5, size=(600, 3)) * 3
    model = sm.AutoMixture(3, seed=1)
    model.learn_many(table(values))
    assert model.background_weight > 1e-3


@pytest.mark.parametrize("n", [700, 1_003])
@pytest.mark.parametrize("late", [20, 300])
def test_a_warm_up_that_was_saved_when_it_was_longer_goes_on(n: int, late: int) -> None:
    """Such a checkpoint has more records than the first state is made of now, and nothing else."""
    model, records = sm.AutoMixture(3, seed=1), stream(n + 200, late)
    model._learner.buffer = [dict(record) for record in records[:n]]
    model._learner.buffer_weights = [1.0] * n
    model = reloaded(model)
    assert not model.is_warm
    for record in records[n:]:
        model.learn_one(record)
    assert model.is_warm
    assert model.n_seen == n + 200
    assert n < 1_000 or any("c" in names for names in model.parameters[0])
    assert np.isfinite(model.score_one(records[0]))


def test_what_stands_in_takes_new_levels_and_is_resumed(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    means = 8 * rng.normal(size=(6, 10))
    records = [
        dict(zip("abcdefghij", row.tolist(), strict=True)) | {"kind": "even" if i % 2 else "odd"}
        for i, row in enumerate(rows(400, means=means))
    ]
    for i in (130, 131, 170):
        records[i]["kind"] = f"new {i}"
    fields = {tuple("abcdefghij"): sm.MultivariateNormal(), "kind": sm.Categorical()}
    model, again = (sm.AutoMixture(6, fields=fields, seed=1) for _ in range(2))
    for i, record in enumerate(records):
        model.learn_one(record)
        again.learn_one(record)
        if i in (129, 130, 150, 170):
            assert -1 in again.labels
            sm.save(again, tmp_path / "model.arrow")
            again = sm.load(tmp_path / "model.arrow")
            assert again.score_one(record) == model.score_one(record)
            assert again.predict_proba_one(record) == model.predict_proba_one(record)
    assert again._snapshot().state.equals(model._snapshot().state)


def test_levels_that_came_in_the_youth_change_nothing_of_a_resume() -> None:
    rng = np.random.default_rng(1)
    records = [{"x": float(rng.normal(4 * (i % 2))), "w": f"l{int(rng.exponential(20))}"} for i in range(1_700)]
    model = sm.AutoMixture(2, fields={"x": sm.Normal(), "w": sm.Categorical()}, seed=1)
    for record in records[:1_100]:
        model.learn_one(record)
    again = reloaded(model)
    for record in records[1_100:]:
        model.learn_one(record)
        again.learn_one(record)
    assert state_of(model) == state_of(again)


@pytest.mark.parametrize("n_components", [2, None])
def test_a_field_that_is_nearly_always_missing(n_components: int | None) -> None:
    rng = np.random.default_rng(1)
    values = [{"a": None if i % 100 else float(rng.normal())} for i in range(1_300)]
    model = sm.AutoMixture(n_components, fields={"a": sm.Normal()}, seed=1)
    for i, record in enumerate(values):
        model.learn_one(record)
        if i in (999, 1_003, 1_010):
            model = reloaded(model)
    other = sm.AutoMixture(n_components, fields={"a": sm.Normal()}, seed=1)
    other.learn_many(pa.Table.from_pylist(values))
    assert model.n_seen == 1_300
    assert state_of(model) == state_of(other)
    assert np.isfinite(model.score_one({"a": 0.5}))


@pytest.mark.parametrize("family", [sm.Fixed(sm.Normal(0.0, 1.0)), sm.Uniform(0.0, 1.0)], ids=repr)
@pytest.mark.parametrize("n_components", [1, 2, (1, 3)])
def test_fields_of_which_nothing_is_learnt(family: Any, n_components: int | tuple[int, int]) -> None:
    model = sm.AutoMixture(n_components, fields={"x": family}, seed=1)
    for value in np.random.default_rng(1).random(600).tolist():
        model.learn_one({"x": value})
    assert model.weights.sum() == pytest.approx(1.0)
    fixed = -0.5 * np.log(2 * np.pi) - 0.125 if isinstance(family, sm.Fixed) else 0.0
    assert model.log_density_one({"x": 0.5}) == pytest.approx(fixed)
