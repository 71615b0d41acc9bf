"""``python -m benchmarks.quality.real``: streams that come with river and scikit-learn, scored, then learnt."""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from river import cluster, preprocessing
from river import datasets as river_datasets
from sklearn import datasets, decomposition, mixture
from sklearn.metrics import adjusted_rand_score

import streammix as sm
from benchmarks.quality.runs import MODELS, make
from benchmarks.quality.tables import table

__all__ = ["STREAMS", "Real", "compare", "main"]

FloatArray = NDArray[np.float64]
STEPS = 20  # the stream goes in so many parts; scikit-learn is fitted anew before each
START = 0.2  # the share of it that nobody is judged by, and that the batch fit on the start is given
WINDOW = 10_000  # the records that a refit is given at the most


class Real(NamedTuple):
    """Rows in their order, (n, D), the classes of the records, and how many components there are to be."""

    rows: FloatArray
    labels: NDArray[np.int64]
    n_components: int


def _of_river(data: Any, limit: int, n_components: int) -> Real:
    rows, labels = zip(*((list(x.values()), y) for x, y in data.take(limit)), strict=True)
    return Real(np.array(rows, dtype=float), np.unique(labels, return_inverse=True)[1], n_components)


def _digits(limit: int) -> Real:
    loaded = datasets.load_digits()
    rows = decomposition.PCA(4, random_state=0).fit_transform(loaded.data)
    return Real(rows[:limit], loaded.target[:limit], 10)


STREAMS: dict[str, Callable[[int], Real]] = {
    "Shuttle": lambda limit: _of_river(river_datasets.Shuttle(), limit, 5),
    "Bananas": lambda limit: _of_river(river_datasets.Bananas(), limit, 6),  # type: ignore[no-untyped-call]
    "ImageSegments": lambda limit: _of_river(river_datasets.ImageSegments(), limit, 7),  # type: ignore[no-untyped-call]
    "digits, 4 principal components": _digits,
}

CLUSTERERS: dict[str, Callable[[int], Any]] = {
    "river KMeans": lambda K: cluster.KMeans(K, seed=1),
    "river STREAMKMeans": lambda K: cluster.STREAMKMeans(n_clusters=K, seed=1),  # type: ignore[no-untyped-call]
    "river CluStream": lambda K: cluster.CluStream(n_macro_clusters=K, seed=1),
    "river DBSTREAM": lambda K: cluster.DBSTREAM(),
    "river DenStream": lambda K: cluster.DenStream(),
}


class Judged(NamedTuple):
    """Mean and median log density of records before they were learnt (nats), adjusted Rand index, CPU seconds."""

    mean: float | None
    median: float | None
    rand: float | None
    seconds: float


def compare(real: Real, model: str) -> tuple[int, dict[str, Judged]]:
    """Return how many records are judged, the last ones, and what each way of learning the stream comes to."""
    n = len(real.rows)
    learners = {f"{model}, K given": real.n_components} | ({} if model == "mixture" else {f"{model}, K chosen": None})
    passes = {name: _streammix(make(model, K, None, 1), real.rows) for name, K in learners.items()}
    passes = {name: one for name, one in passes.items() if one.warm <= 0.9 * n}  # there have to be records to judge by
    start = max([round(START * n), *(one.warm for one in passes.values())])
    truth = real.labels[start:]

    def judged(log_density: FloatArray, found: Any, seconds: float) -> Judged:
        rand = None if found is None else float(adjusted_rand_score(truth, found))
        return Judged(float(log_density.mean()), float(np.median(log_density)), rand, seconds)

    results = {name: judged(one.log_density[start:], one.found[start:], one.seconds) for name, one in passes.items()}
    begin = time.process_time()
    once = sm.Mixture(real.n_components, seed=1)
    sm.batch.fit(once, _table(real.rows[:start]))
    rest = _table(real.rows[start:])
    densities, found = np.asarray(once.log_density_many(rest)), np.asarray(once.predict_many(rest))
    results["one batch fit on the start"] = judged(densities, found, time.process_time() - begin)
    begin = time.process_time()
    densities = _refits(real)[start:]
    results["scikit-learn, refitted"] = judged(densities, None, time.process_time() - begin)
    for name, made in CLUSTERERS.items():
        begin = time.process_time()
        clusters = _clusters(made(real.n_components), real.rows)[start:]
        rand = float(adjusted_rand_score(truth, clusters))
        results[name] = Judged(None, None, rand, time.process_time() - begin)
    return n - start, results


class Pass(NamedTuple):
    """What a model said of each record before it learnt it, when it was warm, and the CPU seconds."""

    log_density: FloatArray
    found: NDArray[np.int64]
    warm: int
    seconds: float


def _streammix(model: Any, rows: FloatArray) -> Pass:
    log_density, found = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    warm, begin = len(rows), time.process_time()
    for i, record in enumerate(_table(rows).to_pylist()):
        if model.is_warm:
            warm = min(warm, i)
        log_density[i], found[i] = model.log_density_one(record), model.predict_one(record)
        model.learn_one(record)
    return Pass(log_density, found, warm, time.process_time() - begin)


def _refits(real: Real) -> FloatArray:
    """Fit scikit-learn's mixture to the latest records, score the next part of the stream, and so on."""
    n = len(real.rows)
    cuts = np.linspace(0, n, STEPS + 1).astype(int)
    log_density = np.zeros(n)
    for i in range(round(START * STEPS), STEPS):
        past, part = real.rows[max(0, cuts[i] - WINDOW) : cuts[i]], slice(cuts[i], cuts[i + 1])
        scale = np.maximum(past.std(axis=0), 1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            fitted = mixture.GaussianMixture(real.n_components, n_init=3, random_state=1).fit(past / scale)
        log_density[part] = fitted.score_samples(real.rows[part] / scale) - np.log(scale).sum()
    return log_density


def _clusters(clusterer: Any, rows: FloatArray) -> NDArray[np.int64]:
    """Ask river's clusterers before they learn; what they can't say yet counts as cluster 0."""
    scaled = preprocessing.StandardScaler() | clusterer
    found = np.zeros(len(rows), dtype=np.int64)
    for i, record in enumerate(_table(rows).to_pylist()):
        try:
            found[i] = scaled.predict_one(record)
        except (KeyError, IndexError, ValueError, ZeroDivisionError, AttributeError):
            found[i] = 0
        scaled.learn_one(record)
    return found


def _table(rows: FloatArray) -> pa.Table:
    return pa.table({f"x{j}": rows[:, j] for j in range(rows.shape[1])})


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each stream."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.real", description=__doc__)
    parser.add_argument("streams", nargs="*", help="beginnings of names; all where left out")
    parser.add_argument("--records", type=int, default=5_000, help="records of a stream at the most (5000)")
    parser.add_argument("--model", choices=MODELS, default="auto", help="AutoMixture or plain Mixture (auto)")
    options = parser.parse_args(arguments)
    for name, load in STREAMS.items():
        if options.streams and not name.startswith(tuple(options.streams)):
            continue
        real = load(options.records)
        n, D = real.rows.shape
        judged, results = compare(real, options.model)
        print(f"### {name}: {n:,} records, the last {judged:,} judged, D = {D}, K = {real.n_components}\n")
        lines = [
            (way, *("" if value is None else f"{value:.3f}" for value in one[:3]), f"{one.seconds:.1f}")
            for way, one in results.items()
        ]
        head = ("", "log density, mean", "median", "adjusted Rand index", "CPU seconds")
        print("\n".join(table(head, lines)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
