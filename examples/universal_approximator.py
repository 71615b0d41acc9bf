"""Enough components come as near as you like to any smooth density: here to a ring, which no mixture of Gaussians is.

Each mixture reads the same stream once. How far it still is from the density is the Kullback-Leibler divergence
KL(p, q) = E_p[log p(x) - log q(x)], in nats, estimated on records that no mixture has seen.

Run it with ``python examples/universal_approximator.py [FILE.png]``; it needs matplotlib.
"""

import math
import sys
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix as sm

RADIUS, WIDTH = 3.0, 0.3
COMPONENTS = (1, 2, 4, 8, 16, 32)
SHOWN = (2, 8, 32)


def ring(n: int, seed: int) -> pa.Table:
    """Points at any angle, whose distance from the origin is Normal(RADIUS, WIDTH²)."""
    rng = np.random.default_rng(seed)
    radius, angle = rng.normal(RADIUS, WIDTH, n), rng.uniform(0, 2 * np.pi, n)
    return pa.table({"x": radius * np.cos(angle), "y": radius * np.sin(angle)})


def log_density(points: pa.Table) -> NDArray[np.float64]:
    """The ring's own log p(x, y): that of the radius, less that of a circle's length."""
    radius = np.hypot(points["x"], points["y"])
    z = (radius - RADIUS) / WIDTH
    return np.asarray(-0.5 * z**2 - math.log(WIDTH * math.sqrt(2 * math.pi)) - np.log(2 * np.pi * radius))


def learnt(n_components: int, stream: pa.Table) -> sm.Mixture:
    """One pass over the stream."""
    model = sm.Mixture(n_components, fields={("x", "y"): sm.MultivariateNormal()}, seed=1)
    model.learn_many(stream)
    return model


def divergence(model: sm.Mixture, held_out: pa.Table) -> tuple[float, float]:
    """KL(ring, model) in nats, and its standard error."""
    differences = log_density(held_out) - np.asarray(model.log_density_many(held_out))
    return float(differences.mean()), float(differences.std() / math.sqrt(len(differences)))


def draw(path: str, models: dict[int, sm.Mixture], found: dict[int, tuple[float, float]]) -> None:
    """The densities of three mixtures beside the ring's, and the divergence against K."""
    figure, axes = plt.subplots(1, 5, figsize=(16, 3.5), layout="constrained", width_ratios=[1, 1, 1, 1, 1.45])
    side = np.linspace(-4.4, 4.4, 160)
    x, y = np.meshgrid(side, side)
    grid = pa.table({"x": x.ravel(), "y": y.ravel()})
    pictures = {f"{k} components": np.asarray(models[k].log_density_many(grid)) for k in SHOWN if k in models}
    pictures["the ring itself"] = log_density(grid)
    extent, top = (side[0], side[-1], side[0], side[-1]), float(np.exp(pictures["the ring itself"]).max())
    for ax, (title, values) in zip(axes[:4], pictures.items(), strict=False):
        density = np.exp(values).reshape(x.shape)
        image = ax.imshow(density, origin="lower", extent=extent, cmap="magma_r", vmin=0, vmax=top)
        ax.set(title=title, xlabel="x", xticks=[-3, 0, 3], yticks=[-3, 0, 3])
    axes[0].set_ylabel("y")
    figure.colorbar(image, ax=axes[3], label="density (black: or more)", shrink=0.8, extend="max")
    ks, means = list(found), [found[k][0] for k in found]
    axes[4].errorbar(ks, means, yerr=[2 * found[k][1] for k in found], marker="o", ms=4, capsize=3, color="#3465a4")
    axes[4].set(xscale="log", yscale="log", xlabel="components K", ylabel="nats a record")
    axes[4].set(title="held-out divergence KL(ring, mixture)", xticks=ks, xticklabels=[str(k) for k in ks])
    axes[4].minorticks_off()
    axes[4].grid(alpha=0.3)
    axes[4].spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    path: str = "universal_approximator.png", n: int = 100_000, components: Sequence[int] = COMPONENTS
) -> dict[int, tuple[float, float]]:
    """Learn, print and draw; return the divergences."""
    stream, held_out = ring(n, seed=1), ring(50_000, seed=2)
    models = {k: learnt(k, stream) for k in components}
    found = {k: divergence(model, held_out) for k, model in models.items()}
    print("components   KL(ring, mixture), nats")
    for k, (mean, error) in found.items():
        print(f"{k:>10}   {mean:.4f} ± {error:.4f}")
    draw(path, models, found)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
