"""Some fields given the others: filled gaps, regression, marginal densities; weights and drawing with gaps."""

import math
from typing import Any

import numpy as np
import oracle
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from laws import BLOCKS, assert_close, draw_records, families, start, state_of, table_of, with_gaps
from scipy.special import logsumexp

import streammix as sm

ALL = sorted(BLOCKS)
FIELDS = [(name, field) for name in ALL for field in BLOCKS[name].fields]
WEIGHTS = [0.2, 0.5, 0.3]
COMPONENTS = start(ALL, 3)
RECORDS = draw_records(ALL, 40, np.random.default_rng(0))
PATTERNS = with_gaps(RECORDS, 0.5, np.random.default_rng(1))
LINE = sm.MultivariateNormal([0, 0], [[1, 0.8], [0.8, 1]])


def mixture() -> sm.Mixture:
    return sm.Mixture(components=families(COMPONENTS), weights=WEIGHTS, seed=0)


def people() -> sm.Mixture:
    """A field of each kind that is filled in a way of its own, small enough to compute by hand."""
    common = {"country": sm.Categorical({"FR": 0.3, "DE": 0.7}), "adult": sm.Bernoulli(0.75), "visits": sm.Poisson(2.5)}
    return sm.Mixture(components=[{("height", "weight"): LINE, **common}], seed=0)


def as_dict(value: Any) -> Any:
    return list(value.values()) if isinstance(value, sm.families.Probabilities) else value


# --- one record ---


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_the_conditional_expectation_of_each_family(name: str, field: str) -> None:
    model = mixture()
    for record in RECORDS[:10]:
        expected = oracle.conditional_expectation(WEIGHTS, COMPONENTS, record, field)
        np.testing.assert_allclose(as_dict(model.predict_mean_one(record, field)[field]), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_given_one_field_alone(name: str) -> None:
    """Each family by itself says which component it was, what its density is, and what all others are to be."""
    model = mixture()
    for record in RECORDS[:5]:
        known = {field: record[field] for field in BLOCKS[name].fields}
        [r] = oracle.responsibilities(WEIGHTS, COMPONENTS, [known])
        np.testing.assert_allclose(list(model.predict_proba_one(known).values()), r, rtol=1e-9)
        parts = [oracle.block_log_density(BLOCKS[name].key, c[BLOCKS[name].key], [known])[0] for c in COMPONENTS]
        marginal = logsumexp(np.log(WEIGHTS) + parts)
        np.testing.assert_allclose(model.log_density_one(known), marginal, rtol=1e-9, atol=1e-12)
        others = [field for _, field in FIELDS if field not in known]
        means = model.predict_mean_one(known, others)
        for field in others:
            expected = oracle.conditional_expectation(WEIGHTS, COMPONENTS, known, field)
            np.testing.assert_allclose(as_dict(means[field]), expected, rtol=1e-9)


def test_gaps_of_any_pattern_are_filled_by_the_oracles_expectations() -> None:
    model = mixture()
    for record in PATTERNS:
        known = {field: value for field, value in record.items() if not oracle.is_missing(value)}
        filled = model.impute_one(record)
        assert set(filled) == {field for _, field in FIELDS}
        for name, field in FIELDS:
            if field in known:
                assert filled[field] is known[field]
                continue
            expected = oracle.conditional_expectation(WEIGHTS, COMPONENTS, known, field)
            if name == "categorical":
                levels = list(COMPONENTS[0][field][1])
                assert filled[field] == levels[int(np.argmax(expected))]
            elif name == "bernoulli":
                assert filled[field] is bool(expected > 0.5)
            else:
                np.testing.assert_allclose(filled[field], expected, rtol=1e-9)


def test_values_of_the_fields_kind() -> None:
    x = {"height": 2.0, "weight": math.nan, "country": None, "name": "Ada"}
    before = dict(x)
    filled = people().impute_one(x)
    assert filled == {"height": 2.0, "weight": 1.6, "country": "DE", "name": "Ada", "adult": True, "visits": 2.5}
    assert repr(x) == repr(before), "the record itself is not touched"


def test_a_filled_record_is_at_least_as_dense_as_any_other_completion() -> None:
    """Under one Gaussian the conditional expectation is the mode, too."""
    model = sm.Mixture(components=[{("height", "weight"): LINE}])
    filled = model.impute_one({"height": 1.3})
    best = model.log_density_one(filled)
    assert all(model.log_density_one({"height": 1.3, "weight": w}) < best for w in (0.5, 1.0, 1.03, 1.05, 2.0))


def test_targets_that_a_record_has_are_ignored() -> None:
    model = people()
    asked = ["weight", "adult"]
    without = model.predict_mean_one({"height": 2.0}, asked)
    assert model.predict_mean_one({"height": 2.0, "weight": 77.0, "adult": False}, asked) == without
    assert without == {"weight": 1.6, "adult": 0.75}
    assert model.predict_mean_one({}, "country")["country"] == {"FR": 0.3, "DE": 0.7}
    with pytest.raises(sm.ConfigError, match="no field 'wieght'"):
        model.predict_mean_one({"height": 2.0}, "wieght")


def test_hours_around_midnight_meet_there() -> None:
    hours = [{"hour": sm.VonMises(hour, 4.0, period=24)} for hour in (23.0, 1.0)]
    hour = sm.Mixture(components=hours).predict_mean_one({"hour": 5.0}, "hour")["hour"]
    assert min(hour, 24 - hour) < 1e-9


def test_a_mean_that_does_not_exist_leaves_its_gap() -> None:
    endless = {"x": sm.Normal(0.0, 1.0), "amount": sm.LogNormal(0.0, 2_000.0)}
    assert sm.Mixture(components=[endless]).impute_one({"x": 1.0}) == {"x": 1.0}


def test_none_that_is_a_level_is_no_gap() -> None:
    model = sm.Mixture(components=[{"x": sm.Normal(0, 1), "plan": sm.Categorical([(None, 0.2), ("gold", 0.8)])}])
    assert model.impute_one({"x": 0.5, "plan": None}) == {"x": 0.5, "plan": None}
    assert model.impute_one({"x": 0.5}) == {"x": 0.5, "plan": "gold"}
    table = pa.table({"x": [None, 0.5], "plan": pa.array([None, "gold"], pa.string())})
    assert model.impute_many(table).to_pylist() == [{"x": 0.0, "plan": None}, {"x": 0.5, "plan": "gold"}]


def test_while_warming_up_nothing_is_known() -> None:
    model = sm.Mixture(n_components=2, fields={"x": sm.Normal(), "y": sm.Normal()}, warm_up=50)
    assert model.impute_one({"x": None, "y": 1.0}) == {"x": None, "y": 1.0}
    assert model.predict_mean_one({"x": 1.0}, "y") == {}
    table = pa.table({"x": [1.0, None]})
    assert model.impute_many(table).equals(table)
    assert model.predict_mean_many(table, "y").num_columns == 0


def test_a_refused_record_is_refused_here_too() -> None:
    with pytest.raises(sm.RecordError, match="visits"):
        people().impute_one({"height": 1.0, "visits": -1})


def test_filling_learns_nothing() -> None:
    model = mixture()
    before = state_of(model)
    model.impute_one(PATTERNS[0])
    model.predict_mean_one(PATTERNS[0], "height")
    model.impute_many(table_of(PATTERNS))
    model.predict_mean_many(table_of(PATTERNS), ["height", "country"])
    assert state_of(model) == before


# --- frames ---


def rows_of(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    return frame.to_dict("records") if isinstance(frame, pd.DataFrame) else frame.to_pylist()


FRAMES = {
    "arrow": lambda table: table,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "pandas": lambda table: table.to_pandas(),
    "polars": lambda table: pl.DataFrame(pl.from_arrow(table)),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_filled_as_records_are(kind: str) -> None:
    model = mixture()
    bare = [
        {f: v for f, v in record.items() if not oracle.is_missing(v)} | {"id": i} for i, record in enumerate(PATTERNS)
    ]
    X = FRAMES[kind](table_of(bare))
    filled = model.impute_many(X)
    assert type(filled) is type(X)
    assert set(filled.columns if kind in ("pandas", "polars") else filled.schema.names) >= {"id", "height"}
    for ours, record in zip(rows_of(filled), bare, strict=True):
        expected = model.impute_one(record)
        assert set(ours) == set(expected)
        for field, value in expected.items():
            if isinstance(value, str | bool):
                assert ours[field] == value
            else:
                np.testing.assert_allclose(ours[field], value, rtol=1e-12)


@pytest.mark.parametrize("kind", FRAMES)
def test_regression_of_frames_is_that_of_records(kind: str) -> None:
    model = mixture()
    bare = [{f: v for f, v in record.items() if not oracle.is_missing(v)} for record in PATTERNS]
    X = FRAMES[kind](table_of(bare))
    predicted = model.predict_mean_many(X, ["lon", "country", "hour"])
    assert type(predicted) is type(X)
    for ours, record in zip(rows_of(predicted), bare, strict=True):
        expected = model.predict_mean_one(record, ["lon", "country", "hour"])
        levels = {f"country={level}": p for level, p in expected.pop("country").items()}
        assert set(ours) == {"lon", "hour", *levels}
        for field, value in (expected | levels).items():
            np.testing.assert_allclose(ours[field], value, rtol=1e-12)


def test_arrays_are_filled() -> None:
    model = sm.Mixture(components=[{("a", "b"): LINE, "c": sm.Normal(5.0, 1.0)}])
    X = np.array([[2.0, np.nan, 1.0], [np.nan, 1.0, np.nan]])
    filled = model.impute_many(X)
    np.testing.assert_allclose(filled, [[2.0, 1.6, 1.0], [0.8, 1.0, 5.0]], rtol=1e-15)
    assert np.isnan(X).sum() == 3
    records = np.array([(2.0, np.nan)], dtype=[("a", float), ("b", float)])
    assert model.impute_many(records)["b"].tolist() == [1.6]
    np.testing.assert_allclose(model.predict_mean_many(X, ["b"]), [[1.6], [0.0]], atol=1e-15)


def test_the_types_of_columns_stay_where_they_can() -> None:
    table = pa.table(
        {
            "height": pa.array([1.0, None], pa.float32()),
            "country": pa.array(["FR", None]).dictionary_encode(),
            "adult": pa.array([None, False]),
            "visits": pa.array([1, None], pa.int64()),
        }
    )
    filled = people().impute_many(table)
    assert filled.schema.field("height").type == pa.float32()
    assert pa.types.is_dictionary(filled.schema.field("country").type)
    assert filled.to_pylist()[1]["country"] == "DE"
    assert filled["adult"].to_pylist() == [True, False]
    assert filled["visits"].to_pylist() == [1.0, 2.5]
    frame = pd.DataFrame({"country": pd.Categorical(["FR", None]), "adult": pd.array([None, False], "boolean")})
    assert people().impute_many(frame)["country"].tolist() == ["FR", "DE"]
    assert people().impute_many(frame)["adult"].tolist() == [True, False]


# --- Gaussians of many coordinates ---


def gaussians(D: int, K: int, rng: np.random.Generator, shift: float = 0.0) -> list[Any]:
    fields = tuple(f"x{i}" for i in range(D))
    factors = rng.normal(size=(K, D, D))
    return [{fields: ("mvn", shift + rng.normal(size=D), f @ f.T / D + 0.05 * np.eye(D))} for f in factors]


def gappy(D: int, n: int, share: float, rng: np.random.Generator, shift: float = 0.0) -> list[dict[str, float]]:
    rows = shift + rng.normal(size=(n, D))
    keep = rng.random((n, D)) >= share
    keep[np.arange(n), rng.integers(D, size=n)] = True
    return [{f"x{i}": float(row[i]) for i in range(D) if there[i]} for row, there in zip(rows, keep, strict=True)]


@pytest.mark.parametrize(("D", "K", "n", "share"), [(3, 2, 40, 0.5), (9, 11, 150, 0.4), (70, 2, 90, 0.3)])
def test_more_patterns_of_gaps_than_are_remembered(D: int, K: int, n: int, share: float) -> None:
    rng = np.random.default_rng(D)
    components, weights = gaussians(D, K, rng), [1 / K] * K
    records = gappy(D, n, share, rng)
    model = sm.Mixture(components=families(components), weights=weights)
    expected = oracle.log_density(weights, components, records)
    columns = {f"x{i}": pa.array([x.get(f"x{i}") for x in records], pa.float64()) for i in range(D)}
    together = model.log_density_many(pa.table(columns)).to_numpy()
    np.testing.assert_allclose(together, expected, rtol=1e-9)
    np.testing.assert_allclose([model.log_density_one(x) for x in records], expected, rtol=1e-9)
    alone = [model.log_density_many(pa.table(columns).slice(i, 1))[0].as_py() for i in range(n)]
    assert alone == together.tolist(), "whatever patterns were seen before"
    for x in records[:10]:
        filled = model.impute_one(x)
        for name in set(filled) - set(x):
            value = oracle.conditional_expectation(weights, components, x, name)
            np.testing.assert_allclose(filled[name], value, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 200])
def test_learning_from_gaps_is_the_textbooks(batch_size: int) -> None:
    """Little and Rubin's EM: E[x | part] and the conditional covariance enter the statistics."""
    rng = np.random.default_rng(4)
    components, weights = gaussians(6, 3, rng), [0.2, 0.3, 0.5]
    records = gappy(6, 200, 0.35, rng)
    model = sm.Mixture(components=families(components), weights=weights, warm_up=50, batch_size=batch_size)
    expected = oracle.stepwise(weights, components, records, lambda n: sm.PowerDecay(0.6)(n, 50), batch_size)
    for x in records:
        model.learn_one(x)
    assert_close(model, *expected)


def test_batch_em_with_gaps_climbs_to_the_likelihood_of_what_is_there() -> None:
    rng = np.random.default_rng(5)
    components, weights = gaussians(5, 2, rng), [0.4, 0.6]
    records = gappy(5, 150, 0.3, rng)
    model = sm.Mixture(components=families(components), weights=weights)
    trace = sm.batch.fit(model, records, max_iter=8, tol=0.0)
    weights_then, components_then, likelihoods, _ = oracle.em(weights, components, records, 8)
    np.testing.assert_allclose(trace.log_likelihood[:8], likelihoods, rtol=1e-9)
    assert (np.diff(trace.log_likelihood) > 0).all()
    assert_close(model, weights_then, components_then)


def test_gaps_far_from_zero() -> None:
    """Mean over standard deviation 1e8: densities and filled values are those of the data moved to zero."""
    rng = np.random.default_rng(6)
    near, far = (gaussians(4, 2, np.random.default_rng(7), shift) for shift in (0.0, 2.0**27))
    for (field, (_, mean, _)), component in zip(((f, c[f]) for c in near for f in c), far, strict=True):
        component[field] = ("mvn", 2.0**27 + mean, component[field][2])
    records = gappy(4, 60, 0.4, rng)
    moved = [{name: value + 2.0**27 for name, value in x.items()} for x in records]
    exact = [{name: value - 2.0**27 for name, value in x.items()} for x in moved]
    here, there = (sm.Mixture(components=families(c)) for c in (near, far))
    means = [component.mean for k in range(2) for component in there.parameters[k].values()]
    here = sm.Mixture(
        components=[
            {field: sm.MultivariateNormal(np.subtract(mean, 2.0**27), c[field][2]) for field in c}
            for mean, c in zip(means, near, strict=True)
        ]
    )
    for a, b in zip(exact, moved, strict=True):
        np.testing.assert_allclose(there.log_density_one(b), here.log_density_one(a), rtol=1e-9)
        here.learn_one(a)
        there.learn_one(b)
    ours, theirs = here.impute_one(exact[0]), there.impute_one(moved[0])
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name] - 2.0**27, value, atol=1e-7)


# --- weights and drawing ---


@pytest.mark.parametrize("name", [name for name in ALL if name != "fixed"])
def test_a_weight_is_a_repetition_with_gaps_too(name: str) -> None:
    names = sorted({name, "normal", "mvn"})
    records = with_gaps(draw_records(names, 40, np.random.default_rng(8)), 0.3, np.random.default_rng(9))
    w = np.random.default_rng(10).integers(1, 4, size=len(records))
    weighted, repeated = (sm.Mixture(components=families(start(names, 2)), seed=0) for _ in range(2))
    sm.batch.fit(weighted, records, max_iter=3, tol=0.0, w=w.astype(float))
    sm.batch.fit(repeated, [x for x, times in zip(records, w, strict=True) for _ in range(times)], max_iter=3, tol=0.0)
    key = BLOCKS[name].key
    np.testing.assert_allclose(weighted.weights, repeated.weights, rtol=1e-9)
    for one, other in zip(weighted.parameters, repeated.parameters, strict=True):
        for value, its in zip(one[key].parameters, other[key].parameters, strict=True):
            if isinstance(value, sm.families.Family):
                value, its = value.parameters[0], its.parameters[0]
            numbers = [list(v.values()) if hasattr(v, "values") else v for v in (value, its)]
            np.testing.assert_allclose(*numbers, rtol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_what_is_drawn_has_the_expectation(name: str) -> None:
    components = start([name], 3)
    model = sm.Mixture(components=families(components), weights=WEIGHTS, seed=1)
    drawn = model.sample(20_000)
    for field in BLOCKS[name].fields:
        values = [record[field] for record in drawn]
        expected = as_dict(model.predict_mean_one({}, field)[field])
        if name == "categorical":
            found = [np.mean([value == level for value in values]) for level in components[0][field][1]]
        elif name == "vonmises":
            found = np.angle(np.mean(np.exp(2j * np.pi * np.array(values) / 24.0))) / (2 * np.pi) * 24.0 % 24.0
        else:
            found = np.mean(values)
        spread = {"categorical": 1.0, "vonmises": 24.0 / 2}.get(name) or float(np.std(values))
        np.testing.assert_allclose(found, expected, atol=5 * spread / math.sqrt(len(values)))
    assert all(math.isfinite(model.log_density_one(record)) for record in drawn[:100])


# --- published behaviour ---


@pytest.mark.filterwarnings("ignore")
def test_gaps_mean_to_stepmix_what_they_mean_here() -> None:
    stepmix = pytest.importorskip("stepmix")
    rng = np.random.default_rng(11)
    X = rng.normal(size=(200, 3)) + 3.0 * rng.integers(2, size=(200, 1))
    X[rng.random(X.shape) < 0.3] = np.nan
    X[np.isnan(X).all(axis=1), 0] = 0.0
    theirs = stepmix.StepMix(2, measurement="gaussian_diag_nan", max_iter=15, random_state=0, progress_bar=0).fit(X)
    found = theirs.get_parameters()
    means, variances = (found["measurement"][name] for name in ("means", "covariances"))
    components = [{f"x{j}": sm.Normal(means[k, j], variances[k, j]) for j in range(3)} for k in range(2)]
    ours = sm.Mixture(components=components, weights=list(found["weights"]))
    np.testing.assert_allclose(ours.predict_proba_many(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.mean(ours.log_density_many(X)), theirs.score(X), rtol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_gaps_mean_to_pomegranate_what_they_mean_here() -> None:
    torch = pytest.importorskip("torch")
    mixtures = pytest.importorskip("pomegranate.gmm")
    from pomegranate.distributions import Normal

    rng = np.random.default_rng(12)
    X = rng.normal(size=(60, 3)).astype(np.float32)
    seen = rng.random(X.shape) > 0.3
    seen[:, 0] |= ~seen.any(axis=1)
    means, variances = rng.normal(size=(2, 3)), rng.uniform(0.5, 2.0, size=(2, 3))
    parts = [
        Normal(m.astype(np.float32), v.astype(np.float32), covariance_type="diag")
        for m, v in zip(means, variances, strict=True)
    ]
    theirs = mixtures.GeneralMixtureModel(parts, priors=np.array([0.3, 0.7], np.float32))
    masked = torch.masked.MaskedTensor(torch.tensor(X), mask=torch.tensor(seen))
    components = [{f"x{j}": sm.Normal(means[k, j], variances[k, j]) for j in range(3)} for k in range(2)]
    ours = sm.Mixture(components=components, weights=[0.3, 0.7])
    gaps = np.where(seen, X, np.nan)
    np.testing.assert_allclose(ours.predict_proba_many(gaps), theirs.predict_proba(masked).numpy(), atol=2e-6)
    np.testing.assert_allclose(ours.log_density_many(gaps), theirs.log_probability(masked).numpy(), rtol=1e-5)
