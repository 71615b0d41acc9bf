"""Online EM against the oracle's s <- (1 - gamma) s + gamma E[s | x, theta], from an explicit start."""

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pyarrow as pa
import pytest
from laws import BLOCKS, assert_close, draw_records, families, start, table_of, with_gaps

import streammix as sm

ALL = sorted(BLOCKS)

# The formulas of the steps, written here once more: n counts from 1 after a start that counts as n0 records.
STEPS: dict[str, tuple[Any, Callable[[float, float], float]]] = {
    "power 0.6": (sm.PowerDecay(0.6), lambda n, n0: (1 / n0) * (1 + n / n0) ** -0.6),
    "power 0.9": (sm.PowerDecay(0.9), lambda n, n0: (1 / n0) * (1 + n / n0) ** -0.9),
    "power 1": (sm.PowerDecay(1.0), lambda n, n0: 1 / (n0 + n)),
    "running mean": (sm.RunningMean(), lambda n, n0: 1 / (n0 + n)),
    "half-life": (sm.HalfLife(50), lambda n, n0: 1 - 2 ** (-1 / 50)),
}


def assert_online_is_the_oracle(
    names: list[str],
    records: list[Any],
    step: str = "power 0.6",
    n0: int | None = None,
    n_components: int = 2,
    batch_size: int = 1,
    w: Any = None,
) -> None:
    step_size, formula = STEPS[step]
    weights = np.arange(1, n_components + 1) / sum(range(1, n_components + 1))
    components = start(names, n_components)
    model = sm.Mixture(
        components=families(components),
        weights=weights,
        step_size=step_size,
        batch_size=batch_size,
        warm_up=n0,
    )
    for x, w_x in zip(records, np.ones(len(records)) if w is None else w, strict=True):
        model.learn_one(x, w=float(w_x))
    expected = oracle.stepwise(weights, components, records, lambda n: formula(n, n0 or 100), batch_size, w)
    assert_close(model, *expected)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_every_step_size(step: str, n: int) -> None:
    records = draw_records(["normal", "poisson"], n, np.random.default_rng(0))
    assert_online_is_the_oracle(["normal", "poisson"], records, step)


@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("name", ALL)
def test_every_family(name: str, n_components: int) -> None:
    records = draw_records([name], 100, np.random.default_rng(len(name)))
    assert_online_is_the_oracle([name], records, n_components=n_components)


@pytest.mark.parametrize("n0", [1, 7, 1000])
def test_the_start_counts_as_warm_up_records(n0: int) -> None:
    records = draw_records(["normal", "binomial"], 100, np.random.default_rng(1))
    assert_online_is_the_oracle(["normal", "binomial"], records, "running mean", n0)


@pytest.mark.parametrize(("seed", "n_components"), [(0, 2), (1, 3)])
def test_mixed_records(seed: int, n_components: int) -> None:
    records = draw_records(ALL, 60, np.random.default_rng(seed))
    assert_online_is_the_oracle(ALL, records, n_components=n_components)


@pytest.mark.parametrize(("seed", "share"), [(0, 0.1), (1, 0.5)])
def test_missing_cells(seed: int, share: float) -> None:
    """Each block has a mass and a clock of its own, which stand still while it is missing."""
    rng = np.random.default_rng(seed)
    assert_online_is_the_oracle(ALL, with_gaps(draw_records(ALL, 80, rng), share, rng))


@pytest.mark.parametrize("step", ["power 0.6", "half-life"])
def test_weighted_records(step: str) -> None:
    rng = np.random.default_rng(2)
    records = with_gaps(draw_records(ALL, 60, rng), 0.2, rng)
    assert_online_is_the_oracle(ALL, records, step, w=rng.choice([0.25, 1.0, 2.0, 5.5], 60))


@pytest.mark.parametrize("w", [2.0, 5.0])
def test_under_the_running_mean_a_weight_is_so_many_records(w: float) -> None:
    """w g / (1 + (w-1) g) with g = 1/(n0 + n + 1) is w/(n0 + n + w): w repetitions."""
    one = sm.Mixture(components=families(start(["normal"], 1)), step_size=sm.RunningMean(), warm_up=10)
    many = one.clone()
    for x in draw_records(["normal"], 20, np.random.default_rng(3)):
        one.learn_one(x, w=w)
        for _ in range(int(w)):
            many.learn_one(x)
    np.testing.assert_allclose(one.parameters[0]["height"].mean, many.parameters[0]["height"].mean, rtol=1e-12)
    np.testing.assert_allclose(one.parameters[0]["height"].variance, many.parameters[0]["height"].variance, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [2, 5, 25, 100])
def test_mini_batches(batch_size: int) -> None:
    """theta stands still within a batch; steps compound; the weighted mean of the batch comes in at once."""
    records = draw_records(ALL, 110, np.random.default_rng(4))
    assert_online_is_the_oracle(ALL, records, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [2, 25])
def test_mini_batches_with_gaps(batch_size: int) -> None:
    rng = np.random.default_rng(5)
    records = with_gaps(draw_records(ALL, 110, rng), 0.4, rng)
    assert_online_is_the_oracle(ALL, records, batch_size=batch_size)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_mini_batches_with_weights(share: float) -> None:
    rng = np.random.default_rng(6)
    records = with_gaps(draw_records(ALL, 110, rng), share, rng)
    assert_online_is_the_oracle(ALL, records, batch_size=10, w=rng.choice([0.5, 1.0, 3.0], 110))


def test_a_mini_batch_that_is_not_full_waits() -> None:
    records = draw_records(["normal"], 9, np.random.default_rng(7))
    model = sm.Mixture(components=families(start(["normal"], 2)), batch_size=10)
    before = repr(model.parameters)
    for x in records:
        model.learn_one(x)
    assert repr(model.parameters) == before
    model.learn_one(records[0])
    assert repr(model.parameters) != before


def test_a_table_is_the_oracle_too() -> None:
    rng = np.random.default_rng(8)
    records = with_gaps(draw_records(ALL, 100, rng), 0.2, rng)
    w = rng.choice([1.0, 2.0], 100)
    components = start(ALL, 2)
    model = sm.Mixture(components=families(components), batch_size=4)
    model.learn_many(table_of(records), w=w)
    assert_close(
        model,
        *oracle.stepwise([0.5, 0.5], components, records, lambda n: STEPS["power 0.6"][1](n, 100), 4, w),
    )


def test_many_passes_reach_batch_em() -> None:
    """Stepwise EM over one data set again and again ends where batch EM ends."""
    names = ["normal", "binomial"]
    rng = np.random.default_rng(9)
    records = draw_records(names, 200, rng)
    online = sm.Mixture(components=families(start(names, 2)))
    for _ in range(200):
        online.learn_many(table_of([records[i] for i in rng.permutation(200)]))
    batch = sm.Mixture(components=families(start(names, 2)))
    best = sm.batch.fit(batch, table_of(records), max_iter=500).log_likelihood[-1]
    reached = float(np.sum(online.log_density_many(table_of(records).to_pandas())))
    assert best - reached < 200 * 0.0005
    np.testing.assert_allclose(online.weights, batch.weights, atol=0.01)


@pytest.mark.parametrize("seed", range(2))
def test_one_pass_over_an_easy_stream_ends_near_batch_em(seed: int) -> None:
    """Five overlapping Gaussians in four dimensions, 20,000 records, default settings: within 0.005 nats a record."""
    rng = np.random.default_rng(seed)
    means = 2.0 * rng.normal(size=(5, 4))
    factors = rng.normal(size=(5, 4, 4)) / 2
    z = rng.integers(5, size=20_000)
    rows = means[z] + np.einsum("nij,nj->ni", factors[z], rng.normal(size=(20_000, 4)))
    rows += 0.5 * rng.normal(size=rows.shape)
    table = pa.table({f"x{j}": rows[:, j] for j in range(4)})
    online = sm.Mixture(n_components=5, seed=seed)
    online.learn_many(table)
    reached = float(np.mean(online.log_density_many(table.to_pandas())))
    truth = [
        {("x0", "x1", "x2", "x3"): sm.MultivariateNormal(means[k], factors[k] @ factors[k].T + 0.25 * np.eye(4))}
        for k in range(5)
    ]
    batch = sm.Mixture(components=truth)
    best = sm.batch.fit(batch, table, max_iter=200).log_likelihood[-1] / 20_000
    assert best - reached < 0.005
