"""The E-step in parts: statistics of parts add up to those of the whole, whoever took them, and make the same step."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import BLOCKS, LAW, draw_records, explicit, reloaded, state_of, table_of, with_gaps

import streammix as sm
from streammix import partial
from streammix.errors import ConfigError, StreammixError
from streammix.partial import Partial
from streammix.shipping import FORMAT, SCHEMA, check_version, from_arrow, packed_model, to_arrow, unpacked_model

ALL = sorted(BLOCKS)


def warm(names: list[str], seed: int = 0, n_components: int = 2, **declared: Any) -> sm.Mixture:
    """A model of some families, past its warm-up, that has seen no gaps yet."""
    fields = {BLOCKS[name].key: BLOCKS[name].unlearnt for name in names}
    model = sm.Mixture(n_components=n_components, fields=fields, **{"warm_up": 40, "seed": seed} | declared)
    model.learn_many(table_of(draw_records(names, 60, np.random.default_rng(seed))))
    return model


def rows_of(names: list[str], n: int, seed: int, gaps: float = 0.25, news: float = 0.2) -> pa.Table:
    """Records with gaps and, where there are levels, some new ones."""
    rng = np.random.default_rng(seed + 1000)
    records = with_gaps(draw_records(names, n, rng), gaps, rng)
    for record in records:
        if record.get("country") is not None and rng.random() < news:
            record["country"] = f"new-{rng.integers(3)}"
    return table_of(records)


def with_batches_of(n: int, model: sm.Mixture) -> sm.Mixture:
    """The same model with another size of mini-batches."""
    snapshot = model._snapshot()
    pending = snapshot.pending if snapshot.pending.size else np.empty((0, model._learner.schema.reader.n_columns))
    changed = {**snapshot.declaration, "batch_size": n}
    return sm.Mixture._restore(replace(snapshot, declaration=changed, pending=pending))


def state(model: sm.Mixture) -> Any:
    return model._learner.running.state


def assert_same(ours: Partial, theirs: Partial, tolerance: float = 1e-11) -> None:
    """Two partials agree: what is counted exactly, what is summed to rounding."""

    def close(a: Any, b: Any) -> None:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + np.abs(b).max(initial=0.0)))

    assert (ours.fingerprint, ours.place, ours.n) == (theirs.fingerprint, theirs.place, theirs.n)
    assert (ours.n_refused, list(ours.refused)) == (theirs.n_refused, list(theirs.refused))
    assert ours.own.keys() == theirs.own.keys()
    for unit, (n, masses) in ours.own.items():
        assert n == theirs.own[unit][0]
        close(masses, theirs.own[unit][1])
    close(ours.log_likelihood, theirs.log_likelihood)
    close(ours.masses, theirs.masses)
    close(ours.sums, theirs.sums)
    assert ours.levels.keys() == theirs.levels.keys()
    for name, found in ours.levels.items():
        assert found.keys() == theirs.levels[name].keys()
        for key, level in found.items():
            assert level.first == theirs.levels[name][key].first
            close(level.counts, theirs.levels[name][key].counts)


@st.composite
def setups(draw: st.DrawFn) -> tuple[list[str], int, int, pa.Table, list[int]]:
    """Families, a seed, K, rows with gaps and new levels, and where they are cut."""
    names = draw(st.lists(st.sampled_from(ALL), min_size=1, max_size=4, unique=True))
    seed, n = draw(st.integers(0, 99)), draw(st.integers(0, 90))
    table = rows_of(names, n, seed, draw(st.sampled_from([0.0, 0.25])))
    marks = sorted(draw(st.lists(st.integers(0, n), max_size=5)))
    return names, seed, draw(st.integers(1, 3)), table, [0, *marks, n]


@LAW
@given(setups(), st.randoms(use_true_random=False))
def test_partials_add_up_to_those_of_the_whole(setup: Any, random: Any) -> None:
    names, seed, k, table, marks = setup
    model = warm(names, seed, k)
    before = state_of(model)
    whole = partial.expect(model, table)
    parts = [partial.expect(model, table.slice(a, b - a), place=0, first_row=a) for a, b in itertools.pairwise(marks)]
    assert_same(partial.merge(parts), whole)
    random.shuffle(parts)
    while len(parts) > 1:  # any two, in either order, again and again
        a, b = parts.pop(random.randrange(len(parts))), parts.pop(random.randrange(len(parts)))
        both = partial.merge([a, b])
        assert_same(partial.merge([b, a]), both)
        parts.append(both)
    assert_same(parts[0], whole)
    assert state_of(model) == before


@LAW
@given(setups())
def test_the_step_is_that_of_a_mini_batch(setup: Any) -> None:
    names, seed, k, table, marks = setup
    if not table.num_rows:
        return
    model = warm(names, seed, k)
    single = with_batches_of(max(table.num_rows, 2), model)
    single.learn_many(table)
    partial.settle(single)  # of one row alone, that waits for a second one
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(marks)]
    found = [partial.expect(model, part, place=i) for i, part in enumerate(parts)]
    if partial.admit(model, partial.merge(found)):
        found = [partial.expect(model, part, place=i) for i, part in enumerate(parts)]
    partial.step(model, partial.merge(found[::-1]))
    assert model.n_seen == single.n_seen
    assert model._learner.running.schema.codes == single._learner.running.schema.codes
    assert state(model).mass_units == state(single).mass_units
    for ours, theirs in zip(state(model).arrays(), state(single).arrays(), strict=True):
        np.testing.assert_allclose(ours[..., :k], theirs[..., :k], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ALL)
def test_one_partial_makes_the_step_to_the_last_bit(name: str) -> None:
    """With no merge there is no rounding either."""
    model, table = warm([name], 3), rows_of([name], 300, 3)
    single = with_batches_of(table.num_rows, model)
    single.learn_many(table)
    if partial.admit(model, partial.expect(model, table)):
        assert name == "categorical"
    partial.step(model, partial.expect(model, table))
    assert state(model).equals(state(single))


def test_averages_and_the_rows_that_waited_are_the_mixtures_own() -> None:
    names = ["normal", "mvn", "categorical"]
    model = warm(names, 5, averaging=True, batch_size=16)  # four of the sixty records wait
    single = with_batches_of(130, reloaded(model))
    assert len(model._snapshot().pending) == 4
    for mixture in (model, single):
        partial.settle(mixture)
        assert len(mixture._snapshot().pending) == 0
        assert mixture.n_seen == 60
    table = rows_of(names, 260, 5, news=0.0)
    single.learn_many(table)
    for part in (table.slice(0, 130), table.slice(130)):
        partial.step(model, partial.expect(model, part))
    assert model.n_seen == single.n_seen
    assert model._learner.running.average.equals(single._learner.running.average)
    assert state(model).equals(state(single))


def test_levels_that_are_new_in_several_places_are_one() -> None:
    model = warm(["categorical", "normal"])
    parts = [["b", "a", "de"], ["a", "c"], ["b", "c"]]
    found = [
        partial.expect(model, [{"country": level, "height": 0.5} for level in levels], place=place)
        for place, levels in enumerate(parts)
    ]
    both = partial.merge([partial.merge(found[:0:-1]), found[0]])
    counts = {key: level.counts.sum() for key, level in both.levels["country"].items()}
    assert counts == pytest.approx({"a": 2.0, "b": 2.0, "c": 2.0})
    known = list(model._learner.running.schema.codes["country"])
    with pytest.raises(StreammixError, match=r"'country' has levels that are new"):
        partial.step(model, both)
    assert partial.admit(model, both)
    assert list(model._learner.running.schema.codes["country"]) == [*known, "b", "a", "c"]
    with pytest.raises(StreammixError, match="at other parameters"):
        partial.step(model, both)


@LAW
@given(setups())
def test_a_row_of_arrow_holds_a_partial_to_the_last_bit(setup: Any) -> None:
    names, seed, k, table, _ = setup
    model = warm(names, seed, k)
    found = partial.expect(model, [*table.to_pylist(), {"nothing": 1}, {BLOCKS[names[0]].fields[0]: [1]}], place=3)
    assert found.n_refused == 2
    batch = to_arrow(found)
    assert batch.schema == SCHEMA
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(batch)
    [back] = from_arrow(pa.ipc.open_stream(sink.getvalue()).read_all())
    assert_same(back, found, 0.0)


def test_models_travel_with_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    model = warm(ALL)
    version, data = packed_model(model)
    there = unpacked_model(version, data)
    assert partial.fingerprint(there) == partial.fingerprint(model)
    batch = to_arrow(partial.expect(there, rows_of(ALL, 5, 0, news=0.0)))
    monkeypatch.setattr(sm, "__version__", "9.9")
    for refused in (lambda: unpacked_model(version, data), lambda: from_arrow(batch), lambda: check_version(version)):
        with pytest.raises(StreammixError, match=rf"streammix {version}, but this process has 9\.9"):
            refused()
    row = {**batch.to_pylist()[0], "format": FORMAT + 1, "version": "9.9"}
    with pytest.raises(StreammixError, match="statistics have format 2"):
        from_arrow(pa.RecordBatch.from_pylist([row], SCHEMA))


def test_what_cannot_be_is_refused_by_name() -> None:
    cold = sm.Mixture(n_components=2, fields={"x": sm.Normal()})
    with pytest.raises(StreammixError, match="warming up"):
        partial.expect(cold, [{"x": 1.0}])
    partial.settle(cold)
    one, other = warm(["normal"], 1), warm(["normal"], 2)
    rows = [{"height": 1.0}]
    with pytest.raises(StreammixError, match="at other parameters"):
        partial.merge([partial.expect(one, rows), partial.expect(other, rows)])
    before = state_of(one)
    with pytest.raises(StreammixError, match="at other parameters"):
        partial.step(one, partial.expect(other, rows))
    partial.step(one, partial.expect(one, []))
    assert state_of(one) == before

    class Own:
        def logpdf(self, x: Any) -> Any:
            return np.zeros_like(x)

    own = sm.Mixture(components=[{"x": sm.Fixed(Own())}, {"x": sm.Fixed(Own())}])
    with pytest.raises(ConfigError, match="can't be held by a file"):
        packed_model(own)


def test_rows_that_no_component_can_have_made_are_left_out() -> None:
    model = explicit(["fixed", "normal"])
    rows = [{"noise": 1.0, "height": 0.5}, {"noise": -1.0, "height": 0.0}, {"noise": 2.0}]
    found = partial.expect(model, pa.Table.from_pylist(rows), place=7, first_row=10)
    assert (found.n, found.n_refused) == (2, 1)
    assert (found.refused[0].place, found.refused[0].row) == (7, 11)
    assert found.refused[0].record == '{"noise": -1.0, "height": 0.0}'
    assert_same(replace(found, n_refused=0, refused=()), partial.expect(model, [rows[0], rows[2]], 7, 10))


def test_levels_beyond_the_room_are_folded_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from streammix import running, schema

    for module in (running, schema):
        monkeypatch.setattr(module, "MAX_LEVELS", 12)
    monkeypatch.setattr(schema, "FOLDED", 3)
    model = warm(["categorical", "normal"])
    rows = [{"country": f"level-{i}", "height": 0.0} for i in range(30)] + [{"country": "de"}] * 20
    assert partial.admit(model, partial.expect(model, rows))
    again = partial.expect(model, rows, closed=True)
    assert not again.levels
    partial.step(model, again)
    probabilities = model.parameters[0]["country"].probabilities
    assert len(probabilities) <= 12
    assert "(other)" in probabilities
    assert model.n_seen == 110
