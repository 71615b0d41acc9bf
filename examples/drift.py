"""A stream that changes, at once and slowly: what an AutoMixture makes of it, and what a plain Mixture does.

Three kinds of orders take different times. After 8,000 orders all three change; from 14,000 on the fastest becomes
slower, little by little. Nobody tells the models.

Run it with ``python examples/drift.py [FILE.png]``; it needs matplotlib.
"""

import sys
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import streammix as sm

N = 24_000
JUMP, DRIFT = 8_000, (14_000, 20_000)
SHARES = [0.5, 0.3, 0.2]
BEFORE, AFTER = np.array([2.0, 6.0, 11.0]), np.array([4.0, 8.5, 13.0])
SLOWER = 2.5  # minutes by which the fastest kind has become slower in the end
EVERY = 250  # records between two looks at the models
COLOURS = ["#3465a4", "#cc4c02", "#4e9a06"]
EVENTS = {"alarm": "#a40000", "take-over": "#75507b", "restart": "#888a85"}


def stream(n: int = N, seed: int = 4) -> NDArray[np.float64]:
    """Minutes that orders take, in the order in which they came."""
    rng = np.random.default_rng(seed)
    t, kind = np.arange(n) * (N / n), rng.choice(3, size=n, p=SHARES)
    means = np.where((t < JUMP)[:, None], BEFORE, AFTER)
    means[:, 0] += SLOWER * np.clip((t - DRIFT[0]) / (DRIFT[1] - DRIFT[0]), 0, 1)
    return np.asarray(means[np.arange(n), kind] + rng.normal(0, 0.6, n))


def watch(model: sm.Mixture, minutes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Score each record, then learn it; look at the model every so often."""
    scores = np.empty(len(minutes))
    weights, means = [], []
    for i, value in enumerate(minutes.tolist()):
        scores[i] = model.score_one({"minutes": value})
        model.learn_one({"minutes": value})
        if (i + 1) % EVERY == 0:
            weights.append(model.weights[:3] if model.is_warm else [np.nan] * 3)
            means.append([c["minutes"].mean for c in model.parameters[:3]] if model.is_warm else [np.nan] * 3)
    scores[scores == 0.0] = np.nan  # the warm-up
    score = scores.reshape(-1, EVERY).mean(axis=1)
    return {"score": score, "weights": np.array(weights), "means": np.array(means)}


def draw(path: str, minutes: NDArray[np.float64], auto: Any, plain: Any, events: list[dict[str, Any]]) -> None:
    """The stream with the components' means; the weights; the scores; and what happened when."""
    looks = np.arange(1, len(auto["score"]) + 1) * EVERY
    figure, axes = plt.subplots(3, 1, figsize=(11, 7.5), sharex=True, layout="constrained", height_ratios=[1.5, 1, 1])
    some = slice(None, None, 4)
    axes[0].plot(np.arange(len(minutes))[some], minutes[some], ".", ms=1.2, color="0.75")
    for k, colour in enumerate(COLOURS):
        axes[0].plot(looks, auto["means"][:, k], color=colour, lw=1.8)
        axes[1].plot(looks, auto["weights"][:, k], color=colour, lw=1.8, label=f"component {k}")
    axes[2].plot(looks, plain["score"], color="0.55", lw=1.5, label="Mixture")
    axes[2].plot(looks, auto["score"], color="black", lw=1.5, label="AutoMixture")
    shown: set[str] = set()
    for event in events:
        colour = EVENTS.get(event["kind"])
        if colour is not None:
            label = None if event["kind"] in shown else event["kind"]
            shown.add(event["kind"])
            for ax in axes:
                ax.axvline(event["n_seen"], color=colour, lw=0.9, ls="--", label=label if ax is axes[2] else None)
    axes[0].set(ylabel="minutes", title="one record in four, and the components' means")
    axes[1].set(ylabel="weight", ylim=(0, 1), title="weights")
    axes[2].set(ylabel="nats", xlabel="records", title=f"score −log p(x) before learning, mean of {EVERY} records")
    axes[1].legend(loc="upper right", ncols=3, frameon=False)
    axes[2].legend(loc="upper right", ncols=5, frameon=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlim(0, len(minutes))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(path: str = "drift.png", n: int = N) -> tuple[sm.AutoMixture, dict[str, Any], dict[str, Any]]:
    """Learn, print what happened, and draw."""
    minutes = stream(n)
    model = sm.AutoMixture(3, fields={"minutes": sm.Normal()}, seed=1)
    auto = watch(model, minutes)
    plain = watch(sm.Mixture(3, fields={"minutes": sm.Normal()}, seed=1), minutes)
    for event in model.events:
        print(f"after {event['n_seen']:>6,} records: {event['kind']} {event.get('sign', '')}".rstrip())
    last = len(auto["score"]) // 5
    print(f"score of the last fifth: AutoMixture {auto['score'][-last:].mean():.3f}", end="")
    print(f", Mixture {plain['score'][-last:].mean():.3f} nats a record")
    draw(path, minutes, auto, plain, model.events)
    return model, auto, plain


if __name__ == "__main__":
    main(*sys.argv[1:2])
