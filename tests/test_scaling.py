"""Scaling is the model's business: x -> a x + b changes no answer, the density's own -log |a| aside."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAW

import streammix as sm

SCALES = st.builds(lambda exponent, sign: sign * 10.0**exponent, st.floats(-12, 12), st.sampled_from([1.0, -1.0]))
SHIFTS = st.builds(lambda exponent, sign: sign * 10.0**exponent, st.floats(-3, 6), st.sampled_from([0.0, 1.0, -1.0]))
SCALING = settings(LAW, max_examples=15)


def cells(n=700):
    """Two true groups; columns of one size, and some gaps."""
    rng = np.random.default_rng(11)
    z = rng.random(n) < 0.4
    normal = np.stack([rng.normal(4.0 * z), rng.normal(-3.0 * z, 1.5), rng.normal(0.5 * z, 0.7)])
    positive = np.exp(rng.normal(2.0 * z, 0.5))
    waits = rng.exponential(np.where(z, 9.0, 1.0))
    return {"a": normal[0], "b": normal[1], "c": normal[2], "amount": positive, "wait": waits}, z


def learnt(columns, **declared):
    model = sm.Mixture(n_components=2, **{"warm_up": 300, "seed": 3} | declared)
    names = list(columns)
    table = pa.table({name: pa.array(columns[name], from_pandas=True) for name in names})
    model.learn_many(table.slice(0, 350))
    for record in table.slice(350).to_pylist():
        model.learn_one(record)
    scores = model.log_density_many(table).to_numpy()
    return model, np.asarray(model.predict_proba_many(table).to_pandas()), scores


def assert_same(columns, scaled, log_scale, **declared):
    model, before, scores = learnt(columns, **declared)
    again, after, shifted = learnt(scaled, **declared)
    assert model.infer_summary() == again.infer_summary()
    np.testing.assert_allclose(again.weights, model.weights, rtol=1e-9)
    np.testing.assert_allclose(after, before, atol=1e-9)
    np.testing.assert_allclose(shifted + log_scale, scores, rtol=1e-9, atol=1e-9)


KINDS = {
    "normal": {"fields": {name: sm.Normal() for name in "abc"}},
    "joint": {"fields": {("a", "b", "c"): sm.MultivariateNormal()}},
    "inferred": {},
    "mini-batches": {"fields": {("a", "b"): sm.MultivariateNormal(), "c": sm.Normal()}, "batch_size": 32},
    "student": {"fields": {"a": sm.StudentT(df=5), "b": sm.StudentT(df=5), "c": sm.Normal()}},
    "averaging": {"fields": {name: sm.Normal() for name in "abc"}, "averaging": True},
}


@pytest.mark.parametrize("kind", KINDS)
@SCALING
@given(st.lists(st.tuples(SCALES, SHIFTS), min_size=3, max_size=3))
def test_location_and_scale_of_each_field(kind, changes):
    columns = {name: cells()[0][name] for name in "abc"}
    scaled = {name: a * columns[name] + a * b for name, (a, b) in zip(columns, changes, strict=True)}
    log_scale = sum(math.log(abs(a)) for a, _ in changes)
    assert_same(columns, scaled, log_scale, **KINDS[kind])


@SCALING
@given(SCALES, SHIFTS)
def test_a_field_with_gaps_and_one_that_joins_late(a, b):
    columns = {name: cells()[0][name].copy() for name in "abc"}
    columns["b"][::5] = np.nan
    columns["c"][:320] = np.nan
    scaled = {name: a * values + a * b for name, values in columns.items()}
    model, before, _ = learnt(columns)
    again, after, _ = learnt(scaled)
    assert set(model.parameters[0]) == set(again.parameters[0]) == {"a", "b", "c"}
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("family", [sm.LogNormal, sm.Exponential])
@SCALING
@given(st.floats(-12, 12))
def test_scale_of_positive_fields(family, exponent):
    a = 10.0**exponent
    columns = {name: cells()[0][name] for name in ("amount", "wait", "a")}
    scaled = {"amount": a * columns["amount"], "wait": a * columns["wait"], "a": columns["a"]}
    fields = {"amount": family(), "wait": family(), "a": sm.Normal()}
    assert_same(columns, scaled, 2 * math.log(a), fields=fields)


def test_bytes_beside_fractions_need_no_scaler():
    columns, z = cells(3_000)
    model = sm.Mixture(n_components=2, seed=1)
    model.learn_many(pa.table({"bytes": 3e12 + 1e12 * columns["a"], "share": 0.5 + 1e-3 * columns["b"]}))
    found = np.asarray(model.predict_many(pa.table({"bytes": 3e12 + 1e12 * columns["a"]})))
    agreement = (found == z).mean()
    assert max(agreement, 1 - agreement) > 0.95


SCALES_APART = [[-190] * 4 + [0] * 3, [160] * 4 + [-190] * 3, [-190, 0, 160, 60, -60, 160, -190]]


@pytest.mark.parametrize("exponents", SCALES_APART)
def test_joint_fields_of_scales_whose_products_are_no_numbers(exponents):
    """Divisions are shared by coordinates, but for those whose variances multiply to nothing or to infinity."""
    rng = np.random.default_rng(4)
    names = tuple("abcdefg")
    rows = rng.normal(size=(60, 7)) + 2.0 * (rng.random((60, 1)) < 0.5)
    covariance = np.eye(7) + 0.3
    results = []
    for scale in (np.ones(7), np.exp2(exponents)):
        starts = [sm.MultivariateNormal(mean * scale, covariance * np.outer(scale, scale)) for mean in (0.0, 2.0)]
        model = sm.Mixture(components=[{names: start} for start in starts], weights=[0.5, 0.5])
        for row in rows * scale:
            model.learn_one(dict(zip(names, row.tolist(), strict=True)))
        learnt = [component[names] for component in model.parameters]
        means = np.array([family.mean for family in learnt]) / scale
        covariances = np.array([family.covariance for family in learnt]) / np.outer(scale, scale)
        results.append((model.weights, means, covariances))
    for unscaled, scaled in zip(*results, strict=True):
        np.testing.assert_allclose(scaled, unscaled, rtol=1e-11)
