"""How many components? An AutoMixture that is told nothing decides while it learns, and again when the stream changes.

Customers of four kinds visit a shop; after 15,000 visits a fifth kind joins them. On the left, what any fixed number of
components would have reached before that, on records that nobody has seen; on the right, what the model chose, when.

Run it with ``python examples/choose_k.py [FILE.png]``; it needs matplotlib.
"""

import sys
from collections.abc import Iterable

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix as sm

N, JOINS = 30_000, 15_000
MEANS = np.array([[12.0, 20.0], [25.0, 22.0], [18.0, 45.0], [38.0, 50.0], [45.0, 15.0]])  # minutes, euros
SPREADS = np.array([[4.0, 5.0], [5.0, 4.0], [4.0, 6.0], [5.0, 7.0], [5.0, 4.0]])
SHARES = np.array([0.3, 0.25, 0.2, 0.25, 0.0]), np.array([0.25, 0.2, 0.15, 0.2, 0.2])  # before and after
FIELDS = {("minutes", "euros"): sm.MultivariateNormal()}
FIXED = range(1, 9)
EVERY = 500  # records between two looks at the model


def visits(n: int, shares: NDArray[np.float64], seed: int) -> pa.Table:
    """Draw visits."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(MEANS), size=n, p=shares)
    rows = MEANS[kinds] + SPREADS[kinds] * rng.normal(size=(n, 2))
    return pa.table({"minutes": rows[:, 0], "euros": rows[:, 1]})


def by_fixed_number(stream: pa.Table, held_out: pa.Table, numbers: Iterable[int]) -> dict[int, float]:
    """The mean log density of records never seen, for each fixed number of components after one pass."""
    found = {}
    for k in numbers:
        model = sm.AutoMixture(k, fields=FIELDS, seed=1)
        model.learn_many(stream)
        found[k] = float(np.asarray(model.log_density_many(held_out)).mean())
    return found


def chosen(parts: list[pa.Table]) -> tuple[sm.AutoMixture, list[int]]:
    """A model that is told nothing, and how many components it had after every few hundred records."""
    model = sm.AutoMixture(n_components=None, fields=FIELDS, seed=1)
    numbers = []
    for part in parts:
        for begin in range(0, part.num_rows, EVERY):
            model.learn_many(part.slice(begin, EVERY))
            numbers.append(len(model.weights) if model.is_warm else 0)
    return model, numbers


def draw(path: str, fixed: dict[int, float], numbers: list[int], joins: int) -> None:
    """The two panels."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=[1, 1.4])
    before = numbers[joins // EVERY - 1]
    left.plot(list(fixed), list(fixed.values()), "o-", color="0.45")
    if before in fixed:
        left.plot(before, fixed[before], "o", ms=11, mfc="none", mec="#a40000", mew=2, label="chosen by the model")
        left.legend(loc="lower right", frameon=False)
    left.set(xlabel="components K, fixed", ylabel="nats a record", title="log density of records never seen")
    looks = np.arange(1, len(numbers) + 1) * EVERY
    is_warm = np.array(numbers) > 0
    right.step(looks[is_warm], np.array(numbers)[is_warm], where="post", color="#a40000", lw=2, label="the model's K")
    right.step(
        [0, joins, looks[-1]], [4, 5, 5], where="post", color="black", lw=1, ls="--", label="kinds in the stream"
    )
    right.set(xlabel="records", ylabel="components", title="chosen while learning", ylim=(0, 8.5), xlim=(0, looks[-1]))
    right.legend(loc="lower right", frameon=False)
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    path: str = "choose_k.png", n: int = N, numbers_fixed: Iterable[int] = FIXED
) -> tuple[dict[int, float], list[int]]:
    """Learn, print and draw."""
    joins = n * JOINS // N // EVERY * EVERY
    early, late = visits(joins, SHARES[0], seed=1), visits(n - joins, SHARES[1], seed=2)
    fixed = by_fixed_number(early, visits(20_000, SHARES[0], seed=3), numbers_fixed)
    model, numbers = chosen([early, late])
    print("K fixed   log density of records never seen")
    for k, value in fixed.items():
        print(f"{k:>7}   {value:.4f}")
    print(f"chosen before the fifth kind joins: {numbers[joins // EVERY - 1]}; at the end: {numbers[-1]}")
    for component, weight in zip(model.parameters, model.weights, strict=True):
        family = component["minutes", "euros"]
        print(f"  {weight:.2f} of the visits: about {family.mean[0]:.0f} minutes and {family.mean[1]:.0f} euros")
    draw(path, fixed, numbers, joins)
    return fixed, numbers


if __name__ == "__main__":
    main(*sys.argv[1:2])
