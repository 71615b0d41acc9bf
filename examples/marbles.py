"""Known factories, unknown proportion: only the mixture's weight is learnt.

A bag holds red and blue marbles. Factory 1 makes 80 % red ones and factory 2 makes 30 %; which share of the
bag came from factory 1? The page's own program finds it by EM; here the two factories are `Fixed` components.
Then the exercise that the page leaves to its reader: n arbitrary component distributions.

Run it with ``python examples/marbles.py``.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

import streammix as sm

P_RED = [0.8, 0.3]
P_FACTORY_1 = 0.6

#: Any distributions of scipy.stats, each known; what a record's component was isn't.
ARBITRARY = [stats.gamma(2.0), stats.norm(6.0, 1.5), stats.uniform(0.0, 12.0), stats.t(3, loc=-4.0)]
SHARES = [0.4, 0.3, 0.1, 0.2]


def draw_marbles(n: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """Fill the bag as the page does, with a seed: 1 is red, 0 is blue."""
    rng = np.random.default_rng(seed)
    from_factory_1 = rng.binomial(1, P_FACTORY_1, size=n)
    return np.where(from_factory_1 == 1, rng.binomial(1, P_RED[0], size=n), rng.binomial(1, P_RED[1], size=n))


def factories(p_hat: float = 0.5) -> sm.Mixture:
    """The two known factories and a first guess of the share of factory 1."""
    components = [{"red": sm.Fixed(sm.Bernoulli(p))} for p in P_RED]
    return sm.Mixture(components=components, weights=[p_hat, 1 - p_hat], step_size=sm.RunningMean(), warm_up=1)


def page_iterations(marbles: NDArray[np.int64], max_iterations: int = 100) -> list[float]:
    """The page's loop: its estimate of P(c = Factory 1) before each iteration, and the last one."""
    estimates = [0.5]
    for _ in range(max_iterations):
        p_x_c1 = np.where(marbles == 1, P_RED[0], 1 - P_RED[0]) * estimates[-1]
        p_x_c2 = np.where(marbles == 1, P_RED[1], 1 - P_RED[1]) * (1 - estimates[-1])
        estimates.append(float(np.mean(p_x_c1 / (p_x_c1 + p_x_c2))))
        if abs(estimates[-1] - estimates[-2]) < 10e-9:
            break
    return estimates


def our_iterations(marbles: NDArray[np.int64], n: int) -> list[float]:
    """The same estimates from batch EM, one iteration at a time."""
    bag, model = pa.table({"red": marbles}), factories()
    estimates = [float(model.weights[0])]
    for _ in range(n):
        sm.batch.fit(model, bag, max_iter=1)
        estimates.append(float(model.weights[0]))
    return estimates


def online(marbles: NDArray[np.int64]) -> float:
    """One pass, marble by marble, as they are taken out of the bag."""
    model = factories()
    for red in marbles.tolist():
        model.learn_one({"red": red})
    return float(model.weights[0])


def draw_arbitrary(n: int = 5_000, seed: int = 1) -> NDArray[np.float64]:
    """Draw from the arbitrary distributions in their true shares."""
    rng = np.random.default_rng(seed)
    component = rng.choice(len(SHARES), size=n, p=SHARES)
    draws = np.column_stack([distribution.rvs(n, random_state=rng) for distribution in ARBITRARY])
    return np.asarray(draws[np.arange(n), component])


def arbitrary(distributions: list[Any]) -> sm.Mixture:
    """A mixture of any known distributions in unknown shares, at first equal ones."""
    return sm.Mixture(components=[{"x": sm.Fixed(distribution)} for distribution in distributions])


def main() -> None:
    """Print the page's run beside ours, then the reader's exercise."""
    marbles = draw_marbles()
    page = page_iterations(marbles)
    ours = our_iterations(marbles, len(page) - 1)
    model = factories()
    print(f"Ground truth: P(c = Factory 1) = {P_FACTORY_1:.2f}")
    print(f"Red: {marbles.sum()}, blue: {(1 - marbles).sum()}")
    print(f"A blue marble is from factory 2 with probability {model.predict_proba_one({'red': 0})[1]:.4f}")
    print(f"\n{'iteration':>9} {'page':>12} {'ours':>12}")
    for i in [*range(0, len(page) - 1, 10), len(page) - 1]:
        print(f"{i:>9} {page[i]:>12.9f} {ours[i]:>12.9f}")
    print(f"In closed form: (share of red - 0.3) / (0.8 - 0.3) = {(marbles.mean() - 0.3) / 0.5:.9f}")
    print(f"Online, one pass over these 1,000 marbles: {online(marbles):.4f}")
    print(f"Online, one pass over 100,000 marbles: {online(draw_marbles(100_000)):.4f}")

    x = draw_arbitrary()
    table = pa.table({"x": x})
    by_batch, by_stream = arbitrary(ARBITRARY), arbitrary(ARBITRARY)
    sm.batch.fit(by_batch, table)
    by_stream.learn_many(table)
    print("\nThe reader's exercise: arbitrary distributions, of which only the shares are learnt")
    print(f"{'':<34} {'truth':>8} {'batch':>8} {'online':>8}")
    for k, share in enumerate(SHARES):
        name = repr(by_batch.parameters[k]["x"])
        print(f"{name:<34} {share:>8.3f} {by_batch.weights[k]:>8.3f} {by_stream.weights[k]:>8.3f}")


if __name__ == "__main__":
    main()
