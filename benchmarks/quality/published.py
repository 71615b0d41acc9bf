"""``python -m benchmarks.quality.published``: three published generators, our one pass beside the published medians.

References
----------
Nguyen, H. D., Forbes, F. and McLachlan, G. J. (2020). Mini-batch learning of exponential family finite mixture models.
Statistics and Computing 30, 731-748.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from sklearn.metrics import adjusted_rand_score

import streammix as sm
from benchmarks.quality.gaussians import ELKI
from benchmarks.quality.mixed import EXPONENTIAL, POISSON
from benchmarks.quality.runs import MODELS, make
from benchmarks.quality.streams import table_of
from benchmarks.quality.tables import table

__all__ = ["PUBLISHED", "Published", "main"]


class Published(NamedTuple):
    """A generator, and the published medians of (total log-likelihood, adjusted Rand index) of a million records."""

    truth: sm.Mixture
    fields: dict[Any, Any]
    rows: Callable[[np.random.Generator, Any], Any]
    batch: tuple[float, float]
    mini_batch: tuple[float, float]


def _truth(weights: Any, families: Sequence[Any], field: Any) -> sm.Mixture:
    return sm.Mixture(components=[{field: family} for family in families], weights=weights)


PUBLISHED = {
    "ELKI": Published(
        _truth(ELKI.weights, [*map(sm.MultivariateNormal, ELKI.means, ELKI.covariances)], ("x0", "x1")),
        {("x0", "x1"): sm.MultivariateNormal()},
        ELKI.rows,
        (240_021, 0.394),
        (1_470_232, 1.000),
    ),
    "Poisson": Published(
        _truth(POISSON[0], [*map(sm.Poisson, POISSON[1])], "x"),
        {"x": sm.Poisson()},
        lambda rng, labels: {"x": rng.poisson(POISSON[1][labels])},
        (-2_011_988, 0.443),
        (-2_005_624, 0.436),
    ),
    "exponential": Published(
        _truth(EXPONENTIAL[0], [*map(sm.Exponential, EXPONENTIAL[1])], "x"),
        {"x": sm.Exponential()},
        lambda rng, labels: {"x": rng.exponential(1 / EXPONENTIAL[1][labels])},
        (800_887, 0.470),
        (801_300, 0.479),
    ),
}


class Result(NamedTuple):
    """The total log-likelihood after one pass, how far it is above the truth's, and the adjusted Rand index."""

    total: float
    above: float
    rand: float


def one(case: Published, model: str, seed: int, n: int) -> Result:
    """Learn n records in one pass, and judge the model by the same records."""
    rng = np.random.default_rng([seed, 2020])
    labels = rng.choice(3, size=n, p=case.truth.weights)
    records: pa.Table = table_of(case.rows(rng, labels))
    learner = make(model, 3, case.fields, seed)
    learner.learn_many(records)
    total, best = (float(np.asarray(m.log_density_many(records)).sum()) for m in (learner, case.truth))
    found = np.asarray(learner.predict_many(records))
    return Result(total, total - best, float(adjusted_rand_score(labels, found)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.published", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="data sets of each generator (10)")
    parser.add_argument("--records", type=int, default=1_000_000, help="records of a data set (1000000)")
    parser.add_argument("--model", choices=MODELS, default="auto", help="AutoMixture or plain Mixture (auto)")
    options = parser.parse_args(arguments)
    lines = []
    for name, case in PUBLISHED.items():
        results = [one(case, options.model, seed, options.records) for seed in range(options.seeds)]
        total, above, rand = (statistics.median(values) for values in zip(*results, strict=True))
        cells = [f"{a:,.0f} / {b:.3f}" for a, b in (case.batch, case.mini_batch, (total, rand))]
        lines.append((name, *cells, f"{above:+,.0f}", f"{min(result.above for result in results):+,.0f}"))
        print("  ".join(lines[-1]), flush=True)
    head = (
        "generator",
        "batch EM, published",
        "best mini-batch, published",
        "one pass, here",
        "above the truth, median",
        "worst",
    )
    print("\n".join(table(head, lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
