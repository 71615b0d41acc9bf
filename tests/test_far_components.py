"""Components that are too far from a record to respond are left early, in blocks too, and nobody can tell, but for
probabilities below exp(-80) of the greatest, which are 0."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from laws import state_of
from scipy import stats

import streammix as sm

FAINT = 1.001 * math.exp(-80)


@pytest.mark.parametrize("beside", [(), ("n",), ("n", "c")])
@pytest.mark.parametrize("apart", [0.3, 4.0, 30.0, 1e6])
@pytest.mark.parametrize("size", [5, 10, 17])
def test_leaving_far_components_early_changes_nothing(size: int, apart: float, beside: tuple[str, ...]) -> None:
    """The log density of an object of scipy.stats could be anything, so beside one that is always 0 nobody is left."""
    rng = np.random.default_rng(size)
    names = tuple(f"x{j}" for j in range(size))
    means, roots = apart * rng.normal(size=(45, size)), np.eye(size) + 0.3 * rng.normal(size=(45, size, size))
    labels = rng.integers(45, size=333)
    rows = means[labels] + rng.normal(size=(333, size))
    rows[:5] = rng.normal(size=(5, size)) * [[1e3], [1e6], [1e20], [1e40], [1e49]]
    columns = dict(zip(names, rows.T, strict=True)) | {"n": rng.normal(size=333), "c": rng.poisson(3.0, 333)}
    more = {"n": [sm.Normal(0.02 * k, 1.0) for k in range(45)], "c": [sm.Poisson(1.0 + k) for k in range(45)]}
    gaussians = [sm.MultivariateNormal(mean, root @ root.T) for mean, root in zip(means, roots, strict=True)]
    parts = [{f: more[f][k] for f in beside} | {names: gaussian} for k, gaussian in enumerate(gaussians)]
    nothing = sm.Fixed(stats.uniform(0.0, 1.0))
    ours = sm.Mixture(components=parts, batch_size=37)
    other = sm.Mixture(components=[part | {"u": nothing} for part in parts], batch_size=37)
    table = pa.table({name: columns[name] for name in (*names, *beside)})
    wider = table.append_column("u", pa.array(np.full(333, 0.5)))
    for _ in range(2):
        np.testing.assert_array_equal(ours.score_many(table), other.score_many(wider))
        proba, expected = (m.predict_proba_many(x).to_pandas().to_numpy() for m, x in ((ours, table), (other, wider)))
        share = expected / expected.max(axis=1, keepdims=True)
        np.testing.assert_array_equal(proba[share > FAINT], expected[share > FAINT])
        assert not proba[share < 0.998 * FAINT].any()
        ours.learn_many(table.slice(5))
        other.learn_many(wider.slice(5))
        statistics = [model._snapshot().state for model in (ours, other)]
        assert all(a.tobytes() == b.tobytes() for a, b in zip(*(s.masses for s in statistics), strict=True))
        assert statistics[0].statistics[-1].tobytes() in [s.tobytes() for s in statistics[1].statistics]


@pytest.mark.parametrize("apart", [0.3, 3.0, 10.0, 1e3])
def test_blocks_of_many_gaussians_are_answered_the_same_however_they_are_cut(apart: float) -> None:
    """Rows far from everything, rows whose first coordinates mislead, and rows with gaps share tiles with others."""
    rng = np.random.default_rng(7)
    names = [f"x{j}" for j in range(11)]
    means = apart * rng.normal(size=(70, 11))
    means[35:, :4] = means[:35, :4]
    weights = rng.dirichlet(np.full(70, 0.1)) + 1e-30
    components = [{tuple(names): sm.MultivariateNormal(mean, np.eye(11) + 0.3)} for mean in means]
    rows = means[rng.integers(70, size=300)] + rng.normal(size=(300, 11))
    rows[::40] *= 50.0
    rows[17, 3] = rows[150, :5] = np.nan
    model = sm.Mixture(components=components, weights=weights / weights.sum(), batch_size=30, seed=1)
    scores, proba = model.score_many(rows), model.predict_proba_many(rows)
    other, cuts = model.clone(), [0, 1, 2, 9, 64, 65, 130, 300]
    for begin, end in itertools.pairwise(cuts):
        np.testing.assert_array_equal(model.score_many(rows[begin:end]), scores[begin:end])
        np.testing.assert_array_equal(model.predict_proba_many(rows[begin:end]), proba[begin:end])
    model.learn_many(rows)
    for begin, end in itertools.pairwise(cuts):
        other.learn_many(rows[begin:end])
    assert state_of(other) == state_of(model)
