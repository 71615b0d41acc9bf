"""river's own checks, on data of ours (a clusterer gets none from river, a detector a download), and its pipelines."""

import pytest
from river import checks, cluster, compose, datasets, evaluate, metrics, preprocessing

import streammix as sm

MIXTURE = sm.Mixture(n_components=3, warm_up=50, seed=42)
MODELS = [
    MIXTURE,
    sm.Mixture(n_components=2, warm_up=40, batch_size=16, seed=1),
    sm.Mixture(n_components=2, fields={f"f{i}": sm.Normal() for i in range(1, 10)}, warm_up=40, seed=1),
    sm.AutoMixture(n_components=2, warm_up=60, seed=1),
    sm.AsDetector(MIXTURE),
    sm.AsFeatures(MIXTURE),
]


def shuttle(model, scale=1):
    """Records that ship with river; the checks ask each data set for its first thousand, or `scale` times that."""
    yield datasets.Shuttle().take(1_000 * scale)


def checks_of(model):
    original = checks._yield_datasets
    checks._yield_datasets = shuttle
    try:
        yield from checks.yield_checks(model)
    finally:
        checks._yield_datasets = original


CASES = [
    pytest.param(model, check, id=f"{type(model).__name__}{i}-{check.__name__}")
    for i, model in enumerate(MODELS)
    for check in checks_of(model)
]


def test_river_has_data_checks_for_us():
    names = {check.__name__ for check in checks_of(MIXTURE)}
    assert {"check_pickling", "check_shuffle_features_no_impact", "check_emerging_features"} <= names


@pytest.mark.parametrize(("model", "check"), CASES)
def test_river_check(model, check):
    check(model.clone())


def test_scaler_in_front():
    model = preprocessing.StandardScaler() | sm.Mixture(n_components=3, warm_up=200, seed=1)
    for x, _ in datasets.Shuttle().take(600):
        model.learn_one(x)
    x, _ = next(iter(datasets.Shuttle()))
    assert sum(model.predict_proba_one(x).values()) == pytest.approx(1.0)
    assert model.predict_one(x) in (0, 1, 2)


def test_evaluated_as_a_clusterer_like_rivers_own():
    stream = list(datasets.Shuttle().take(1_500))
    model = sm.Mixture(n_components=2, warm_up=300, seed=1)
    ours = evaluate.progressive_val_score(iter(stream), model, metrics.AdjustedRand())
    theirs = evaluate.progressive_val_score(iter(stream), cluster.KMeans(n_clusters=2, seed=1), metrics.AdjustedRand())
    assert model.n_seen == len(stream)
    assert -1.0 <= theirs.get() <= 1.0
    assert -1.0 <= ours.get() <= 1.0


def test_silhouette_sees_the_centers():
    model = sm.Mixture(n_components=2, warm_up=300, seed=1)
    metric = metrics.Silhouette()
    for x, _ in datasets.Shuttle().take(600):
        model.learn_one(x)
        if model.is_warm:
            metric.update(x, model.predict_one(x), model.centers)
    assert metric.get() > 0.0


def test_detector_finds_the_anomalies():
    model = preprocessing.StandardScaler() | sm.AsDetector(sm.Mixture(n_components=4, warm_up=500, seed=1))
    metric = metrics.RollingROCAUC(window_size=3_000)
    for i, (x, y) in enumerate(datasets.Shuttle().take(6_000)):
        score = model.score_one(x)
        if i >= 1_000:
            metric.update(y, score)
        model.learn_one(x)
    assert metric.get() > 0.5


def test_features_feed_a_classifier():
    from river import linear_model

    model = compose.Pipeline(
        sm.AsFeatures(sm.Mixture(n_components=4, warm_up=300, seed=1)), linear_model.LogisticRegression()
    )
    metric = evaluate.progressive_val_score(datasets.Shuttle().take(2_000), model, metrics.Accuracy())
    assert metric.get() > 0.8


@pytest.mark.parametrize("model", [MIXTURE, sm.AutoMixture(n_components=(1, 2), seed=1)], ids=["plain", "auto"])
@pytest.mark.parametrize("n", [0, 30, 700])
def test_a_clone_with_its_attributes_goes_on_from_what_was_learnt(model, n):
    records = [x for x, _ in datasets.Shuttle().take(1_000)]
    model = model.clone()
    for x in records[:n]:
        model.learn_one(x)
    same, fresh = model.clone(include_attributes=True), model.clone()
    assert (same.n_seen, fresh.n_seen) == (n, 0)
    for x in records[n:]:
        model.learn_one(x)
        same.learn_one(x)
    assert same.weights.tolist() == model.weights.tolist()
    assert same.score_one(records[0]) == model.score_one(records[0])
    assert model.clone({"seed": 5}).seed == 5
    with pytest.raises(sm.ConfigError, match="other parameters"):
        model.clone({"seed": 5}, include_attributes=True)
