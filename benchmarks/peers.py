"""What users have today, each as a side of a comparison, or named as missing."""

import importlib
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.data import Record, Shape, Truth
from benchmarks.harness import Missing, Side, each, repeat

__all__ = [
    "found",
    "pomegranate_step",
    "river_answers",
    "river_learn",
    "sklearn_mixture",
    "sklearn_step",
    "stepmix_step",
]

CHUNK = 2_000

Other = Side | Missing


def found(module: str) -> Any:
    """Return a module, or None where its package is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError:
        return None


def sklearn_mixture(shape: Shape, drawn: Truth) -> Any:
    """Return scikit-learn's mixture at the truth, or None where it is not installed."""
    mixture = found("sklearn.mixture")
    if mixture is None:
        return None
    K = len(drawn.means)
    if shape == "diagonal":
        precisions = 1 / np.einsum("kjj->kj", drawn.covariances)
    else:
        precisions = np.linalg.inv(drawn.covariances)
    kind = {"diagonal": "diag", "full": "full"}[shape]
    peer = mixture.GaussianMixture(
        K,
        covariance_type=kind,
        max_iter=1,
        weights_init=np.full(K, 1 / K),
        means_init=drawn.means,
        precisions_init=precisions,
        init_params="random",
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration doesn't converge
        peer.fit(drawn.rows)
    return peer


def sklearn_step(shape: Shape, drawn: Truth) -> Other:
    """Return an EM iteration of scikit-learn over chunks of 2,000 rows: E and M without its checks of the input."""
    peer = sklearn_mixture(shape, drawn)
    if peer is None:
        return Missing("scikit-learn", "scikit-learn")
    chunks = _chunks(drawn.rows)

    def step() -> None:
        for chunk in chunks:
            _, log_responsibilities = peer._e_step(chunk)
            peer._m_step(chunk, log_responsibilities)

    return Side("scikit-learn", repeat(step), len(drawn.rows))


def pomegranate_step(shape: Shape, drawn: Truth) -> Other:
    """Return an EM iteration of pomegranate over chunks of 2,000 rows, in float64 and on one thread as ours."""
    gmm, distributions, torch = (found(name) for name in ("pomegranate.gmm", "pomegranate.distributions", "torch"))
    if gmm is None or torch is None:
        return Missing("pomegranate", "pomegranate")
    torch.set_num_threads(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    kind = {"diagonal": "diag", "full": "full"}[shape]
    # all but standing still, as the other sides: 31 rows a component make no covariance of 16 fields
    normals = [
        distributions.Normal(
            torch.tensor(mean),
            torch.tensor(covariance if shape == "full" else np.diag(covariance).copy()),
            covariance_type=kind,
            inertia=1 - 1e-9,
        )
        for mean, covariance in zip(drawn.means, drawn.covariances, strict=True)
    ]
    peer = gmm.GeneralMixtureModel(normals, inertia=1 - 1e-9)
    chunks = [torch.tensor(chunk) for chunk in _chunks(drawn.rows)]

    def step() -> None:
        torch.set_default_dtype(torch.float64)
        for chunk in chunks:
            peer.summarize(chunk)
        peer.from_summaries()
        torch.set_default_dtype(before)

    step()
    return Side("pomegranate", repeat(step), len(drawn.rows))


def stepmix_step(rows: Any, measurement: dict[str, Any], K: int) -> Other:
    """Return an EM iteration of stepmix over a matrix whose columns `measurement` describes."""
    stepmix = found("stepmix.stepmix")
    if stepmix is None:
        return Missing("stepmix", "stepmix")
    peer = stepmix.StepMix(K, measurement=measurement, max_iter=1, verbose=0, progress_bar=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(rows)

    def step() -> None:
        _, log_responsibilities = peer._e_step(rows)
        peer._m_step(rows, np.exp(log_responsibilities))

    return Side("stepmix", repeat(step), len(rows))


def river_learn(records: Sequence[Record], labels: Sequence[int]) -> list[Side]:
    """Return river's clusterers and GaussianNB learning record by record."""
    cluster, naive_bayes = found("river.cluster"), found("river.naive_bayes")
    bayes = naive_bayes.GaussianNB()
    labelled = list(zip(records, labels, strict=True))

    def learn_labelled(pair: tuple[Record, int]) -> None:
        bayes.learn_one(*pair)

    clusterers = {
        "river KMeans": cluster.KMeans(5, seed=1),
        "river STREAMKMeans": cluster.STREAMKMeans(n_clusters=5, seed=1),
        "river DBSTREAM": cluster.DBSTREAM(),
        "river DenStream": cluster.DenStream(),
        "river CluStream": cluster.CluStream(n_macro_clusters=5, seed=1),
    }
    sides = [Side(name, each(_endless(peer.learn_one, records), [None])) for name, peer in clusterers.items()]
    return [*sides, Side("river GaussianNB", each(learn_labelled, labelled))]


def river_answers(records: Sequence[Record], labels: Sequence[int]) -> list[Side]:
    """Return what river's models answer record by record, after having learnt the records."""
    anomaly, cluster, naive_bayes = (found(f"river.{name}") for name in ("anomaly", "cluster", "naive_bayes"))
    means, bayes, trees = cluster.KMeans(5, seed=1), naive_bayes.GaussianNB(), anomaly.HalfSpaceTrees(seed=1)
    for x, y in zip(records, labels, strict=True):
        means.learn_one(x)
        bayes.learn_one(x, y)
        trees.learn_one(x)
    return [
        Side("river KMeans.predict_one", each(means.predict_one, records)),
        Side("river GaussianNB.predict_proba_one", each(bayes.predict_proba_one, records)),
        Side("river HalfSpaceTrees.score_one", each(trees.score_one, records)),
    ]


def _endless(learn: Callable[[Record], object], records: Sequence[Record]) -> Callable[[Any], object]:
    """Return a function that learns the next record; slow peers see the stream go on from round to round."""
    stream = itertools.cycle(records)

    def following(_: Any) -> None:
        learn(next(stream))

    return following


def _chunks(rows: Any) -> list[Any]:
    return [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
