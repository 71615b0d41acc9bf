"""What challenges say of the champion, and when that is put away or borne out by the stream."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import streammix as sm
from streammix.auto.evidence import Paired
from streammix.auto.findings import STALE, Findings
from streammix.auto.verdicts import matters, shown


def ran(gain, ticks, spread=0.05):
    """The scores of one that has run beside the champion, and was ahead by so much."""
    scores, noise = Paired(), spread * np.tile([-1.0, 1.0], 250)
    for _ in range(ticks):
        scores.add(gain + noise)
        scores.close()
    return scores


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(3)
    learnt = sm.AutoMixture(3, fields={"x": sm.Normal()}, seed=1)
    learnt.learn_many(pa.table({"x": np.array([0.0, 5.0, 10.0])[rng.integers(3, size=9_000)] + rng.normal(size=9_000)}))
    return learnt


def signs(model):
    return [doubt["sign"] for doubt in model.warnings]


@pytest.mark.parametrize(
    ("gain", "ticks", "stays"),
    [(-0.01, 1, True), (-0.01, 2, False), (0.01, 4, True), (0.002, 4, True), (0.0, 4, False)],
)
def test_a_doubt_stays_until_the_challenger_does_not_bear_it_out(gain, ticks, stays):
    found = Findings()
    found.take((0.02, 4.0), (0.01, 3.0), 9_000)
    found.settle(9_000 + 500 * ticks, [SimpleNamespace(born=9_000, scores=ran(gain, ticks, spread=0.03))])
    assert (found.audit == (0.02, 4.0), found.lag == (0.01, 3.0)) == (stays, stays)


def test_a_doubt_goes_with_its_challenger_and_with_time():
    for now, born, stays in ((9_500, 9_000, True), (9_500, 8_000, False), (9_001 + STALE, 9_000, False)):
        found = Findings()
        found.take((0.02, 4.0), (0.0, 0.0), 9_000)
        found.settle(now, [SimpleNamespace(born=born, scores=ran(0.02, 1))])
        assert (found.at is not None) == stays


@pytest.mark.parametrize(
    ("gains", "is_one"),
    [((0.002,), False), ((0.002, -0.001), True), ((0.002, -0.008), False), ((-0.001, -0.001), False)],
)
def test_two_components_are_taken_for_one_by_several_challenges(gains, is_one):
    found = Findings()
    for gain in gains:
        found.compare([7, 4], gain, 2_000)
    assert found.alike == ([4, 7] if is_one else [])
    again = Findings.from_json(json.loads(json.dumps(found.to_json())))
    assert again.to_json() == found.to_json()
    found.compare([7, 5], 0.002, 2_000)
    assert found.alike == []


def test_restarts_are_restless_where_they_matter(model):
    events = model._learner.running.events
    before = list(events.kept)
    for gain, kind, said in ((0.003, "restart", False), (0.02, "restart", True), (None, "alarm", True)):
        more = {} if gain is None else {"gain": gain}
        events.kept = [*before, *({"n_seen": 8_000 + i, "kind": kind, "z": 6.0, **more} for i in range(5))]
        assert ("restless" in signs(model)) == said
    events.kept = before


def test_a_challenger_that_is_ahead_is_said(model):
    line = model._learner.running.line
    before = line.challengers
    for gain, ticks, said in ((0.03, 1, True), (0.03, 3, True), (0.005, 3, False), (-0.03, 3, False)):
        challenger = line.member(line.champion.state.copy(), 9_000)
        challenger.scores = ran(gain, ticks)
        line.challengers = [challenger]
        assert ("challenged" in signs(model)) == said
    line.challengers = before


@pytest.mark.parametrize(
    ("gains", "grave"),
    [((0.005,) * 6, False), ((0.0,) * 4 + (0.02,) * 2, True), ((0.02,) * 6, True), ((-0.02,) * 6, False)],
)
def test_a_champion_was_gravely_wrong_where_any_of_the_last_ticks_says_so(gains, grave):
    scores = Paired()
    for gain in gains:
        scores.add(gain + 0.05 * np.tile([-1.0, 1.0], 250))
        scores.close()
    assert matters(scores) == grave


def test_a_challenge_of_few_records_since_an_epoch_began_proves_nothing(model):
    line = model._learner.running.line
    before = line.tried, line.epoch
    for tried, proven in ((21_499, False), (21_500, True)):
        line.tried, line.epoch = tried, 20_000
        assert ("unproven" not in signs(model)) == proven
    line.tried, line.epoch = before


def test_an_expert_is_shown_after_two_ticks():
    for ticks, number in ((1, 0), (2, 2), (6, 2), (9, 2)):
        assert shown([ran(-0.01, ticks), ran(0.01, ticks)]) == number
