"""Open vocabularies: the rarest levels make room for new ones, and each level keeps its identity."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import LAW, cuts, reloaded, state_of

import streammix as sm
from streammix import schema as schema_module

ROOM = 40  # levels, in place of 10,000


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    for module in (schema_module, __import__("streammix.running", fromlist=["running"])):
        monkeypatch.setattr(module, "MAX_LEVELS", ROOM)
    monkeypatch.setattr(schema_module, "FOLDED", ROOM // 10)


def records(n, seed=0, share=0.5):
    """Some common levels, and ever new ones."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        z = int(rng.random() < 0.4)
        common = ["de", "fr", "it", True, 1, "1"][int(rng.integers(3)) + 3 * z]
        made.append({"x": float(rng.normal(4 * z)), "c": f"new-{i}" if rng.random() < share else common, "d": "pq"[z]})
    return made


def model(**declared):
    fields = {"x": sm.Normal(), "c": sm.Categorical(), "d": sm.Categorical()}
    return sm.Mixture(n_components=2, fields=fields, **{"warm_up": 20, "seed": 1} | declared)


def levels_of(mixture):
    return mixture._learner.running.schema.codes["c"]


def texts(rows):
    """The same with levels as text, as a column of a frame has them."""
    return [{**x, "c": str(x["c"])} for x in rows]


@LAW
@given(st.data(), st.sampled_from([1, 7, 64]), st.booleans())
def test_folding_does_not_depend_on_cuts(data, batch_size, averaging):
    rows = texts(records(400))
    declared = {"batch_size": batch_size, "averaging": averaging}
    one, many, ingested = (model(**declared) for _ in range(3))
    for x in rows:
        one.learn_one(x)
    for cut in data.draw(cuts(len(rows))):
        many.learn_many(pa.Table.from_pylist(rows[cut], schema=pa.Table.from_pylist(rows).schema))
        ingested.ingest(rows[cut])
    assert len(levels_of(one)) <= ROOM
    assert state_of(many) == state_of(one)
    assert state_of(ingested) == state_of(one)


@LAW
@given(st.integers(0, 400), st.sampled_from([1, 9]), st.booleans())
def test_a_resume_between_folds_is_exact(at, batch_size, averaging):
    rows = records(400)
    unbroken, broken = (model(batch_size=batch_size, averaging=averaging) for _ in range(2))
    for i, x in enumerate(rows):
        if i == at:
            broken = reloaded(broken)
        unbroken.learn_one(x)
        broken.learn_one(x)
    assert state_of(broken) == state_of(unbroken)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_common_levels_stay_and_keep_their_identity(batch_size):
    mixture = model(batch_size=batch_size)
    for x in records(3_000):
        mixture.learn_one(x)
    shares = mixture.parameters[0]["c"].probabilities
    for level in ("de", "fr", "it", True, 1, "1"):
        assert shares[level] >= 0.0, level
    assert len({(type(level), level) for level in shares}) == len(shares) <= ROOM
    again = reloaded(mixture).parameters[0]["c"].probabilities
    assert [(type(level), level) for level in again] == [(type(level), level) for level in shares]
    assert list(again.values()) == list(shares.values())
    counts = [component["c"].probabilities["(other)"] for component in mixture.parameters]
    assert all(0.3 < share < 0.6 for share in counts)


def test_no_count_is_lost_in_a_fold():
    mixture = model(step_size=sm.RunningMean())
    running = None
    for x in records(500, share=0.7):
        mixture.learn_one(x)
        running = mixture._learner.running
        if running is not None:
            values = running.state.statistics[running.schema.block_of(1)][0, :, :2]
            np.testing.assert_allclose(values[1:].sum(axis=0), values[0], rtol=1e-12)
            assert values.shape[0] <= 1 + ROOM
    assert ("other", None) in levels_of(mixture)


def test_a_folded_level_that_comes_back_is_new_and_a_frequent_one_gets_its_place():
    mixture = model()
    rows = records(20) + [{"x": 0.0, "c": "early"}] + [{"x": 0.0, "c": f"level-{i}"} for i in range(200)]
    for x in rows:
        mixture.learn_one(x)
    assert "early" not in levels_of(mixture)
    unseen = mixture.score_one({"c": "never seen"})
    assert mixture.score_one({"c": "early"}) == unseen
    for i in range(60):
        mixture.learn_one({"x": 0.0, "c": "early"})
        mixture.learn_one({"x": 0.0, "c": f"other-{i}"})
    assert "early" in levels_of(mixture)
    assert mixture.score_one({"c": "early"}) < unseen - 3.0


def test_levels_of_records_that_wait_are_counted():
    """A mini-batch's own new levels, which no statistic has yet, are not the first to go."""
    mixture = model(batch_size=30)
    for i in range(20 + 60):
        mixture.learn_one({"x": 0.0, "c": f"level-{i}"})
    for _ in range(20):
        mixture.learn_one({"x": 0.0, "c": "often"})
    for i in range(9):
        mixture.learn_one({"x": 0.0, "c": f"last-{i}"})
    assert "often" in levels_of(mixture)


def test_a_warm_up_with_too_many_levels_keeps_the_commonest():
    rows = [{"c": f"level-{i % 80 if i % 2 else i % 10}"} for i in range(400)]
    mixture = model(warm_up=400)
    mixture.learn_many(pa.Table.from_pylist([{"x": float(i), **x} for i, x in enumerate(rows)]))
    assert len(levels_of(mixture)) == ROOM - ROOM // 10 + 1
    assert all(f"level-{i}" in levels_of(mixture) for i in range(0, 10, 2))


def test_two_open_fields_fold_each_its_own():
    fields = {"a": sm.Categorical(), "b": sm.Categorical()}
    one, many = (sm.Mixture(n_components=2, fields=fields, warm_up=10, seed=1) for _ in range(2))
    rows = [{"a": f"a{i}", "b": f"b{i // 3}"} for i in range(300)]
    for x in rows:
        one.learn_one(x)
    many.learn_many(pa.Table.from_pylist(rows))
    assert state_of(many) == state_of(one)


def test_a_long_text_is_no_level():
    mixture = model()
    for x in records(50):
        mixture.learn_one(x)
    before = state_of(mixture)
    with pytest.raises(sm.RecordError, match=r"field 'c': expected text of at most 10,000 characters, got 'xxx"):
        mixture.learn_one({"c": "x" * 10_001})
    with pytest.raises(sm.RecordError, match=r"row 1: field 'c': .* of at most 10,000 characters"):
        mixture.learn_many(pa.table({"c": ["de", "x" * 10_001]}))
    assert state_of(mixture) == before
    mixture.learn_one({"c": "x" * 10_000})


def test_a_supervised_mixture_folds_the_rows_that_it_keeps():
    """Codes that are there no more must not stand in its reservoir, nor in a challenge."""
    rows, fields = texts(records(2_500)), {"x": sm.Normal(), "c": sm.Categorical()}
    models = [sm.AutoMixture((1, 2), fields=fields, warm_up=100, seed=1) for _ in range(2)]
    table = pa.Table.from_pylist(rows)
    models[0].learn_many(table)
    for begin in range(0, 2_500, 833):
        models[1].learn_many(table.slice(begin, 833))
        models[1] = reloaded(models[1])
    running = models[0]._learner.running
    for kept in (running.reservoir, running.sample):
        codes = kept.all()[0][:, 1]
        assert len(codes) >= 2_000
        assert codes.max() < len(levels_of(models[0])) <= ROOM
    assert "(other)" in models[0].parameters[0]["c"].probabilities
    assert state_of(models[0]) == state_of(models[1])
