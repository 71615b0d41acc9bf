"""Three coins, twenty sequences of ten tosses: a textbook chapter on EM, number by number.

Each of twenty sequences was tossed with one of three coins, and nobody wrote down with which. The chapter
("The EM Algorithm", section 6.3) guesses biases of 0.4, 0.5 and 0.65 and works out one iteration by hand.
Here the same numbers come from a mixture of three Binomials; then EM goes on until nothing moves any more,
and at last the coins are learnt online, one sequence at a time.

Run it with ``python examples/coins.py``.
"""

import math
from collections import Counter

import numpy as np
import pyarrow as pa

import streammix as sm

HEADS = [6, 5, 4, 2, 2, 6, 5, 5, 4, 2, 5, 2, 4, 4, 6, 4, 5, 6, 3, 3]
BIASES = [0.4, 0.5, 0.65]
WEIGHTS = [0.25, 0.5, 0.25]
OCCURRENCES = dict(sorted(Counter(HEADS).items()))

Row = tuple[str, tuple[str, ...], tuple[float, ...]]


def chapter_start() -> sm.Mixture:
    """The chapter's guess, equation 6.6."""
    return sm.Mixture(components=[{"heads": sm.Binomial(10, p)} for p in BIASES], weights=WEIGHTS)


def sequences(heads: list[int]) -> pa.Table:
    """Sequences of tosses as a table of one column."""
    return pa.table({"heads": heads})


def e_step() -> list[Row]:
    """Equations 6.7 to 6.13, tables 6.1 to 6.3: (name, as printed in the chapter, ours)."""
    model = chapter_start()
    alone = [sm.Mixture(components=[{"heads": sm.Binomial(10, p)}]) for p in BIASES]
    likelihood = tuple(math.exp(coin.log_density_one({"heads": 6})) for coin in alone)
    marginal = math.exp(model.log_density_one({"heads": 6}))
    posterior = {x: tuple(model.predict_proba_one({"heads": x}).values()) for x in OCCURRENCES}
    joint = tuple(marginal * r for r in posterior[6])
    drawn = {x: tuple(times * r for r in posterior[x]) for x, times in OCCURRENCES.items()}

    counts = tuple(sm.batch.fit(chapter_start(), sequences(HEADS), max_iter=1).expected_counts.tolist())
    heads_of = tuple(sum(x * drawn[x][k] for x in drawn) for k in range(3))
    return [
        ("6.7   P(6 heads | coin)", ("0.1114767", "0.2050781", "0.2376685"), likelihood),
        ("6.8   P(6 heads, coin)", ("0.0278692", "0.1025391", "0.0594171"), joint),
        ("6.9   P(coin | 6 heads)", ("0.1468149", "0.5401758", "0.3130094"), posterior[6]),
        ("T 6.1 P(coin | 2 heads)", ("0.5674795", "0.4124300", "0.0200905"), posterior[2]),
        ("T 6.1 P(coin | 3 heads)", ("0.4568744", "0.4980674", "0.0450583"), posterior[3]),
        ("T 6.1 P(coin | 4 heads)", ("0.3436451", "0.5619435", "0.0944114"), posterior[4]),
        ("T 6.1 P(coin | 5 heads)", ("0.2370680", "0.5814960", "0.1814361"), posterior[5]),
        ("T 6.1 P(coin | 6 heads)", ("0.1468149", "0.5401758", "0.3130094"), posterior[6]),
        ("6.10  expected sequences", ("6.6744913", "10.5237552", "2.8017535"), counts),
        ("6.11  2 heads with coin 1", ("2.269918",), drawn[2][:1]),
        ("6.12  4 heads with coin 3", ("0.4720569",), drawn[4][2:]),
        ("T 6.2 2 heads with each", ("2.2699180", "1.6497199", "0.0803621"), drawn[2]),
        ("T 6.2 3 heads with each", ("0.9137487", "0.9961348", "0.0901165"), drawn[3]),
        ("T 6.2 4 heads with each", ("1.7182254", "2.8097177", "0.4720569"), drawn[4]),
        ("T 6.2 5 heads with each", ("1.1853398", "2.9074798", "0.9071804"), drawn[5]),
        ("T 6.2 6 heads with each", ("0.5872594", "2.1607030", "1.2520376"), drawn[6]),
        ("6.13  heads of coin 1", ("23.6042391",), heads_of[:1]),
        ("T 6.3 heads of each coin", ("23.60424", "45.02833", "14.36743"), heads_of),
    ]


def m_step() -> list[Row]:
    """Equations 6.14 and 6.16, table 6.4: the model after one iteration of batch EM."""
    model = chapter_start()
    sm.batch.fit(model, sequences(HEADS), max_iter=1)
    biases = biases_of(model)
    return [
        ("6.14  new weights", ("0.3337246", "0.5261878", "0.1400877"), tuple(model.weights.tolist())),
        ("6.16  new bias of coin 1", ("0.3536485",), biases[:1]),
        ("T 6.4 new biases", ("0.3536485", "0.4278732", "0.5128013"), biases),
    ]


def biases_of(model: sm.Mixture) -> tuple[float, ...]:
    """The coins' probabilities of heads."""
    return tuple(component["heads"].p for component in model.parameters)


def converged() -> tuple[sm.Mixture, list[float]]:
    """Batch EM until nothing moves, and its log-likelihood at each iteration."""
    model = chapter_start()
    trace = sm.batch.fit(model, sequences(HEADS), max_iter=1000, tol=1e-12)
    return model, trace.log_likelihood


def online(n_passes: int = 1000, seed: int = 0) -> sm.Mixture:
    """The same twenty sequences again and again in random order, learnt one at a time."""
    model = chapter_start()
    rng = np.random.default_rng(seed)
    for _ in range(n_passes):
        for heads in rng.permutation(HEADS).tolist():
            model.learn_one({"heads": heads})
    return model


def mean_log_density(model: sm.Mixture) -> float:
    """Nats a sequence."""
    return float(np.mean([model.log_density_one({"heads": heads}) for heads in HEADS]))


def show(rows: list[Row]) -> None:
    """Print the chapter's numbers and ours, to as many decimals as the chapter has."""
    for name, printed, ours in rows:
        decimals = [len(number.split(".")[1]) for number in printed]
        rounded = [f"{value:.{d}f}" for value, d in zip(ours, decimals, strict=True)]
        print(f"{name:<26} chapter {'  '.join(printed):<34} ours {'  '.join(rounded)}")


def main() -> None:
    """Print the chapter's iteration, the limit it tends to, and the same coins learnt online."""
    print("E-step (section 6.3)")
    show(e_step())
    print("\nM-step")
    show(m_step())

    batch, log_likelihood = converged()
    print(f"\nOn to convergence: {len(log_likelihood)} iterations,", end=" ")
    print(f"log-likelihood {log_likelihood[0]:.4f} -> {log_likelihood[-1]:.4f}")
    print("  biases ", "  ".join(f"{p:.7f}" for p in biases_of(batch)))
    print("  weights", "  ".join(f"{w:.7f}" for w in batch.weights))
    print(f"  83 heads in 200 tosses: {83 / 200}. The twenty sequences vary less than even one coin's would,")
    print("  so the best three coins are one and the same.")

    streamed = online()
    print(f"\nLearnt online, {streamed.n_seen} sequences, one at a time")
    print("  biases ", "  ".join(f"{p:.4f}" for p in biases_of(streamed)))
    print("  weights", "  ".join(f"{w:.4f}" for w in streamed.weights))
    print(f"  mean log density {mean_log_density(streamed):.5f}, batch EM {mean_log_density(batch):.5f}")


if __name__ == "__main__":
    main()
