"""Neither units nor origins change what AutoMixture finds, its background included."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from laws import reloaded, state_of

import streammix as sm
from streammix.families import Family

N, LATE = 1_600, 700


def cells() -> dict[str, Any]:
    """Two clusters; a field with zeros, and one that comes late."""
    rng = np.random.default_rng(5)
    z = rng.random(N) < 0.4
    zeros, positive = rng.random(N) < 0.3, rng.lognormal(z, 0.3)
    late = np.where(np.arange(N) < LATE, np.nan, rng.normal(5.0 * z))
    return {"x": rng.normal(3.0 * z), "zeros": np.where(zeros, 0.0, positive), "late": late}


def learnt(cells: dict[str, Any], name: str, family: Family) -> tuple[sm.AutoMixture, pa.Table]:
    table = pa.table({"x": cells["x"], name: pa.array(cells[name], from_pandas=True)})
    model = sm.AutoMixture(n_components=2, fields={"x": sm.Normal(), name: family}, seed=2, warm_up=600)
    model.learn_many(table)
    return model, table


@pytest.mark.parametrize(
    ("name", "family", "a", "b"),
    [
        ("zeros", sm.ZeroInflated(family=sm.LogNormal()), 1e7, 0.0),
        ("zeros", sm.ZeroInflated(family=sm.Gamma()), 1e7, 0.0),
        ("zeros", sm.ZeroInflated(family=sm.Normal()), -1e-5, 0.0),
        ("late", sm.StudentT(), -1e6, 3e7),
        ("late", sm.Normal(), 1e-3, 1.0),
        ("late", sm.Normal(), 1.0, 1e6),
    ],
)
def test_scale_and_origin(name: str, family: Family, a: float, b: float) -> None:
    columns = cells()
    model, table = learnt(columns, name, family)
    again, scaled = learnt(columns | {name: a * columns[name] + b}, name, family)
    assert model.background_weight < 0.06
    assert again.background_weight == pytest.approx(model.background_weight, rel=1e-6)
    np.testing.assert_allclose(again.weights, model.weights, rtol=1e-8)
    for of in ("predict_proba_many", "outlier_many"):
        before, after = (np.asarray(getattr(m, of)(t).to_pandas()) for m, t in ((model, table), (again, scaled)))
        np.testing.assert_allclose(after, before, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "family"), [("zeros", sm.ZeroInflated(family=sm.LogNormal())), ("late", sm.StudentT())]
)
def test_neither_cuts_nor_resumes_matter(name: str, family: Family) -> None:
    expected, table = learnt(cells(), name, family)
    model = sm.AutoMixture(n_components=2, fields={"x": sm.Normal(), name: family}, seed=2, warm_up=600)
    for i, record in enumerate(table.to_pylist()):
        if i in (LATE + 20, LATE + 230):
            model = reloaded(model)
        model.learn_one(record)
    assert state_of(model) == state_of(expected)
    each = [expected.score_one(record) for record in table.slice(N - 200).to_pylist()]
    np.testing.assert_allclose(each, np.asarray(expected.score_many(table.slice(N - 200))), rtol=1e-12)


def test_zeros_are_no_outliers_and_far_values_are() -> None:
    model, _ = learnt(cells(), "zeros", sm.ZeroInflated(family=sm.LogNormal()))
    assert model.outlier_one({"x": 1.0, "zeros": 0.0}) < 0.1
    assert model.outlier_one({"x": 1.0, "zeros": 1e-9}) > 0.9
    assert model.outlier_one({"x": 1.0, "zeros": 1e9}) > 0.9
