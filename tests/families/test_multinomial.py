"""Multinomial: densities beside scipy's and in sixty digits, EM with missing counts, streams, samples, refusals."""

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mpmath import mp
from scipy import optimize, stats

import streammix as sm

NAMES = ("a", "b", "c", "d")


def records_of(rows: Any) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in zip(NAMES, row, strict=False) if value == value}
        for row in np.asarray(rows, float).tolist()
    ]


def table_of(rows: Any) -> pa.Table:
    columns = np.asarray(rows, float).T
    return pa.table({name: pa.array(x, from_pandas=True) for name, x in zip(NAMES, columns, strict=False)})


def alone(probabilities: Any, **declared: Any) -> sm.Mixture:
    return sm.Mixture(components=[{NAMES[: len(probabilities)]: sm.Multinomial(probabilities)}], **declared)


@pytest.mark.parametrize(
    "probabilities", [[0.5, 0.25, 0.25], [0.9, 0.1 - 1e-9, 1e-9], [1.0, 0.0, 0.0], [0.1, 0.9]], ids=str
)
def test_log_densities_are_those_of_scipy(probabilities: list[float]) -> None:
    rng = np.random.default_rng(1)
    p = np.array(probabilities)
    sizes = np.concatenate([rng.integers(60, size=900), 10 ** rng.uniform(2, 3, 96)]).astype(int)
    edges = [np.zeros(len(p), int), 1000 * np.eye(len(p), dtype=int)[0], 700 * np.eye(len(p), dtype=int)[0]]
    rows = np.stack([*edges, np.eye(len(p), dtype=int)[0], *(rng.multinomial(n, p) for n in sizes)])
    model, expected = alone(p), [stats.multinomial.logpmf(row, row.sum(), p) for row in rows]
    np.testing.assert_allclose(model.log_density_many(table_of(rows)), expected, rtol=1e-12, atol=1e-12)
    ours = [model.log_density_one(x) for x in records_of(rows)]
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def exactly(row: list[float], p: list[float]) -> Any:
    whole = [mp.mpf(v) / mp.fsum(p) for v in p]
    return mp.loggamma(mp.fsum(row) + 1) + mp.fsum(
        mp.mpf(x) * mp.log(q) - mp.loggamma(mp.mpf(x) + 1) for x, q in zip(row, whole, strict=True) if x
    )


def test_large_counts_lose_nothing() -> None:
    rng = np.random.default_rng(2)
    p = [0.5, 0.3, 0.2 - 1e-7, 1e-7]
    rows = [rng.multinomial(n, p).tolist() for n in (1023, 1024, 10**5, 10**9)]
    rows += [[10**9, 0, 0, 0], [0, 0, 10**5, 10**5], [1e60, 1e60, 0, 3.0]]
    model = alone(p)
    with mp.workdps(90):
        exact = [exactly(row, p) for row in rows]
    for ours in (model.log_density_many(table_of(rows)), [model.log_density_one(x) for x in records_of(rows)]):
        np.testing.assert_allclose(np.asarray(ours), [float(v) for v in exact], rtol=2e-13)


def test_poisson_and_binomial_lose_nothing_either() -> None:
    with mp.workdps(60):
        for rate in (1.0, 900.0, 1e4, 1e8, 1e15):
            x = [float(v) for v in (0, 1023, 1024, math.floor(rate), math.floor(rate + 2 * math.sqrt(rate)), 10 * rate)]
            exact = [float(mp.mpf(v) * mp.log(rate) - rate - mp.loggamma(mp.mpf(v) + 1)) for v in x]
            model = sm.Mixture(components=[{"a": sm.Poisson(rate)}])
            np.testing.assert_allclose([model.log_density_one({"a": v}) for v in x], exact, rtol=1e-12)
            np.testing.assert_allclose(np.asarray(model.log_density_many(pa.table({"a": x}))), exact, rtol=1e-12)
        for n, p in itertools.product((1023, 1024, 10**6, 10**9), (1e-12, 0.3, 0.999)):
            x = [0.0, 1.0, math.floor(n * p), n - 1.0, float(n)]
            exact = [exactly([v, n - v], [p, 1 - mp.mpf(p)]) for v in x]
            model = sm.Mixture(components=[{"a": sm.Binomial(n, p)}])
            ours = [model.log_density_one({"a": v}) for v in x]
            np.testing.assert_allclose(ours, [float(v) for v in exact], rtol=1e-12, atol=1e-12)


def test_counts_in_part_are_multinomial_given_their_sum() -> None:
    p = np.array([0.4, 0.3, 0.2, 0.1])
    model = alone(p)
    for there in itertools.chain.from_iterable(itertools.combinations(range(4), size) for size in (1, 2, 3)):
        own = p[list(there)] / p[list(there)].sum()
        row = np.full(4, np.nan)
        row[list(there)] = np.arange(3, 3 + len(there))
        expected = stats.multinomial.logpmf(np.arange(3, 3 + len(there)), row[list(there)].sum(), own)
        [record] = records_of([row])
        assert model.log_density_one(record) == pytest.approx(expected, abs=1e-13)
        assert model.log_density_many(table_of([row]))[0].as_py() == pytest.approx(expected, abs=1e-13)
    total = sum(math.exp(model.log_density_one({"a": i, "c": 9 - i})) for i in range(10))
    assert total == pytest.approx(1.0, rel=1e-12)


def test_one_component_has_the_shares_of_all_counts() -> None:
    rows = np.random.default_rng(3).multinomial(7, [0.2, 0.5, 0.3], 200)
    model = alone([0.4, 0.4, 0.2])
    sm.batch.fit(model, table_of(rows), max_iter=1)
    learnt = model.parameters[0][NAMES[:3]]
    np.testing.assert_allclose(learnt.probabilities, rows.sum(axis=0) / rows.sum(), rtol=1e-14)
    assert learnt.total == pytest.approx(7.0, rel=1e-14)


def hidden(rows: Any, rng: np.random.Generator) -> Any:
    """A third of all counts missing, but for one in each row."""
    gaps = rng.random(rows.shape) < 0.35
    gaps[np.arange(len(rows)), rng.integers(rows.shape[1], size=len(rows))] = False
    return np.where(gaps, np.nan, rows)


def test_em_with_missing_counts_finds_the_maximum_of_the_likelihood() -> None:
    """The likelihood of the counts that are there, given their sums, by an optimiser of its own."""
    rng = np.random.default_rng(4)
    rows = hidden(rng.multinomial(rng.poisson(9, 300)[:, None].ravel(), [0.45, 0.3, 0.2, 0.05]), rng)
    seen, counts = ~np.isnan(rows), np.nan_to_num(rows)

    def cost(free: Any) -> float:
        p = np.exp(np.append(free, 0.0))
        return float((counts.sum(axis=1) * np.log(seen @ p)).sum() - (counts @ np.log(p)).sum())

    best = optimize.minimize(cost, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    expected = np.exp(np.append(best.x, 0.0))
    model = alone([0.25] * 4)
    trace = sm.batch.fit(model, table_of(rows), max_iter=300, tol=0.0).log_likelihood
    np.testing.assert_allclose(model.parameters[0][NAMES].probabilities, expected / expected.sum(), rtol=1e-6)
    assert np.diff(trace).min() > -1e-9


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_stream_of_two_groups_with_gaps(batch_size: int) -> None:
    rng = np.random.default_rng(5)
    true = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    z = (rng.random(8_000) < 0.4).astype(int)
    rows = np.stack([rng.multinomial(n, true[k]) for n, k in zip(rng.poisson(20, z.size), z, strict=True)])
    rows = hidden(rows, rng)
    declared: dict[str, Any] = {"step_size": sm.RunningMean(), "warm_up": 500, "batch_size": batch_size, "seed": 1}
    model = sm.Mixture(n_components=2, fields={NAMES: sm.Multinomial()}, **declared)
    model.learn_many(table_of(rows))
    order = np.argsort(-model.weights)
    np.testing.assert_allclose(model.weights[order], [0.6, 0.4], atol=0.03)
    for k, expected in zip(order, true, strict=True):
        np.testing.assert_allclose(model.parameters[k][NAMES].probabilities, expected, atol=0.02)


def test_a_class_that_never_came_keeps_a_share() -> None:
    model = sm.Mixture(n_components=1, fields={NAMES[:3]: sm.Multinomial()}, warm_up=20, seed=0)
    for _ in range(500):
        model.learn_one({"a": 3, "b": 2, "c": 0})
    p = model.parameters[0][NAMES[:3]].probabilities
    assert 0 < p[2] < 1e-6
    np.testing.assert_allclose(p[:2], [0.6, 0.4], atol=1e-6)


def test_records_without_a_count_say_nothing_of_the_shares() -> None:
    model = alone([0.5, 0.3, 0.2])
    for _ in range(50):
        assert model.log_density_one({"a": 0, "b": 0, "c": 0}) == 0.0
        model.learn_one({"a": 0, "b": 0, "c": 0})
        model.learn_one({"a": 0})
    learnt = model.parameters[0][NAMES[:3]]
    np.testing.assert_allclose(learnt.probabilities, [0.5, 0.3, 0.2], rtol=1e-12)
    assert 0 < learnt.total < 0.7


def test_the_rarest_counts_alone_break_nothing() -> None:
    model = alone([1.0, 0.0, 0.0])
    for x in ({"b": 10**9}, {"b": 1e70, "c": 1e70}, {"a": 1.0, "c": 1e70}):
        model.learn_one(x)
        assert np.isfinite(model.log_density_one(x))
    learnt = model.parameters[0][NAMES[:3]]
    assert math.fsum(learnt.probabilities) == pytest.approx(1.0)
    assert np.isfinite(learnt.total)


def test_expectations_and_what_is_filled_in() -> None:
    key = NAMES[:3]
    components = [{key: sm.Multinomial([0.5, 0.25, 0.25], 8), "z": sm.Normal(m, 1)} for m in (0, 9)]
    components[1][key] = sm.Multinomial([0.1, 0.6, 0.3], 20)
    model = sm.Mixture(components=components)
    assert model.centers[0] == {"a": 4.0, "b": 2.0, "c": 2.0, "z": 0.0}
    assert model.predict_mean_one({"z": 0.0}, ["a", "b"]) == pytest.approx({"a": 4.0, "b": 2.0})
    assert model.impute_one({"z": 9.0, "b": 12}) == pytest.approx({"z": 9.0, "b": 12, "a": 2.0, "c": 6.0})
    assert model.impute_one({"z": 9.0, "b": 0}) == pytest.approx({"z": 9.0, "b": 0, "a": 0.0, "c": 0.0})


@pytest.mark.parametrize("total", [1, 6.5, 40])
def test_samples_are_of_the_distribution(total: float) -> None:
    rows = sm.Multinomial([0.5, 0.3, 0.2], total).sample(4_000, np.random.default_rng(6))
    assert rows.sum(axis=1).mean() == pytest.approx(total, abs=0.04)
    assert set(rows.sum(axis=1)) <= {math.floor(total), math.ceil(total)}
    np.testing.assert_allclose(rows.mean(axis=0), np.array([0.5, 0.3, 0.2]) * total, rtol=0.06)
    model = sm.Mixture(components=[{NAMES[:3]: sm.Multinomial([0.5, 0.3, 0.2], total)}], seed=1)
    for record in model.sample(20):
        model.learn_one(record)


def test_one_that_is_fixed_stays() -> None:
    fixed = sm.Fixed(sm.Multinomial([0.5, 0.5]))
    model = sm.Mixture(components=[{("a", "b"): fixed}, {("a", "b"): sm.Multinomial([0.9, 0.1])}], seed=0)
    for _ in range(200):
        model.learn_one({"a": 7, "b": 3})
    assert model.parameters[0][("a", "b")] is fixed
    np.testing.assert_allclose(model.parameters[1][("a", "b")].probabilities, [0.7, 0.3], atol=0.02)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"a": -1, "b": 2}, "field 'a': expected a whole number, 0 or more, got -1"),
        ({"a": 1.5, "b": 2}, "field 'a': expected a whole number, 0 or more, got 1.5"),
        ({"a": 1, "b": "2"}, "field 'b': expected a whole number, 0 or more, got '2'"),
        ({"a": 1, "b": 1e71}, r"field 'b': expected a whole number, 0 or more of a magnitude up to 1e\+70, got 1e\+71"),
    ],
)
def test_what_are_no_counts(record: dict[str, Any], message: str) -> None:
    model = alone([0.5, 0.5])
    before = repr(model.parameters)
    with pytest.raises(sm.RecordError, match=message):
        model.learn_one(record)
    assert repr(model.parameters) == before


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: sm.Multinomial([1.0]), "probabilities must be a list of two numbers from 0 to 1 or more"),
        (lambda: sm.Multinomial([0.5, 0.6]), "whose sum is 1 within 1e-6"),
        (lambda: sm.Multinomial([1.5, -0.5]), "a list of two numbers from 0 to 1"),
        (lambda: sm.Multinomial([[0.5, 0.5], [1.0]]), "a list of two numbers from 0 to 1"),
        (lambda: sm.Multinomial("ab"), "a list of two numbers from 0 to 1"),
        (lambda: sm.Multinomial([math.nan, 1.0]), "a list of two numbers from 0 to 1"),
        (lambda: sm.Multinomial([0.5, 0.5], 0), "total must be a positive number up to 1e70, not 0"),
        (lambda: sm.Multinomial(total=3), "Multinomial: probabilities is missing; give all parameters or none"),
        (lambda: sm.Mixture(fields={"a": sm.Multinomial()}), r"spans two fields or more, but 'a' names 1"),
        (lambda: sm.Mixture(components=[{("a", "b", "c"): sm.Multinomial([0.5, 0.5])}]), "spans 2 fields, but"),
        (
            lambda: sm.Mixture(
                components=[{("a", "b"): sm.Multinomial([0.5, 0.5])}, {("a", "b"): sm.Dirichlet([1, 1])}]
            ),
            "can't stand side by side",
        ),
    ],
)
def test_wrong_declarations_are_refused(declare: Any, message: str) -> None:
    with pytest.raises(sm.ConfigError, match=message):
        declare()
