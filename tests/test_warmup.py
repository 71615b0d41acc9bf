"""The warm-up: what is inferred, where priors lie, and what it refuses."""

import datetime
import random

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import streammix as sm
from streammix import kmeans


def events(n):
    rng = random.Random(4)
    for i in range(n):
        yield {
            "at": datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=i),
            "id": f"event-{i}",
            "kind": rng.choice(["view", "cart", "sale"]),
            "amount": rng.gauss(10.0, 2.0),
            "seconds": rng.expovariate(0.1) if rng.random() < 0.9 else None,
            "mobile": rng.random() < 0.4,
            "items": rng.randrange(5),
        }


def test_families_are_inferred_and_told():
    model = sm.Mixture(n_components=2, warm_up=300, seed=1)
    for record in events(400):
        model.learn_one(record)
    assert model.infer_summary() == {
        "amount, items": "MultivariateNormal()",
        "kind": "Categorical()",
        "mobile": "Bernoulli()",
        "seconds": "Normal()",
        "at": "left out (times)",
        "id": "left out (text that hardly ever repeats)",
    }


def test_a_frame_with_times_is_inferred_alike():
    one, many = (sm.Mixture(n_components=2, warm_up=300, seed=1) for _ in range(2))
    for record in events(400):
        one.learn_one(record)
    many.learn_many(pa.Table.from_pylist(list(events(400))))
    assert one.infer_summary() == many.infer_summary()
    np.testing.assert_array_equal(one.weights, many.weights)


@pytest.mark.parametrize("apart", [1e3, 1e6])
def test_distant_components_do_not_blur_one_another(apart):
    rng = np.random.default_rng(7)
    z = rng.integers(4, size=8_000)
    model = sm.Mixture(n_components=4, fields={"x": sm.Normal()}, seed=3)
    model.learn_many(pa.table({"x": np.array([0.0, 6.0, apart, apart + 6.0])[z] + rng.normal(size=z.size)}))
    centers = sorted(center["x"] for center in model.centers.values())
    np.testing.assert_allclose(centers, [0.0, 6.0, apart, apart + 6.0], atol=0.2)
    assert all(0.8 < component["x"].variance < 1.3 for component in model.parameters)


@pytest.mark.parametrize("apart", [1e3, 1e6])
def test_distant_joint_components_do_not_blur_one_another(apart):
    rng = np.random.default_rng(7)
    x = apart * rng.integers(2, size=4_000) + rng.normal(size=4_000)
    model = sm.Mixture(n_components=2, fields={("x", "y"): sm.MultivariateNormal()}, seed=3)
    model.learn_many(pa.table({"x": x, "y": x + rng.normal(size=x.size)}))
    for component in model.parameters:
        np.testing.assert_allclose(component["x", "y"].covariance, [[1, 1], [1, 2]], atol=0.3)


def test_an_impossible_record_is_refused_at_the_door():
    fields = {"x": sm.Fixed(stats.uniform(0, 1)), "y": sm.Normal()}
    model = sm.Mixture(n_components=2, fields=fields, warm_up=20, seed=1)
    with pytest.raises(sm.RecordError, match="no component"):
        model.learn_one({"x": 7.0, "y": 1.0})
    for i in range(60):
        model.learn_one({"x": 0.5, "y": float(i % 5)})
    assert model.is_warm
    assert np.isfinite(model.weights).all()


def test_what_ingest_refuses_leaves_no_trace():
    fields = {"c": sm.Categorical(), "z": sm.Normal(), "x": sm.Fixed(stats.uniform(0, 1))}
    model = sm.Mixture(n_components=2, fields=fields, warm_up=20, seed=1)
    for i in range(40):
        model.learn_one({"c": "ab"[i % 2], "z": float(i % 7), "x": 0.5})
    before = model._snapshot()
    got = model.ingest([{"c": "new", "z": 1.0, "x": 5.0}, {"c": "a", "x": 5.0}])
    after = model._snapshot()
    assert [index for index, _ in got.rejected] == [0, 1]
    assert after.levels == before.levels
    assert after.state.equals(before.state)


def test_a_fit_worth_less_than_a_record_does_not_overshoot():
    model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(3, 1)}])
    records = [{"x": float(v)} for v in np.random.default_rng(0).normal(size=100)]
    sm.batch.fit(model, records, w=np.full(100, 1e-3), max_iter=20)
    fitted = [component["x"].variance for component in model.parameters]
    for record in records:
        model.learn_one(record, w=1e-4)
    assert (model._snapshot().state.counts > 0).all()
    np.testing.assert_allclose([component["x"].variance for component in model.parameters], fitted, rtol=0.1)


@pytest.mark.parametrize("w", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_average_follows_whatever_records_weigh(w, batch_size):
    components = [{"x": sm.Normal(0, 1)}, {"x": sm.Normal(3, 1)}]
    model = sm.Mixture(components=components, averaging=True, batch_size=batch_size)
    rng = np.random.default_rng(0)
    for i in range(5_000):
        model.learn_one({"x": float(rng.normal(-5 if i % 2 else 8, 1))}, w=w)
    means = [component["x"].mean for component in model.parameters]
    np.testing.assert_allclose(means, [-5, 8], atol=0.4)


def test_components_that_differ_in_fields_are_told_apart():
    whole, part = {"x": sm.Normal(0, 1), "y": sm.Normal(0, 1)}, {"x": sm.Normal(0, 1)}
    for components in ([whole, part], [part, whole]):
        with pytest.raises(sm.ConfigError, match="same fields"):
            sm.Mixture(components=components)


def test_a_declared_field_that_never_came_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    fields = {"amount": sm.Normal(), "amuont": sm.Normal(), ("lat", "lon"): sm.MultivariateNormal()}
    model = sm.Mixture(n_components=2, fields=fields, warm_up=20, seed=1)
    for i in range(20):
        model.learn_one({"amount": float(i % 7), "lat": 1.0 + i, "lon": None, "amuont": float("nan")})
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"field {name!r}: none of the first 20 records has it" for name in ("amuont", "lon")]


def test_a_declared_field_that_never_varies_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    fields = {"price": sm.Normal(), "count": sm.Poisson(), ("lat", "lon"): sm.MultivariateNormal()}
    model = sm.Mixture(n_components=2, fields=fields, warm_up=20, seed=1)
    for i in range(20):
        model.learn_one({"price": 0.25, "count": 3, "lat": 1.0 + i, "lon": 2.0})
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"field {name!r}: always {value} in the first 20 records; it joins when it varies"
        for name, value in (("price", 0.25), ("lon", 2.0))
    ]


def test_points_are_told_apart_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    space = np.random.default_rng(0).normal(size=(500, 4))
    whole = kmeans.kmeans(space, 6, 10, np.random.default_rng(1))
    monkeypatch.setattr(kmeans, "ONE_THREAD", 100)
    assert (kmeans.kmeans(space, 6, 10, np.random.default_rng(1)) == whole).all()
    centers = np.array([space[whole == k].mean(axis=0) for k in range(6)])
    nearest = ((space[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(nearest == whole) > 0.9  # ten steps are nearly enough
