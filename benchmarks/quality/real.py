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
from sklearn import mixture
from sklearn.metrics import adjusted_rand_score

import streammix as sm
from benchmarks.quality.bundled import STREAMS, Real, shuffled
from benchmarks.quality.runs import MODELS, make
from benchmarks.quality.tables import table

__all__ = ["compare", "main"]

FloatArray = NDArray[np.float64]
STEPS = 20  # the stream goes in so many parts; scikit-learn is fitted anew before each
START = 0.2  # the share of it that nobody is judged by, and that the batch fit on the start is given
WINDOW = 10_000  # the records that a refit is given at the most
REFITTED = "scikit-learn, refitted"

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
    n, D = real.rows.shape
    joint = {tuple(_names(D)): sm.MultivariateNormal() if D > 1 else sm.Normal()}
    learners = {f"{model}, K given": make(model, real.n_components, None, 1)}
    if model == "auto":
        learners["auto, K given, joint normal"] = make(model, real.n_components, joint, 1)
        learners["auto, K chosen"] = make(model, None, None, 1)
    passes = {name: _streammix(learner, real.rows) for name, learner in learners.items()}
    start = max([round(START * n), *(one.warm for one in passes.values())])
    if start >= n:
        raise ValueError(f"{n} records are not enough to judge by")
    truth = None if real.labels is None else real.labels[start:]

    def judged(log_density: FloatArray, found: Any, seconds: float) -> Judged:
        rand = None if found is None or truth is None else float(adjusted_rand_score(truth, found))
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
    results[REFITTED] = judged(densities, None, time.process_time() - begin)
    for name, made in CLUSTERERS.items() if truth is not None else ():
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


def _names(n_columns: int) -> list[str]:
    return [f"x{j}" for j in range(n_columns)]


def _table(rows: FloatArray) -> pa.Table:
    return pa.table(dict(zip(_names(rows.shape[1]), rows.T, strict=True)))


def _line(name: str, real: Real, judged: int, results: dict[str, Judged]) -> list[str]:
    """What the densities of a stream come to: mean and median, and the CPU time over that of the refits."""
    told = [f"{name} ({real.rows.shape[1]}, {real.n_components}, {judged:,})"]
    for one in results.values():
        if one.mean is not None:
            share = one.seconds / max(results[REFITTED].seconds, 1e-9)
            told.append(f"{one.mean:.2f} / {one.median:.2f} / {share:.2f}")
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of log densities, and one of adjusted Rand indices, streams in their own order and shuffled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.real", description=__doc__)
    parser.add_argument("streams", nargs="*", help="beginnings of names; all where left out")
    parser.add_argument("--records", type=int, default=5_000, help="records of a stream at the most (5000)")
    parser.add_argument("--model", choices=MODELS, default="auto", help="AutoMixture or plain Mixture (auto)")
    options = parser.parse_args(arguments)
    densities, rands, ways, clusterers = [], [], list[str](), list[str]()
    for name, load in STREAMS.items():
        if options.streams and not name.startswith(tuple(options.streams)):
            continue
        for order in ("in order", "shuffled"):
            real = load(options.records)
            real = real if order == "in order" else shuffled(real)
            judged, results = compare(real, options.model)
            densities.append(_line(f"{name}, {order}", real, judged, results))
            ways = [way for way, one in results.items() if one.mean is not None]
            print(densities[-1], file=sys.stderr, flush=True)
            if real.labels is not None:
                told = {way: one for way, one in results.items() if one.rand is not None}
                clusterers = list(told)
                rands.append([f"{name}, {order}", *(f"{one.rand:.2f}" for one in told.values())])
    print("Mean / median log density (nats) / CPU time over that of the refits; in brackets D, K and records judged.\n")
    print("\n".join(table(("", *ways), densities)))
    if rands:
        print("Adjusted Rand index.\n")
        print("\n".join(table(("", *clusterers), rands)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
