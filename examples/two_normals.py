"""A mixture of two Normals: the E-step and M-step of the textbook page, in batch and online.

The page's model: y is Normal(mu1, sigma1^2) with probability alpha and Normal(mu0, sigma0^2) otherwise.
Its steps: start somewhere, take the expected indicators I_i = E[I_i | y_i, theta], maximise with those
plugged in, repeat. Component 1 is the page's "1" and component 0 its "0": alpha is the weight of component 1.

Run it with ``python examples/two_normals.py``.
"""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix as sm


class Theta(NamedTuple):
    """The page's parameters, in its order."""

    alpha: float
    mu1: float
    mu0: float
    variance1: float
    variance0: float


TRUTH = Theta(alpha=0.3, mu1=4.0, mu0=0.0, variance1=2.25, variance0=1.0)
START = Theta(alpha=0.5, mu1=3.0, mu0=1.0, variance1=1.0, variance0=1.0)


def stream(n: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Draw y_1..y_n from the page's model."""
    rng = np.random.default_rng(seed)
    is_one = rng.random(n) < TRUTH.alpha
    ones = rng.normal(TRUTH.mu1, math.sqrt(TRUTH.variance1), n)
    zeros = rng.normal(TRUTH.mu0, math.sqrt(TRUTH.variance0), n)
    return np.where(is_one, ones, zeros)


def mixture(theta: Theta = START) -> sm.Mixture:
    """The page's step 1: initial values for theta."""
    components = [{"y": sm.Normal(theta.mu0, theta.variance0)}, {"y": sm.Normal(theta.mu1, theta.variance1)}]
    return sm.Mixture(components=components, weights=[1 - theta.alpha, theta.alpha])


def theta_of(model: sm.Mixture) -> Theta:
    """Read the page's parameters off a model."""
    zero, one = (component["y"] for component in model.parameters)
    return Theta(float(model.weights[1]), one.mean, zero.mean, one.variance, zero.variance)


def page_e_step(y: NDArray[np.float64], theta: Theta) -> NDArray[np.float64]:
    """The page's step 2 as it is written there: E[I_i | y_i, theta]."""

    def weighted(share: float, mu: float, variance: float) -> NDArray[np.float64]:
        return share / math.sqrt(2 * math.pi * variance) * np.exp(-((y - mu) ** 2) / (2 * variance))

    one = weighted(theta.alpha, theta.mu1, theta.variance1)
    zero = weighted(1 - theta.alpha, theta.mu0, theta.variance0)
    return np.asarray(one / (one + zero))


def page_m_step(y: NDArray[np.float64], indicator: NDArray[np.float64]) -> Theta:
    """The page's step 3: the theta that maximises log p(y, I | theta)."""
    mu1, mu0 = np.average(y, weights=indicator), np.average(y, weights=1 - indicator)
    return Theta(
        alpha=float(indicator.mean()),
        mu1=float(mu1),
        mu0=float(mu0),
        variance1=float(np.average((y - mu1) ** 2, weights=indicator)),
        variance0=float(np.average((y - mu0) ** 2, weights=1 - indicator)),
    )


def our_e_step(y: NDArray[np.float64], theta: Theta) -> NDArray[np.float64]:
    """The same indicators from the model."""
    responsibilities = mixture(theta).predict_proba_many(pa.table({"y": y}))
    return np.asarray(responsibilities.column(1))


def batch(y: NDArray[np.float64], max_iter: int = 1000) -> Theta:
    """The page's step 4: repeat until convergence."""
    model = mixture()
    sm.batch.fit(model, pa.table({"y": y}), max_iter=max_iter, tol=1e-8)
    return theta_of(model)


def online(y: NDArray[np.float64]) -> Theta:
    """One pass, one y at a time; nothing is kept but the statistics."""
    model = mixture()
    for value in y.tolist():
        model.learn_one({"y": value})
    return theta_of(model)


def main() -> None:
    """Print one iteration by the page's formulas and by the model, then what batch and online EM recover."""
    y = stream()
    indicator = page_e_step(y, START)
    print("E-step: E[I | y] for the first five y, by the page's formula and by the model")
    print("  page", indicator[:5].round(7))
    print("  ours", our_e_step(y, START)[:5].round(7))
    rows = {
        "M-step, page": page_m_step(y, indicator),
        "M-step, ours": batch(y, max_iter=1),
        "batch EM": batch(y),
        "online, one pass": online(y),
        "truth": TRUTH,
    }
    print(f"\n{'':<18}" + "".join(f"{name:>11}" for name in Theta._fields))
    for name, theta in rows.items():
        print(f"{name:<18}" + "".join(f"{value:>11.5f}" for value in theta))


if __name__ == "__main__":
    main()
