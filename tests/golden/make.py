"""Writes the golden files of the current checkpoint format, once: what a format has written must load for ever.

Run as ``python tests/golden/make.py`` when `streammix.checkpoint.FORMAT` has gone up; it never replaces a file.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import streammix as sm
from streammix import store
from streammix.checkpoint import FORMAT


def records(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(20)
    made = []
    for i in range(n):
        z = rng.random() < 0.4
        record = {
            "height": float(rng.normal(6 if z else 0, 1)),
            "lat": float(rng.normal(2 * z, 1)),
            "lon": float(rng.normal(-z, 1)),
            "amount": float(rng.lognormal(z, 0.5)),
            "wait": float(rng.exponential(1 + 3 * z)),
            "items": int(rng.poisson(1 + 5 * z)),
            "returned": bool(rng.random() < 0.2 + 0.5 * z),
            "heads": int(rng.binomial(10, 0.3 + 0.3 * z)),
            "country": ["de", "fr", True, 1, "größe"][int(rng.integers(5))],
            "noise": float(rng.gamma(2.0)),
        }
        if i > 80 and i % 7 == 0:
            del record["height"], record["lat"]
        made.append(record)
    return made


FIELDS: dict[Any, Any] = {
    "height": sm.Normal(),
    ("lat", "lon"): sm.MultivariateNormal(),
    "amount": sm.LogNormal(),
    "wait": sm.Exponential(),
    "items": sm.Poisson(),
    "returned": sm.Bernoulli(),
    "heads": sm.Binomial(10),
    "country": sm.Categorical(),
    "noise": sm.Fixed(stats.gamma(2.0)),
}


def make() -> dict[str, tuple[sm.Mixture, int]]:
    """For each file, a model and how many records it learns."""
    plain = sm.Mixture(n_components=2, fields=FIELDS, warm_up=60, batch_size=8, averaging=True, seed=5)
    supervised = sm.AutoMixture(n_components=(1, 2), fields=FIELDS, warm_up=60, seed=5)
    return {f"v{FORMAT}": (plain, 150), f"v{FORMAT}-auto": (supervised, 620)}


if __name__ == "__main__":
    directory = Path(__file__).parent
    for name, (model, n) in make().items():
        path = directory / f"{name}.arrow"
        if path.exists():
            print(f"{path} is there already")
            continue
        probes = records(n + 8)
        for record in probes[:n]:
            model.learn_one(record)
        sm.save(model, path, positions={"events": n}, outputs={"scored": {"rows": n}})
        expected = {
            "model": repr(store.read(path).model),
            "n_seen": model.n_seen,
            "weights": model.weights.tolist(),
            "records": probes[n:],
            "scores": [model.score_one(record) for record in probes[n:]],
            "positions": {"events": n},
            "outputs": {"scored": {"rows": n}},
            "written_at": store.read(path).written_at.isoformat(),
        }
        (directory / f"{name}.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
