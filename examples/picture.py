"""The README's picture: a mixture learnt from a stream, shown three times, and the score that it gives to outliers.

Run it with ``python examples/picture.py [FILE.png]``; it needs matplotlib.
"""

import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

import streammix as sm

MEANS = np.array([[0.0, 0.0], [4.0, 1.0], [1.5, 4.5], [5.0, 5.5]])
SPREADS = [[[1.0, 0.6], [0.6, 0.8]], [[0.5, -0.3], [-0.3, 1.2]], [[1.4, 0.0], [0.0, 0.25]], [[0.4, 0.25], [0.25, 0.4]]]
COLOURS = ["#3465a4", "#cc4c02", "#4e9a06", "#75507b"]


def stream(n: int, seed: int = 5) -> list[dict[str, float | None]]:
    """Records of four overlapping kinds; one in four hundred lies anywhere; one cell in twelve is missing."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(4, size=n, p=[0.4, 0.3, 0.2, 0.1])
    points = np.array([rng.multivariate_normal(MEANS[k], SPREADS[k]) for k in kinds])
    odd = rng.random(n) < 1 / 400
    points[odd] = rng.uniform(-4, 9, size=(odd.sum(), 2))
    seen = rng.random((n, 2)) > 1 / 12
    return [
        {name: float(value) if there else None for name, value, there in zip("xy", point, cells, strict=True)}
        for point, cells in zip(points, seen, strict=True)
    ]


def draw_ellipses(ax: plt.Axes, model: sm.Mixture) -> None:
    """One and two standard deviations of each component, as dark as its weight."""
    order = np.argsort([np.linalg.norm(c["x", "y"].mean) for c in model.parameters])
    for colour, k in zip(COLOURS, order, strict=True):
        family = model.parameters[k]["x", "y"]
        values, vectors = np.linalg.eigh(np.array(family.covariance))
        angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
        for sd in (1, 2):
            width, height = 2 * sd * np.sqrt(values[::-1])
            ax.add_patch(Ellipse(family.mean, width, height, angle=angle, fill=False, color=colour, lw=1.6))


def main(path: str = "docs/picture.png") -> None:
    """Draw the picture."""
    records = stream(20_000)
    model = sm.Mixture(n_components=4, fields={("x", "y"): sm.MultivariateNormal()}, warm_up=200, seed=3)
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
    done, scores = 0, []
    for ax, stop in zip(axes, (200, 1_000, 20_000), strict=False):
        for record in records[done:stop]:
            scores.append(model.score_one(record))
            model.learn_one(record)
        shown = [r for r in records[max(0, stop - 600) : stop] if None not in r.values()]
        ax.plot([r["x"] for r in shown], [r["y"] for r in shown], ".", ms=2.5, color="0.65")
        draw_ellipses(ax, model)
        ax.set(title=f"after {stop:,} records", xlim=(-4.5, 9), ylim=(-4.5, 9), xlabel="x", ylabel="y")
        done = stop
    last = np.array(scores[-4_000:])
    axes[3].plot(last, ".", ms=2, color="0.6")
    outliers = np.flatnonzero(last > np.quantile(last, 0.998))
    axes[3].plot(outliers, last[outliers], ".", ms=5, color="#a40000")
    axes[3].set(title="score −log p(x), before learning", xlabel="the last 4,000 records", ylabel="nats")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
