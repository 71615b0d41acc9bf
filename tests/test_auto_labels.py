"""The numbers of components: each keeps its own through take-overs, changes of K and of the stream, and resumes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from laws import reloaded, state_of

import streammix as sm
from streammix.auto.events import Events
from streammix.auto.labels import Labels
from streammix.auto.succession import heirs

Places = list[tuple[float, float]]

UNCHANGED: Places = [(0.0, 0.0), (6.0, 6.0), (12.0, 0.0)]
FOURTH = (30.0, 3.0)


def draw(places: Places, n: int, rng: np.random.Generator, outliers: bool = False) -> pa.Table:
    """Rows of clusters of one weight; one in a hundred lies anywhere."""
    rows = rng.normal(np.array(places)[rng.integers(len(places), size=n)])
    if outliers:
        rows[::100] = rng.uniform(-500.0, 500.0, size=(-(-n // 100), 2))
    return pa.table({"x": rows[:, 0], "y": rows[:, 1]})


def numbers(model: Any, places: Places) -> list[int]:
    return [model.labels[model.predict_one({"x": x, "y": y})] for x, y in places]


@pytest.mark.parametrize("outliers", [False, True])
@pytest.mark.parametrize("n_components", [(1, 5), None])
def test_what_does_not_change_keeps_its_number_when_another_is_born(n_components: Any, outliers: bool) -> None:
    """Meanwhile one broad component may have predicted best."""
    for seed in (1, 3, 4) if n_components else (0,):
        rng = np.random.default_rng(100 + seed)
        model = sm.AutoMixture(n_components, seed=seed)
        model.learn_many(draw(UNCHANGED, 6_000, rng, outliers))
        before = numbers(model, UNCHANGED)
        assert sorted(before) == sorted(model.labels)
        model.learn_many(draw([*UNCHANGED, FOURTH], 6_000, rng, outliers))
        after = numbers(model, [*UNCHANGED, FOURTH])
        assert after[:3] == before
        assert after[3] not in before
        assert sorted(after) == sorted(model.labels)


@pytest.mark.parametrize("n_components", [4, (1, 5)])
def test_a_cluster_that_goes_and_comes_back_has_its_number_again(n_components: Any) -> None:
    rng = np.random.default_rng(0)
    model, places = sm.AutoMixture(n_components, seed=0), [*UNCHANGED, FOURTH]
    model.learn_many(draw(places, 7_000, rng))
    before = numbers(model, places)
    assert len(set(before)) == 4
    for _ in range(2):
        model.learn_many(draw(UNCHANGED, 7_000, rng))
        assert numbers(model, UNCHANGED) == before[:3]
        model.learn_many(draw(places, 7_000, rng))
        assert numbers(model, places) == before


def test_a_law_that_comes_back_has_its_numbers_again() -> None:
    """Of three clusters one jumps elsewhere: there it is another; where it jumps back it is the old one."""
    rng = np.random.default_rng(1)
    model, other = sm.AutoMixture(3, seed=1), [*UNCHANGED[:2], (-20.0, -9.0)]
    model.learn_many(draw(UNCHANGED, 7_000, rng))
    before = numbers(model, UNCHANGED)
    model.learn_many(draw(other, 7_000, rng))
    assert numbers(model, other)[:2] == before[:2]
    assert numbers(model, other)[2] not in before
    model.learn_many(draw(UNCHANGED, 7_000, rng))
    assert numbers(model, UNCHANGED) == before
    assert "recurrence" in model.event_counts


@pytest.mark.parametrize("n_components", [3, 5])
def test_components_that_nobody_can_tell_apart_are_neither_born_nor_die(n_components: int) -> None:
    model = sm.AutoMixture(n_components, seed=0)
    model.learn_many(pa.table({"x": np.full(9_000, 1.5), "y": np.full(9_000, -2.0)}))
    assert model.labels == list(range(n_components))
    assert model.event_counts["take-over"] > 2
    assert not {"birth", "death", "return"} & set(model.event_counts)


@pytest.mark.parametrize(
    ("places", "weights", "found"),
    [
        ([9.0, 9.0, 0.0], [0.3, 0.2, 0.5], [0, 1, 2]),  # alike but for the weight
        ([9.0, 0.0, 30.0], [0.35, 0.35, 0.3], [0, 1, None]),  # elsewhere
        ([9.0, 0.0, 600.0], [0.499, 0.5, 0.001], [0, 1, 2]),  # nowhere
        ([9.0, 0.0, 600.0, 700.0], [0.499, 0.499, 0.001, 0.001], [0, 1, 2, None]),
    ],
)
def test_who_has_a_number_that_is_left(places: list[float], weights: list[float], found: list[int | None]) -> None:
    rng = np.random.default_rng(2)
    rows = np.repeat([0.0, 9.0, 30.0], 300)[:, None] + rng.normal(size=(900, 1))

    def engine(places: list[float], weights: list[float]) -> Any:
        components = [{"x": sm.Normal(place, 1.0)} for place in places]
        return sm.Mixture(components=components, weights=weights)._learner.running.engine  # type: ignore[union-attr]

    before = SimpleNamespace(engine=engine([0.0, 9.0, 9.0], [0.5, 0.49, 0.01]))
    line: Any = SimpleNamespace(champion=before, labels=Labels(3))
    kept: Any = SimpleNamespace(typical=lambda n: rows)
    order, labels = heirs(line, engine(places, weights), [], kept)
    assert labels == found
    assert sorted(order) == list(range(len(places)))
    assert places[order[0]] == 0.0


def test_labels_follow_across_numbers_of_components() -> None:
    """What goes on keeps its number, what was shown before has its own again, what is new gets a new one."""
    small, large, events = Labels(2), Labels(3, is_shown=False), Events()
    large.take_over([-3, None, -1], 500, Events(is_silent=True))
    assert large.own == [-3, -4, -1]
    large.lead_after(small, [0, 1, None], 1_000, events)
    assert (large.own, large.free) == ([0, 1, 2], 3)
    small.lead_after(large, [0, 1], 2_000, events)
    assert (small.own, small.free) == ([0, 1], 3)
    large.lead_after(small, [0, 1, 2], 3_000, events)
    large.take_over([0, None, 2], 4_000, events)
    assert (large.own, large.free) == ([0, 3, 2], 4)
    told = [(event["kind"], event["label"]) for event in events.kept]
    assert told == [("birth", 2), ("death", 2), ("return", 2), ("death", 1), ("birth", 3)]


def test_components_are_matched_by_the_whole_stream() -> None:
    """Where the last records are all one component's, the others are known by those before."""
    rng = np.random.default_rng(8)
    model = sm.AutoMixture((2, 3), seed=1)
    model.learn_many(draw(UNCHANGED, 5_000, rng))
    before = sorted(model.labels)
    assert len(before) == 3
    model.learn_many(draw(UNCHANGED[:1], 700, rng))
    running: Any = model._learner.running
    assert len(running.kept.typical(1_000)) == pytest.approx(1_000, rel=0.1)
    assert heirs(running.line, running.line.average.engine, [], running.kept) == ([0, 1, 2], running.line.labels.own)


def upheaval() -> pa.Table:
    """A fourth cluster comes and goes."""
    rng = np.random.default_rng(101)
    parts = [(UNCHANGED, 6_000), ([*UNCHANGED, FOURTH], 5_000), (UNCHANGED, 5_000)]
    return pa.concat_tables([draw(places, n, rng, outliers=True) for places, n in parts])


def test_a_resume_keeps_what_components_are_known_by() -> None:
    table = upheaval()
    model = sm.AutoMixture((1, 5), seed=1)
    model.learn_many(table[:9_200])
    running: Any = model._learner.running
    assert running.line.labels.former.laws
    again = reloaded(model)
    for one in (model, again):
        one.learn_many(table[9_200:])
    assert state_of(model) == state_of(again)


def test_a_checkpoint_without_them_goes_on() -> None:
    table = upheaval()
    model = sm.AutoMixture((1, 5), seed=1)
    model.learn_many(table[:9_200])
    snapshot = model._snapshot()
    assert snapshot.supervision is not None
    for line in snapshot.supervision.document["lines"]:
        for name in ("sleepers_labels", "past_labels", "former_labels"):
            del line[name]
    states = snapshot.supervision.states
    for name in [name for name in states if "former" in name]:
        del states[name]
    old: Any = sm.AutoMixture._restore(snapshot)
    assert not old._supervisor.line.labels.former.laws
    assert old.labels == model.labels
    old.learn_many(table[9_200:])
    assert len(set(old.labels)) == len(old.weights) == 3
