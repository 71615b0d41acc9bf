"""What a supervised mixture makes of streams that dwell or change: detection, evidence and what it ends with."""

import numpy as np
import pyarrow as pa
import pytest

import streammix as sm
from streammix.auto.alarm import Alarm
from streammix.auto.dwell import TICKS, Dwell
from streammix.auto.evidence import Paired
from streammix.auto.member import densities
from streammix.auto.reservoir import Reservoir
from streammix.core.table import table_of

MEANS = np.array([0.0, 5.0, 10.0])
FIELDS = {"x": sm.Normal()}


def dwelling(n, rng, stay=300):
    """Labels of a Markov chain that stays about so many records, then goes anywhere."""
    starts = np.flatnonzero(np.append(True, rng.random(n - 1) < 1.5 / stay))
    return np.repeat(rng.integers(3, size=len(starts)), np.diff(np.append(starts, n)))


def table(labels, rng, means=MEANS):
    return pa.table({"x": means[labels] + rng.normal(size=len(labels))})


def looked_at(labels):
    """What the detector says of sure responsibilities, 500 a tick."""
    dwell = Dwell()
    for begin in range(0, len(labels), 500):
        for beat in range(begin, begin + 500, 50):
            dwell.add(np.eye(3)[labels[beat : beat + 50]])
        dwell.close()
    return dwell


@pytest.mark.parametrize("stay", [100, 300, 1_000])
def test_a_chain_dwells(stay):
    assert looked_at(dwelling(10_000, np.random.default_rng(stay), stay)).is_on


def test_independent_records_do_not_dwell():
    rng = np.random.default_rng(1)
    dwell = looked_at(rng.integers(3, size=10_000))
    assert not dwell.is_on
    assert abs(dwell.look()[0]) < 0.02


def test_a_sorted_start_and_a_change_for_good_do_not_dwell():
    rng = np.random.default_rng(2)
    rest = rng.integers(3, size=7_000)
    assert not looked_at(np.concatenate([np.sort(rng.integers(3, size=3_000)), rest])).is_on
    assert not looked_at(np.concatenate([rng.choice(3, 5_000, p=[0.8, 0.1, 0.1]), rng.integers(3, size=5_000)])).is_on
    stays = np.concatenate([np.zeros(250, dtype=int), np.repeat([1, 0, 2, 1, 0, 2, 1], 500), rest])
    assert not looked_at(stays[:10_000]).is_on  # ticks are of two stays each at first, of none in the end


def test_a_chain_of_components_that_overlap_dwells():
    """Neighbours are little alike then, but those two apart as much."""
    rng = np.random.default_rng(6)
    for labels, dwells in ((dwelling(10_000, rng, 100), True), (rng.integers(3, size=10_000), False)):
        dwell = Dwell()
        for begin in range(0, 10_000, 500):
            for beat in range(begin, begin + 500, 50):
                density = np.exp(-0.5 * (rng.normal(labels[beat : beat + 50, None], 1.0, (50, 1)) - np.arange(3)) ** 2)
                dwell.add(density / density.sum(axis=1, keepdims=True))
            dwell.close()
        assert dwell.is_on == dwells


def test_a_stream_dwells_on_where_stays_are_too_long_to_tell():
    rng, dwell = np.random.default_rng(7), looked_at(dwelling(10_000, np.random.default_rng(3)))
    for labels, dwells in ((np.zeros(6_000, dtype=int), True), (rng.integers(3, size=10_000), False)):
        for begin in range(0, len(labels), 500):
            dwell.add(np.eye(3)[labels[begin : begin + 500]])
            dwell.close()
        assert dwell.is_on == dwells


def test_unsure_responsibilities_say_nothing():
    dwell = Dwell()
    for _ in range(TICKS):
        dwell.add(np.full((50, 3), 1 / 3))
        dwell.close()
    assert dwell.look() == (0.0, 0.0)
    assert not dwell.is_on


def test_what_dwells_is_saved():
    dwell = looked_at(dwelling(10_000, np.random.default_rng(3)))
    dwell.add(np.eye(3)[[0, 1, 1]])
    again = Dwell.from_json(dwell.to_json())
    assert again.to_json() == dwell.to_json()
    assert again.look() == dwell.look()
    once = [dwell.is_on, [], [tick[1:] for tick in dwell.ticks]]
    assert Dwell.from_json(once).look() == (1.0, dwell.look()[1])


@pytest.fixture(scope="module")
def chain():
    rng = np.random.default_rng(7)
    labels = dwelling(24_000, rng)
    return labels, table(labels, rng)


@pytest.mark.parametrize("drift", ["auto", "none"])
def test_a_dwelling_stream_is_learnt_as_a_whole(chain, drift):
    labels, records = chain
    model = sm.AutoMixture(3, fields=FIELDS, drift=drift, seed=1)
    model.learn_many(records)
    assert ("dwells" in model.event_counts) == (drift == "auto")
    order = np.argsort([component["x"].mean for component in model.parameters])
    np.testing.assert_allclose([model.parameters[k]["x"].mean for k in order], MEANS, atol=0.15)
    np.testing.assert_allclose(model.weights[order], np.bincount(labels) / len(labels), atol=0.05)


def test_lines_of_a_stream_that_dwells_compete_by_the_whole_of_it():
    """What comes lies between components: of a stream that dwells, it is but a stay."""
    rng = np.random.default_rng(14)
    model = sm.AutoMixture((2, 3), fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=5_000), rng))
    running = model._learner.running
    for dwells in (False, True):
        for line in running.lines:
            line.dwell.is_on = dwells
        model.learn_many(pa.table({"x": np.full(75, 2.5)}))
        assert len(running.beat.scores) == 2
        assert (min(running.beat.scores) / running.beat.n > -3.5) == dwells
        if dwells:  # those that the line was fitted to, less what it gains by that
            line, beat, size = running.lines[1], running.beat, len(running.sample.rows)
            rows = running.sample.rows[np.arange(beat.at, beat.at + beat.n) % size]
            alone = densities(line.published.engine, table_of(rows), 0, beat.n).sum()
            assert beat.scores[1] == pytest.approx(alone - beat.n * line.n_parameters / size)
        model.learn_many(table(rng.integers(3, size=25), rng))


def test_a_dwelling_stream_is_resumed_to_the_bit(chain, tmp_path):
    _, records = chain
    whole = sm.AutoMixture(3, fields=FIELDS, seed=1)
    whole.learn_many(records)
    (when,) = [event["n_seen"] for event in whole.events if event["kind"] == "dwells"]
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(records.slice(0, when + 130))
    sm.save(model, tmp_path / "state.arrow")
    model = sm.load(tmp_path / "state.arrow")
    for begin in range(when + 130, records.num_rows, 1_777):
        model.learn_many(records.slice(begin, 1_777))
    assert model.events == whole.events
    assert model.weights.tobytes() == whole.weights.tobytes()
    assert model.parameters == whole.parameters


def test_laws_that_take_turns_are_followed():
    """The last of four changes came 4,000 records ago."""
    rng = np.random.default_rng(5)
    laws = [MEANS, np.array([2.0, 3.5, 14.0])]
    parts = [table(rng.integers(3, size=4_000), rng, laws[turn % 2]) for turn in range(4)]
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    for part in parts:
        model.learn_many(part)
    held_out = table(rng.integers(3, size=20_000), rng, laws[1])
    truth = sm.Mixture(components=[{"x": sm.Normal(mean, 1.0)} for mean in laws[1]])
    gap = np.asarray(truth.log_density_many(held_out)).mean() - np.asarray(model.log_density_many(held_out)).mean()
    assert gap < 0.01
    assert "dwells" not in model.event_counts


def test_an_alarm_tells_since_when():
    rng = np.random.default_rng(1)
    alarm, at = Alarm(), 0.0
    for beat in range(100):
        alarm.add(rng.normal(0.0 if beat < 93 else -3.0, 1.0, size=50))
        if beat % 10 == 9:
            at = alarm.close(50 * (beat + 1), 500)
            assert (at < 0) == (beat == 99)
    assert alarm.since() == 7 * 50


def test_better_scores_are_no_alarm():
    rng = np.random.default_rng(1)
    alarm = Alarm()
    for tick in range(20):
        alarm.add(rng.normal(0.0 if tick < 10 else 3.0, 1.0, size=500))
        assert alarm.close(500 * (tick + 1), 500) == 0.0


def test_evidence_is_carried_over_to_another_champion():
    """What is said against a new champion has the right mean, and no smaller spread than there is."""
    rng = np.random.default_rng(1)
    one, other, direct = Paired(), Paired(), Paired()
    for _ in range(5):
        a, b = rng.normal(0.3, 1.0, size=500), rng.normal(0.1, 1.0, size=500)
        for paired, differences in ((one, a), (other, b), (direct, a - b)):
            paired.add(differences)
            paired.close()
    carried = one.against(other)
    mean, z = carried.last(4)
    true_mean, true_z = direct.last(4)
    assert mean == pytest.approx(true_mean, rel=1e-12)
    assert 0.5 * true_z < z <= true_z
    assert carried.n_ticks == 5


def test_a_sample_is_of_all_records():
    rng = np.random.default_rng(1)
    reservoir = Reservoir(200, 1)
    for begin in range(0, 4_000, 50):
        reservoir.sample(np.arange(begin, begin + 50.0)[:, None], np.ones(50), rng)
    rows, weights = reservoir.all()
    assert rows.shape == (200, 1)
    assert len(np.unique(rows)) == 200
    assert abs(rows.mean() - 2_000) < 4 * 4_000 / np.sqrt(12 * 200)
    assert (weights == 1.0).all()
    assert reservoir.n == 4_000


def test_a_component_that_vanishes_is_no_failure(tmp_path):
    """It is said that it starves, until a challenge has found no better place for it; which is saved."""
    rng = np.random.default_rng(9)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=6_000), rng))
    model.learn_many(table(rng.integers(2, size=9_000), rng))
    assert "starved" in {event["sign"] for event in model.events if event["kind"] == "doubt"}
    assert min(model.weights) < 0.01
    assert "starved" not in {doubt["sign"] for doubt in model.warnings}
    sm.save(model, tmp_path / "state.arrow")
    assert sm.load(tmp_path / "state.arrow").warnings == model.warnings


def test_a_champion_of_the_past_needs_more_than_to_know_the_records():
    """Models with many parameters know records that they have learnt before a little better."""
    rng = np.random.default_rng(10)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=3_000), rng))
    running = model._learner.running
    line = running.line
    for n_parameters, wakes in ((400, False), (8, True)):
        line.sleepers = [line.member(line.average.state.copy(), 1_000, {"proven": True, "labels": [0, 1, 2]})]
        line.sleepers[0].scores.add(rng.normal(0.08, 0.1, size=500))
        line.sleepers[0].scores.close()
        line.n_parameters = n_parameters
        assert line._wake(3_000, running.events, running.kept) == wakes


def test_it_is_unproven_until_a_challenge_is_over():
    """One of 4,000 records at the stream's beginning, and after an expert has shown that the champion was wrong."""
    rng = np.random.default_rng(11)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=1_200), rng))
    assert [doubt["sign"] for doubt in model.warnings] == ["unproven"]
    model.learn_many(table(rng.integers(3, size=8_000), rng))
    assert model.warnings == []
    model.learn_many(table(rng.integers(3, size=1_000), rng, MEANS + 2.0))
    assert "unproven" in {doubt["sign"] for doubt in model.warnings}
    model.learn_many(table(rng.integers(3, size=5_000), rng, MEANS + 2.0))
    assert "unproven" not in {doubt["sign"] for doubt in model.warnings}


def test_all_numbers_of_components_dwell_where_the_one_that_predicts_says_so():
    """One component alone could not tell, and would chase the present."""
    rng = np.random.default_rng(5)
    model = sm.AutoMixture((1, 3), fields=FIELDS, seed=1)
    model.learn_many(table(dwelling(14_000, rng), rng))
    lines = model._learner.running.lines
    assert [line.dwell.is_on for line in lines] == [True, True, True]


def test_falling_scores_are_said_before_a_tick_ends():
    rng = np.random.default_rng(12)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=11_000), rng))
    assert model.warnings == []
    model.learn_many(table(rng.integers(3, size=200), rng, MEANS + 2.0))
    assert "falling" in {doubt["sign"] for doubt in model.warnings}


def test_a_component_that_moves_is_said_soon():
    rng = np.random.default_rng(16)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=11_000), rng))
    assert model.warnings == []
    moved = MEANS.astype(float)
    moved[0] += 1.5
    model.learn_many(table(rng.integers(3, size=250), rng, moved))
    [doubt] = model.warnings
    assert doubt["sign"] == "moving"
    assert doubt["gain"] > 0.01


def test_records_with_gaps_are_fewer_records():
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(3_500, 4)) + 5 * rng.integers(2, size=(3_500, 1))
    whole = sm.AutoMixture(2, fields={("a", "b", "c", "d"): sm.MultivariateNormal()}, seed=1)
    gappy = sm.AutoMixture(2, fields={("a", "b", "c", "d"): sm.MultivariateNormal()}, seed=1)
    whole.learn_many(pa.table(dict(zip("abcd", rows.T, strict=True))))
    rows[np.arange(4) != rng.integers(4, size=(3_500, 1))] = np.nan
    gappy.learn_many(
        pa.table({name: pa.array(row, from_pandas=True) for name, row in zip("abcd", rows.T, strict=True)})
    )
    assert "too few records" not in {doubt["sign"] for doubt in whole.warnings}
    found = {doubt["sign"]: doubt["text"] for doubt in gappy.warnings}
    assert found["too few records"] == "3500 records, 75% of their cells missing, are few for 29 parameters"


def behind(model, rows, means=MEANS, weights=None):
    """By how many nats a record a model lies behind the law of some rows."""
    truth = sm.Mixture(components=[{"x": sm.Normal(mean, 1.0)} for mean in means], weights=weights)
    return np.mean(np.asarray(truth.log_density_many(rows)) - np.asarray(model.log_density_many(rows)))


def signs(model):
    return {doubt["sign"] for doubt in model.warnings}


def test_a_law_that_comes_back_is_known_as_it_was():
    """Not as the records had made it that came before the change was seen; a take-over before it is no hindrance."""
    rng = np.random.default_rng(1)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    for n, means in ((8_000, MEANS), (5_800, 0.6 * MEANS + 3.0), (1_000, MEANS)):
        model.learn_many(table(rng.integers(3, size=n), rng, means))
    assert "recurrence" in model.event_counts
    assert behind(model, table(rng.integers(3, size=20_000), rng)) < 0.005


def test_a_challenge_whose_records_change_proves_nothing():
    """After a sorted start it is unproven until there was one whose records follow one law."""
    rng = np.random.default_rng(2)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(np.sort(rng.integers(3, size=5_000)), rng))
    rows = table(rng.integers(3, size=5_000), rng)
    for _ in range(10):
        model.learn_many(table(rng.integers(3, size=500), rng))
        assert behind(model, rows) < 0.01 or "unproven" in signs(model)
    model.learn_many(table(rng.integers(3, size=6_000), rng))
    assert model.event_counts["change"] > 0
    assert behind(model, rows) < 0.005
    assert "unproven" not in signs(model)


def test_a_challenger_learns_what_came_while_it_was_made():
    rng = np.random.default_rng(1)
    names, z = ("a", "b", "c", "d"), rng.integers(3, size=12_000)
    rows = rng.normal(size=(12_000, 4)) + 6 * np.eye(3, 4)[z]
    model = sm.AutoMixture(3, fields={names: sm.MultivariateNormal()}, seed=1)
    model.learn_many(pa.table(dict(zip(names, rows.T, strict=True))))
    state = model._learner.running.line.champion.state
    assert "take-over" in model.event_counts
    assert state.starts[0] + state.clocks[0] == 12_000


def test_records_that_the_champion_does_not_rest_on_are_not_counted():
    rng = np.random.default_rng(3)
    model = sm.AutoMixture(3, fields=FIELDS, seed=1)
    model.learn_many(table(rng.integers(3, size=6_000), rng))
    line = model._learner.running.line
    assert "too few records" not in signs(model)
    line.champion.state.starts[:], line.champion.state.clocks[:] = 200.0, 60.0
    found = {doubt["sign"]: doubt["text"] for doubt in model.warnings}
    assert found["too few records"] == "260 records are few for 8 parameters"


def test_a_background_that_takes_much_is_said_with_its_weight():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(6_000, 2)) + np.array([[0, 0], [5, 0], [0, 6]])[rng.integers(3, size=6_000)]
    for share, said in ((0.1, False), (0.6, True)):
        noisy = np.where(rng.random((6_000, 1)) < share, rng.uniform(-60, 60, size=rows.shape), rows)
        model = sm.AutoMixture(3, fields={("a", "b"): sm.MultivariateNormal()}, seed=1)
        model.learn_many(pa.table({"a": noisy[:, 0], "b": noisy[:, 1]}))
        found = {doubt["sign"]: doubt for doubt in model.warnings}
        assert ("background" in found) == said
        if said:
            assert found["background"]["weight"] == pytest.approx(share, abs=0.05)


def test_two_components_for_one_law_are_said(tmp_path):
    for n_laws, said in ((3, False), (2, True)):
        rng = np.random.default_rng([1, 5])
        rows = rng.normal(size=(12_000, 2)) + np.array([[0, 0], [5, 0], [0, 6]])[rng.integers(n_laws, size=12_000)]
        model = sm.AutoMixture(3, fields={("a", "b"): sm.MultivariateNormal()}, seed=1)
        model.learn_many(pa.table({"a": rows[:, 0], "b": rows[:, 1]}))
        assert signs(model) == ({"alike"} if said else set())
    sm.save(model, tmp_path / "state.arrow")
    assert sm.load(tmp_path / "state.arrow").warnings == model.warnings


def test_a_stream_that_is_sorted_all_along_is_learnt_as_a_whole():
    """Its components don't come back, which is said; those of one that dwells do."""
    rng, weights = np.random.default_rng([4, 77]), [0.4, 0.35, 0.25]
    model = sm.AutoMixture(3, fields=FIELDS, drift="none", seed=1)
    model.learn_many(table(np.sort(rng.choice(3, size=18_000, p=weights)), rng))
    assert behind(model, table(rng.choice(3, size=20_000, p=weights), rng), weights=weights) < 0.01
    assert "passing" in signs(model)
    model = sm.AutoMixture(3, fields=FIELDS, drift="none", seed=1)
    model.learn_many(table(dwelling(18_000, rng), rng))
    assert model.warnings == []


def test_a_group_that_no_component_has_is_said(tmp_path):
    """One in five hundred lie together; as many that lie anywhere are no group."""
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(16_000, 2)) + np.array([[0, 0], [5, 0], [0, 6]])[rng.integers(3, size=16_000)]
    rare = rng.random((16_000, 1)) < 0.002
    for others, said in (
        (rng.uniform(-40, 40, size=rows.shape), False),
        (rng.normal(30.0, 1.0, size=rows.shape), True),
    ):
        mixed = np.where(rare, others, rows)
        model = sm.AutoMixture(3, fields={("a", "b"): sm.MultivariateNormal()}, seed=1)
        for begin in range(0, 16_000, 3_333):
            model.learn_many(pa.table({"a": mixed[begin:, 0][:3_333], "b": mixed[begin:, 1][:3_333]}))
            sm.save(model, tmp_path / "state.arrow")
            model = sm.load(tmp_path / "state.arrow")
        found = {doubt["sign"]: doubt for doubt in model.warnings}
        assert ("left out" in found) == said
        if said:
            assert found["left out"]["share"] == pytest.approx(0.002, rel=0.5)


def test_a_challenge_says_nothing_of_a_better_champion_that_came_after_it_began():
    rng = np.random.default_rng(10)
    for is_new in (False, True):
        model = sm.AutoMixture(3, fields=FIELDS, seed=1)
        model.learn_many(table(rng.integers(3, size=8_500), rng))
        line = model._learner.running.line
        assert line.challenge is not None
        line.findings.at = None
        line.renewed = 8_500 if is_new else line.renewed
        while line.challenge is not None:
            model.learn_many(table(rng.integers(3, size=50), rng))
        assert (line.findings.at is None) == is_new


def test_an_outlier_that_makes_the_background_thinner_brings_a_challenge():
    rng = np.random.default_rng(11)
    x = MEANS[rng.integers(3, size=12_000)] + rng.normal(size=12_000)
    x = np.where(rng.random(12_000) < 0.05, rng.uniform(-20, 30, size=12_000), x)
    for outlier, matters in ((31.0, False), (200.0, True)):
        model = sm.AutoMixture(3, fields=FIELDS, seed=1)
        model.learn_many(pa.table({"x": x}))
        model.learn_many(pa.table({"x": [*x[:99].tolist(), outlier]}))
        assert (model._learner.running.line.next_challenge < 13_000) == matters
        assert ("unproven" in signs(model)) == matters
