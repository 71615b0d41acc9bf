"""Batch EM against the textbook oracle: every family, gaps, weights; and the likelihood only rises."""

from typing import Any

import numpy as np
import oracle
import pytest
from laws import BLOCKS, assert_close, draw_records, families, start, table_of, with_gaps
from scipy import stats

import streammix as sm

ALL = sorted(BLOCKS)


def assert_batch_is_the_oracle(
    weights: Any, components: list[Any], records: list[Any], n_iter: int, w: Any = None
) -> sm.Mixture:
    model = sm.Mixture(components=families(components), weights=weights)
    trace = sm.batch.fit(model, table_of(records), max_iter=n_iter, tol=0.0, **({} if w is None else {"w": w}))
    n_done = len(trace.log_likelihood)
    assert n_done == n_iter or trace.converged  # one component is done at once
    expected_weights, expected, log_likelihood, counts = oracle.em(weights, components, records, n_done, w)
    np.testing.assert_allclose(trace.log_likelihood, log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(trace.expected_counts, counts, rtol=1e-9)
    assert_close(model, expected_weights, expected)
    return model


@pytest.mark.parametrize("n_iter", [1, 8])
@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("name", ALL)
def test_every_family(name: str, n_components: int, n_iter: int) -> None:
    records = draw_records([name], 120, np.random.default_rng(len(name)))
    weights = np.arange(1, n_components + 1) / sum(range(1, n_components + 1))
    assert_batch_is_the_oracle(weights, start([name], n_components), records, n_iter)


@pytest.mark.parametrize("n_components", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_mixed_records(seed: int, n_components: int) -> None:
    records = draw_records(ALL, 150, np.random.default_rng(seed))
    weights = [1 / n_components] * n_components
    assert_batch_is_the_oracle(weights, start(ALL, n_components), records, 6)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_missing_cells(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    records = with_gaps(draw_records(ALL, 120, rng), share, rng)
    assert_batch_is_the_oracle([0.5, 0.5], start(ALL, 2), records, 6)


def test_missing_parts_of_a_wide_multivariate_normal() -> None:
    fields = tuple("abcde")
    rng = np.random.default_rng(11)
    factor = rng.normal(size=(5, 5))
    rows = rng.normal(size=(200, 5)) @ factor + 3.0 * rng.integers(2, size=200)[:, None]
    records = with_gaps([dict(zip(fields, row.tolist(), strict=True)) for row in rows], 0.4, rng)
    components: list[Any] = [{fields: ("mvn", np.full(5, 3.0 * k), 4.0 * np.eye(5))} for k in range(2)]
    assert_batch_is_the_oracle([0.5, 0.5], components, records, 8)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_weighted_records(share: float) -> None:
    rng = np.random.default_rng(4)
    records = with_gaps(draw_records(ALL, 120, rng), share, rng)
    assert_batch_is_the_oracle([0.5, 0.5], start(ALL, 2), records, 5, rng.gamma(2.0, size=120))


def test_an_integer_weight_is_so_many_repetitions() -> None:
    rng = np.random.default_rng(5)
    records = draw_records(ALL, 60, rng)
    w = rng.integers(1, 4, 60)
    repeated = [x for x, times in zip(records, w, strict=True) for _ in range(times)]
    by_weight = sm.Mixture(components=families(start(ALL, 2)))
    by_hand = sm.Mixture(components=families(start(ALL, 2)))
    one = sm.batch.fit(by_weight, table_of(records), w=w.astype(float), max_iter=10, tol=0.0)
    other = sm.batch.fit(by_hand, table_of(repeated), max_iter=10, tol=0.0)
    np.testing.assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(by_weight.weights, by_hand.weights, rtol=1e-11)
    frame = table_of(records).to_pandas()
    np.testing.assert_allclose(by_weight.log_density_many(frame), by_hand.log_density_many(frame), rtol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("name", [*ALL, "all"])
def test_the_likelihood_never_falls(name: str, share: float) -> None:
    rng = np.random.default_rng(6)
    names = ALL if name == "all" else [name]
    records = with_gaps(draw_records(names, 200, rng), share, rng)
    model = sm.Mixture(components=families(start(names, 3)), weights=[0.2, 0.3, 0.5])
    trace = sm.batch.fit(model, table_of(records), max_iter=60, tol=0.0)
    rises = np.diff(trace.log_likelihood)
    # A sum of n log densities carries rounding of about n eps times their size, and no more.
    rounding = 1e-13 * np.abs(trace.log_likelihood[1:])
    assert (rises >= -rounding).all(), rises.min()
    assert trace.log_likelihood[-1] > trace.log_likelihood[0]


def test_fields_that_share_a_record_are_independent_given_the_component() -> None:
    """Two MultivariateNormals and two Poissons side by side: blocks of one family stay apart."""
    rng = np.random.default_rng(7)
    components: list[Any] = [
        {
            ("a", "b"): ("mvn", [k, -k], [[1.0, 0.2], [0.2, 1.0]]),
            ("c", "d", "e"): ("mvn", [0.0, k, 2.0 * k], np.eye(3) + 0.1),
            "f": ("poisson", 1.0 + k),
            "g": ("poisson", 9.0 - 2 * k),
            "h": ("normal", k, 1.0),
            "i": ("categorical", {"x": 0.2 + 0.1 * k, "y": 0.8 - 0.1 * k}),
            "j": ("categorical", {"x": 0.5, "y": 0.25, "z": 0.25}),
        }
        for k in range(3)
    ]
    records = []
    for _ in range(150):
        z = int(rng.integers(3))
        numbers = dict(zip("abcdeh", (rng.normal(size=6) + z).tolist(), strict=True))
        counts = {"f": int(rng.poisson(1 + z)), "g": int(rng.poisson(9 - 2 * z))}
        records.append(numbers | counts | {"i": str(rng.choice(["x", "y"])), "j": str(rng.choice(["x", "y", "z"]))})
    assert_batch_is_the_oracle([0.3, 0.3, 0.4], components, with_gaps(records, 0.1, rng), 5)


def test_known_distributions_of_every_kind() -> None:
    """Fixed components, continuous and discrete: only the weights are learnt."""
    rng = np.random.default_rng(8)
    components: list[Any] = [
        {"x": ("fixed", stats.gamma(2.0)), "n": ("fixed", stats.geom(0.3))},
        {"x": ("fixed", stats.t(3, loc=4)), "n": ("fixed", stats.poisson(4, loc=1))},
        {"x": ("fixed", stats.uniform(0, 10)), "n": ("fixed", stats.nbinom(3, 0.4, loc=1))},
    ]
    records = [{"x": float(rng.uniform(0.1, 9)), "n": int(rng.integers(1, 9))} for _ in range(150)]
    model = assert_batch_is_the_oracle([0.2, 0.3, 0.5], components, records, 10)
    assert model.parameters[0]["x"] == sm.Fixed(stats.gamma(2.0))


def test_a_record_outside_some_components_belongs_to_the_others() -> None:
    """log p = -inf for a component is a responsibility of exactly 0, not a NaN."""
    parts = [
        {"x": sm.Fixed(stats.uniform(0, 1))},
        {"x": sm.Fixed(stats.uniform(0.5, 1))},
        {"x": sm.Normal(0.0, 1.0)},
    ]
    model = sm.Mixture(components=parts, weights=[0.4, 0.4, 0.2])
    assert model.predict_proba_one({"x": 0.25})[1] == 0.0
    assert model.predict_proba_one({"x": 7.0}) == {0: 0.0, 1: 0.0, 2: 1.0}
    trace = sm.batch.fit(model, table_of([{"x": v / 10} for v in range(-10, 20)]), max_iter=20, tol=0.0)
    assert np.isfinite(trace.log_likelihood).all()
    assert (np.diff(trace.log_likelihood) >= -1e-12).all()


def test_convergence_is_said_and_meant() -> None:
    records = draw_records(["normal", "poisson"], 300, np.random.default_rng(9))
    model = sm.Mixture(components=families(start(["normal", "poisson"], 2)))
    cut_short = sm.batch.fit(model.clone(), table_of(records), max_iter=2)
    assert not cut_short.converged
    assert len(cut_short.log_likelihood) == 2
    trace = sm.batch.fit(model, table_of(records), max_iter=2000)
    assert trace.converged
    assert len(trace.log_likelihood) < 2000
    more = sm.batch.fit(model, table_of(records), max_iter=1)
    assert more.log_likelihood[0] - trace.log_likelihood[-1] < 1e-5


def test_fit_takes_every_kind_of_table_and_gives_the_same_bits() -> None:
    records = draw_records(ALL, 90, np.random.default_rng(10))
    table = table_of(records)
    results = []
    for X in (table, table.to_pandas(), table.combine_chunks().to_batches()[0]):
        model = sm.Mixture(components=families(start(ALL, 2)))
        trace = sm.batch.fit(model, X, max_iter=5, tol=0.0)
        results.append((trace.log_likelihood, repr(model.parameters)))
    assert results[0] == results[1] == results[2]


def test_a_bad_row_is_refused_and_nothing_is_fitted() -> None:
    records = draw_records(ALL, 30, np.random.default_rng(11))
    records[20]["heads"] = 11
    model = sm.Mixture(components=families(start(ALL, 2)))
    before = repr((model.parameters, model.weights))
    with pytest.raises(sm.RecordError, match=r"heads.*11") as caught:
        sm.batch.fit(model, table_of(records), max_iter=3)
    assert caught.value.row == 20
    assert repr((model.parameters, model.weights)) == before


def test_the_oracle_itself_on_a_mixture_worked_by_hand() -> None:
    """Two Bernoullis p = 1/2 and 1/4 with equal weights, three heads and one tail.

    r(heads) = (2/3, 1/3), r(tail) = (2/5, 3/5); counts 12/5 and 8/5; p = 2/(12/5) = 5/6 and 1/(8/5) = 5/8.
    """
    records = [{"x": 1}, {"x": 1}, {"x": 1}, {"x": 0}]
    components: list[Any] = [{"x": ("bernoulli", 0.5)}, {"x": ("bernoulli", 0.25)}]
    weights, moved, value, counts = oracle.em_iteration([0.5, 0.5], components, records)
    np.testing.assert_allclose(counts, [12 / 5, 8 / 5], rtol=1e-14)
    np.testing.assert_allclose(weights, [3 / 5, 2 / 5], rtol=1e-14)
    np.testing.assert_allclose([moved[0]["x"][1], moved[1]["x"][1]], [5 / 6, 5 / 8], rtol=1e-14)
    np.testing.assert_allclose(value, 3 * np.log(3 / 8) + np.log(5 / 8), rtol=1e-14)


def test_the_oracle_fills_a_gap_by_regression() -> None:
    """A bivariate normal with variances 4 and 9 and covariance 3: E[y | x=2] = 1 + 3/4 * 2, Var = 9 - 9/4."""
    filled, second = oracle.conditional_moments(np.array([2.0, np.nan]), [0.0, 1.0], [[4.0, 3.0], [3.0, 9.0]])
    np.testing.assert_allclose(filled, [2.0, 2.5], rtol=1e-14)
    np.testing.assert_allclose(second, [[4.0, 5.0], [5.0, 6.75 + 6.25]], rtol=1e-14)
