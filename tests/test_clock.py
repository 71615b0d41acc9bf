"""Forgetting by event time: the weights of the textbook, whatever the form of the times, the order and the cuts."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import cuts, reloaded, state_of

import streammix as sm
from streammix import partial
from streammix.clock import Clock, microseconds
from streammix.pipeline.model import build_model, declared_fields
from streammix.pipeline.sections import ModelSection

HALF = sm.HalfLife("5m", field="t")
START: list[dict[Any, Any]] = [{"x": sm.Normal(0.0, 1.0)}]


def stream(n: int = 2_000) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    times = np.round(np.cumsum(rng.exponential(1.0, size=n)), 6)
    return times, rng.normal(size=n) + 5.0 * (np.arange(n) > n // 2)


def records(times: Any, values: Any) -> list[dict[str, Any]]:
    return [{"t": t, "x": x} for t, x in zip(np.asarray(times).tolist(), values.tolist(), strict=True)]


@pytest.mark.parametrize("batch_size", [1, 16])
def test_weights_halve_with_each_half_life(batch_size: int) -> None:
    """Of one component the statistics are weighted means, of a start that counts as a hundred records."""
    times, values = stream()
    model = sm.Mixture(components=START, step_size=HALF, batch_size=batch_size)
    for record in records(times, values):
        model.learn_one(record)
    weights, start = 2.0 ** (-(times[-1] - times) / 300), 100 * 2.0 ** (-(times[-1] - times[0]) / 300)
    mean = weights @ values / (weights.sum() + start)
    variance = (weights @ values**2 + start) / (weights.sum() + start) - mean**2
    found = model.parameters[0]["x"]
    assert found.mean == pytest.approx(mean, rel=1e-9)
    assert found.variance == pytest.approx(variance, rel=1e-9)


def test_late_records_weigh_what_they_would_have_weighed() -> None:
    times, values = stream(600)
    order = np.arange(600)
    order[50:] = 50 + np.argsort(order[50:] + np.random.default_rng(2).uniform(0, 200, size=550))
    order = np.append(np.delete(order, np.flatnonzero(order == 599)), 599)  # the latest is last in both
    one, other = (sm.Mixture(components=START, step_size=HALF) for _ in range(2))
    one.learn_many(pa.table({"t": times, "x": values}))
    other.learn_many(pa.table({"t": times[order], "x": values[order]}))
    assert one.parameters[0]["x"].mean == pytest.approx(other.parameters[0]["x"].mean, rel=1e-9)
    assert one.parameters[0]["x"].variance == pytest.approx(other.parameters[0]["x"].variance, rel=1e-9)


MOMENT = datetime(2026, 1, 31, 9, 30, 15, 250_000, tzinfo=UTC)
FORMS = [
    MOMENT,
    MOMENT.replace(tzinfo=None),
    MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
    MOMENT.isoformat(),
    "2026-01-31 09:30:15.25",
    "2026-01-31T10:30:15.250+01:00",
    "20260131T093015.250Z",
    np.datetime64("2026-01-31T09:30:15.250"),
    pd.Timestamp(MOMENT),
    pa.scalar(MOMENT),
    MOMENT.timestamp(),
    np.float64(MOMENT.timestamp()),
    int(MOMENT.timestamp() * 1e3),
    int(MOMENT.timestamp() * 1e6),
    int(MOMENT.timestamp() * 1e6) * 1_000,
]


@pytest.mark.parametrize("value", FORMS, ids=repr)
def test_a_time_is_the_same_in_every_form(value: Any) -> None:
    assert microseconds("t", value) == 1_769_851_815_250_000


def test_dates_gaps_and_columns() -> None:
    assert microseconds("t", date(1970, 1, 2)) == 86_400_000_000
    for nothing in (None, float("nan"), pd.NaT, pd.NA, np.datetime64("NaT")):
        assert microseconds("t", nothing) is None
    times = pd.to_datetime(["2026-01-31 09:30", None, "2026-01-31 09:40"])
    states = []
    frame = pd.DataFrame({"t": times, "x": [1.0, 2.0, 3.0]})
    text = [None if t is pd.NaT else t.isoformat() for t in times]
    for X in (frame, pa.Table.from_pandas(frame), pa.table({"t": text, "x": frame["x"]}), frame.to_dict("records")):
        model = sm.Mixture(components=START, step_size=HALF, seed=1)
        model.ingest(X) if isinstance(X, list) else model.learn_many(X)
        states.append(state_of(model))
    assert all(state == states[0] for state in states)
    assert np.isclose(model.log_density_one({"x": 0.0}), np.asarray(model.log_density_many(frame[["x"]] * 0))[0])


@pytest.mark.parametrize("value", ["soon", "12", "", True, [1], {}, 1e30, float("inf"), b"2026-01-31", 10**400])
def test_what_is_no_time_is_refused_and_nothing_moves(value: Any) -> None:
    model = sm.Mixture(components=START, step_size=HALF)
    model.learn_one({"t": 1.0, "x": 1.0})
    before = state_of(model)
    with pytest.raises(sm.RecordError, match="field 't': expected a time"):
        model.learn_one({"t": value, "x": 1.0})
    with pytest.raises(sm.RecordError, match="field 'x'"):
        model.learn_one({"t": 1e6, "x": "text"})
    assert state_of(model) == before
    assert model.ingest([{"t": value, "x": 1.0}]).rejected[0][0] == 0


def test_a_frame_is_refused_as_a_whole() -> None:
    model = sm.Mixture(components=START, step_size=HALF)
    before = state_of(model)
    with pytest.raises(sm.RecordError, match="row 2: field 't'") as refusal:
        model.learn_many(pa.table({"t": ["2026-01-01", None, "soon"], "x": [1.0, 2.0, 3.0]}))
    assert refusal.value.row == 2
    with pytest.raises(sm.RecordError, match="row 2: field 'x'"):
        model.learn_many(pa.table({"t": [0, 10_000, 20_000], "x": [1.0, 2.0, np.inf]}))
    assert state_of(model) == before


def weights_of(*times: Any) -> tuple[list[float], Clock]:
    """What each record weighs when all have come."""
    clock, found = Clock("t", 60_000_000), []
    for time in times:
        look = clock.look({"t": time})
        found.append(look.weight)
        if clock.take(look):
            found = [weight / 2 for weight in found]
    return [weight / 2**clock.phase for weight in found], clock


def test_the_rules_of_the_clock() -> None:
    assert weights_of(0, 60, 120)[0] == [0.25, 0.5, 1.0]
    assert weights_of(0, 120 * 60, 120 * 60)[0] == [0.5, 1.0, 1.0], "a gap counts as one half-life"
    assert weights_of(60, 0, None)[0] == [1.0, 0.5, 1.0], "late; without a time"
    back, clock = weights_of(86_400, *[60] * 99)
    assert max(back[1:]) < 1e-3
    assert clock.latest == 86_400_000_000
    back, clock = weights_of(86_400, *[60] * 100, 120)
    assert back[-3:] == [back[-3], 0.5, 1.0]
    assert clock.latest == 120_000_000, "the clock was set back"
    assert weights_of(86_400, *[60] * 99, 86_400, *[60] * 99)[1].latest == 86_400_000_000, "not in a row"


TIMES = st.lists(st.one_of(st.none(), st.integers(0, 4_000), st.just(0)), min_size=150, max_size=150)


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.data(), TIMES, st.sampled_from([1, 16]))
def test_cuts_and_resumes_make_no_difference(data: Any, times: list[int | None], batch_size: int) -> None:
    values = np.random.default_rng(3).normal(size=150)
    table = pa.table({"t": pa.array(times, pa.int64()), "x": values})
    declared = {"n_components": 2, "fields": {"x": sm.Normal()}, "warm_up": 40, "seed": 1, "batch_size": batch_size}
    one, many, ingested = (sm.Mixture(step_size=HALF, **declared) for _ in range(3))
    for record in table.to_pylist():
        one.learn_one(record)
    for cut in data.draw(cuts(150)):
        many.learn_many(table.slice(cut.start, cut.stop - cut.start))
        ingested.ingest(table.slice(cut.start, cut.stop - cut.start).to_pylist())
        many = reloaded(many)
    assert state_of(many) == state_of(one)
    assert state_of(ingested) == state_of(one)


def test_a_supervised_mixture_forgets_by_event_time() -> None:
    """Few records an hour, then many: what counts are the last hours; resumed with a challenge in flight."""
    rng = np.random.default_rng(4)
    times = np.cumsum(np.repeat([2.0, 0.5], [2_000, 3_000]))
    values = rng.normal(size=5_000) + rng.choice([0, 8], size=5_000) + 3.0 * (times > 4_500)
    table = pa.table({"t": times, "x": values})
    make = lambda: sm.AutoMixture(  # noqa: E731
        2, fields={"x": sm.Normal()}, drift=sm.HalfLife("4m", field="t"), warm_up=300, seed=1
    )
    model, other = make(), make()
    model.learn_many(table)
    for begin in range(0, 5_000, 477):
        other.learn_many(table.slice(begin, 477))
        other = reloaded(other)
    assert state_of(other) == state_of(model)
    assert sorted(round(c["x"].mean) for c in model.parameters) == [3, 11]
    assert model._learner.running.line.effective_records(5_000) == pytest.approx(480 / np.log(2), rel=0.2)


def test_the_time_is_not_learnt_unless_it_is_declared() -> None:
    times, values = stream(400)
    model = sm.Mixture(2, step_size=HALF, warm_up=100, seed=1)
    model.learn_many(pa.table({"t": times, "x": values}))
    assert model.infer_summary() == {"x": "Normal()"}
    hours = sm.VonMises(period="day")
    both = sm.Mixture(1, fields={"t": hours, "x": sm.Normal()}, step_size=HALF, warm_up=100, seed=1)
    both.learn_many(pa.table({"t": pa.array((times * 1e6).astype(np.int64), pa.timestamp("us")), "x": values}))
    assert both._learner.clock.phase > 0
    assert set(both.parameters[0]) == {"t", "x"}


@pytest.mark.parametrize(
    ("given", "written"),
    list(
        zip(
            ["2h", "120m", "1d", "1h30m", "90 min", "1.5s", "14d", timedelta(hours=2), timedelta(microseconds=1)],
            ["2h", "2h", "1d", "90m", "90m", "1500ms", "2w", "2h", "0.001ms"],
            strict=True,
        )
    ),
)
def test_durations(given: Any, written: str) -> None:
    half = sm.HalfLife(given, field="t")
    assert half.records == written
    assert eval(repr(half), {"HalfLife": sm.HalfLife}) == half


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2h",), "needs field="),
        ((2.0, "t"), "a duration"),
        (("soon", "t"), "a duration"),
        (("0s", "t"), "positive"),
        (("2h", ""), "field must be"),
        ((timedelta(0), "t"), "positive"),
        (("9999999w", "t"), "thousand years"),
    ],
)
def test_wrong_half_lives_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(sm.ConfigError, match=message):
        sm.HalfLife(*arguments)


def test_a_configuration_declares_it() -> None:
    timed = {"time": "2h", "field": "at"}
    plain = ModelSection(fields={"x": "Normal"}, step_size={"step_size": "HalfLife"} | timed)
    auto = ModelSection(kind="auto", fields={"x": "Normal"}, drift=timed)
    assert build_model(plain).step_size == build_model(auto).drift == sm.HalfLife("2h", field="at")
    assert declared_fields(plain) == declared_fields(auto) == {"x", "at"}
    assert reloaded(build_model(auto)).drift == sm.HalfLife("2h", field="at")
    with pytest.raises(sm.StreammixError, match="event time"):
        partial.expect(build_model(plain), pa.table({"x": [1.0]}))


@pytest.mark.parametrize("kind", ["infer", "auto"])
def test_a_frame_of_pandas_keeps_its_times_where_fields_may_join(kind: str) -> None:
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.normal(0, 1, 300), rng.normal(5, 1, 300)])
    frame = pd.DataFrame({"x": x, "at": pd.Timestamp(MOMENT) + pd.to_timedelta(np.arange(600) * 10, unit="s")})
    step = sm.HalfLife("10m", field="at")
    made = []
    for n in (600, 37):
        fields = {"x": sm.Normal()}
        model = (
            sm.AutoMixture(2, fields=fields, infer=True, drift=step, seed=1)
            if kind == "auto"
            else sm.Mixture(2, fields=fields, infer=True, step_size=step, warm_up=100, seed=1)
        )
        for begin in range(0, 600, n):
            model.learn_many(frame[begin : begin + n])
        made.append(model)
    by_records = made[0].clone()
    for record in frame.to_dict("records"):
        by_records.learn_one(record)
    assert state_of(made[0]) == state_of(made[1]) == state_of(by_records)
