"""Times as angles: hours of the day and days of the week, by the clock that they are written in."""

import datetime as dt
import math
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from laws import bits, reloaded, shown

import streammix as sm
from streammix.core.times import is_time, time_of

PARIS = zoneinfo.ZoneInfo("Europe/Paris")
HOUR = 9 + 30 / 60 + 15.25 / 3600  # of a Saturday, 2026-01-31

WRITTEN = [
    "2026-01-31T09:30:15.25",
    "2026-01-31 09:30:15,250",
    "2026-01-31T09:30:15.25Z",
    "2026-01-31T09:30:15.250000+05:30",
    "2026-01-31t09:30:15.25-0800",
    "20260131T093015.25",
    "20260131T093015.250+0530",
    "2026-W05-6T09:30:15.25Z",
    "2026W056T093015.25",
    dt.datetime(2026, 1, 31, 9, 30, 15, 250_000),
    dt.datetime(2026, 1, 31, 9, 30, 15, 250_000, PARIS),
    pd.Timestamp("2026-01-31T09:30:15.25"),
    pd.Timestamp("2026-01-31T09:30:15.25", tz="Asia/Tokyo"),
    np.datetime64("2026-01-31T09:30:15.250"),
    np.datetime64("2026-01-31T09:30:15.250000000"),
]
ONLY_OF_THE_DAY = ["09:30:15.25", "09:30:15.250+02:00", dt.time(9, 30, 15, 250_000)]
ONLY_DATES = ["2026-01-31", dt.date(2026, 1, 31), np.datetime64("2026-01-31")]
NO_TIMES = ["", "soon", "2026-02-30", "2026-13-01T00:00", "25:00", "09:60", "20260131", "1769851815", "2026-01", "9:30"]
NO_TIMES += ["20260230T0930", "20260131T2500", "2026-01-31T", "2026-T09:30", "T0930", "2026T-shirt", "2026\ud800T09"]


def made(period, **declared):
    components = [
        {"t": sm.VonMises(1.0, 2.0, period), "x": sm.Normal(0, 1)},
        {"t": sm.VonMises(5.0, 2.0, period), "x": sm.Normal(4, 1)},
    ]
    return sm.Mixture(components=components, **{"seed": 0} | declared)


@pytest.mark.parametrize("value", WRITTEN + ONLY_OF_THE_DAY, ids=repr)
def test_the_hour_of_the_day(value):
    assert time_of(value, False) == pytest.approx(HOUR, rel=1e-15)


@pytest.mark.parametrize("value", WRITTEN, ids=repr)
def test_the_day_of_the_week(value):
    assert time_of(value, True) == pytest.approx(5 + HOUR / 24, rel=1e-15)


@pytest.mark.parametrize("value", ONLY_DATES, ids=repr)
def test_a_date_has_a_day_of_the_week_alone(value):
    assert (time_of(value, True), time_of(value, False)) == (5.0, None)


@pytest.mark.parametrize("value", ONLY_OF_THE_DAY, ids=repr)
def test_a_time_of_the_day_has_no_day(value):
    assert time_of(value, True) is None


@pytest.mark.parametrize("value", NO_TIMES)
def test_text_that_is_no_time(value):
    assert not is_time(value)
    assert time_of(value, False) is time_of(value, True) is None


def test_hours_alone():
    assert (time_of("2026-01-31T09", False), time_of("20260131T09Z", False)) == (9.0, 9.0)


def test_days_before_1970_and_ends_of_days():
    assert time_of("1969-12-31T23:59:59.999999999", True) == pytest.approx(3.0)
    assert time_of(np.datetime64("1900-01-01T06:00"), True) == 0.25
    assert time_of("2026-01-31T24:00", False) == 24.0
    assert time_of("2016-12-31T23:59:60Z", False) == 24.0
    assert math.isnan(time_of(np.datetime64("NaT"), False))


@pytest.mark.parametrize(("period", "unit"), [("day", 24.0), ("week", 7.0)])
def test_times_are_the_angles_of_their_numbers(period, unit):
    times, numbers = made(period), made(unit)
    for value in [*WRITTEN, *(ONLY_DATES if period == "week" else ONLY_OF_THE_DAY)]:
        angle = time_of(value, period == "week")
        assert times.score_one({"t": value}) == numbers.score_one({"t": angle}) == times.score_one({"t": angle})


@pytest.mark.parametrize("period", ["day", "week"])
@pytest.mark.parametrize(
    "value", [*NO_TIMES, -0.5, 25.0, 1_769_851_815, math.inf, True and [1], {}, dt.timedelta(hours=3)], ids=repr
)
def test_what_is_no_time_is_refused_by_name(period, value):
    model = made(period, batch_size=4)
    model.learn_one({"t": "2026-01-31T09:30", "x": 1.0})
    before = bits(shown(model))
    with pytest.raises(sm.RecordError, match=r"field 't': expected a (time of the day|date) \(a datetime") as caught:
        model.learn_one({"t": value, "x": 1.0})
    assert caught.value.field == "t"
    assert bits(shown(model)) == before


def instants(n=300):
    return np.random.default_rng(3).integers(-(2**40), 2**42, n)  # milliseconds, 1935 to 2109


FRAMES = {
    **{f"timestamp[{unit}]": lambda a, unit=unit: pa.table({"t": a.cast(pa.timestamp(unit), safe=False)})
       for unit in ("s", "ms", "us")},
    "zone": lambda a: pa.table({"t": a.cast(pa.timestamp("ms", "America/New_York"))}),
    "dictionary": lambda a: pa.table({"t": a.dictionary_encode()}),
    "chunks": lambda a: pa.table({"t": pa.chunked_array([a[:7], a[7:]])}),
    "text": lambda a: pa.table({"t": [None if t is None else t.isoformat() for t in a.to_pylist()]}),
    "pandas": lambda a: pa.table({"t": a}).to_pandas(),
    "polars": lambda a: pl.from_arrow(pa.table({"t": a})),
}  # fmt: skip


@pytest.mark.parametrize("period", ["day", "week"])
@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_read_as_their_records(kind, period):
    clean = pa.array([None if i % 11 == 0 else int(t) for i, t in enumerate(instants())], pa.timestamp("ms"))
    frame = FRAMES[kind](clean)
    table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    records = [{"t": row["t"], "x": 1.0} for row in table.to_pylist()]
    one, many = made(period), made(period)
    for record in records:
        one.learn_one(record)
    if isinstance(frame, pa.Table):
        frame = frame.append_column("x", pa.array([1.0] * len(records)))
    elif isinstance(frame, pd.DataFrame):
        frame = frame.assign(x=1.0)
    else:
        frame = frame.with_columns(x=pl.lit(1.0))
    many.learn_many(frame)
    assert bits(shown(many)) == bits(shown(one))


def test_dates_and_times_of_the_day_in_frames():
    days = pa.table({"t": pa.array([0, 1, None, -3], pa.date32()), "x": [1.0] * 4})
    hours = pa.table({"t": pa.array([0, 3_600_000, None, 86_399_000], pa.time32("ms")), "x": [1.0] * 4})
    for frame, right, wrong in ((days, "week", "day"), (hours, "day", "week")):
        one, many = made(right), made(right)
        for record in frame.to_pylist():
            one.learn_one(record)
        many.learn_many(frame)
        assert bits(shown(many)) == bits(shown(one))
        with pytest.raises(sm.RecordError, match="row 0: field 't': expected"):
            made(wrong).learn_many(frame)


def test_a_refused_text_in_a_frame_is_named_by_its_row():
    frame = pa.table({"t": ["2026-01-31T09:30", None, "soon"], "x": [1.0] * 3})
    with pytest.raises(sm.RecordError, match=r"row 2: field 't'.*got 'soon'") as caught:
        made("day").learn_many(frame)
    assert caught.value.row == 2


def test_rush_hours_are_learnt_from_times_and_resumed_inside_the_warm_up():
    rng = np.random.default_rng(4)
    start = dt.datetime(2026, 1, 5)
    records = []
    for i in range(1_500):
        hour = rng.normal(23.8, 0.7) if rng.random() < 0.5 else rng.normal(12.0, 0.7)
        moment = start + dt.timedelta(days=i % 30, hours=float(hour))
        records.append({"t": moment.isoformat() if i % 2 else moment})
    model = sm.Mixture(n_components=2, fields={"t": sm.VonMises(period="day")}, warm_up=300, seed=1)
    for i, record in enumerate(records):
        if i in (150, 700):
            model = reloaded(model)
        model.learn_one(record)
    straight = sm.Mixture(n_components=2, fields={"t": sm.VonMises(period="day")}, warm_up=300, seed=1)
    straight.ingest(records)
    assert bits(shown(model)) == bits(shown(straight))
    means = sorted(component["t"].mean for component in model.parameters)
    assert means == pytest.approx([12.0, 23.8], abs=0.15)
    assert model.parameters[0]["t"].period == "day"
    assert 0 <= model.sample(1)[0]["t"] <= 24
    assert model.learn_one(model.sample(1)[0]) is None


def test_components_agree_on_what_a_time_is():
    with pytest.raises(sm.ConfigError, match="one period"):
        sm.Mixture(components=[{"t": sm.VonMises(1, 1, "day")}, {"t": sm.VonMises(1, 1, 24)}])
    with pytest.raises(sm.ConfigError, match='"day" or "week"'):
        sm.VonMises(period="month")


def test_text_of_a_subclass_is_text_and_an_offset_is_less_than_a_day() -> None:
    model = sm.Mixture(components=[{"t": sm.VonMises(0.0, 1.0, period="day")}])
    plain = model.predict_proba_one({"t": "2026-01-31T09:30"}), model.score_one({"t": "2026-01-31T09:30"})
    assert (
        model.predict_proba_one({"t": np.str_("2026-01-31T09:30")}),
        model.score_one({"t": np.str_("09:30")}),
    ) == plain
    for offset in ("+25:00", "-24:00", "+01:60"):
        with pytest.raises(sm.RecordError, match="field 't'"):
            model.learn_one({"t": f"2026-01-31T09:30{offset}"})
