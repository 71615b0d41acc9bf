"""Films that were rated in part: what is missing is integrated out, never guessed and never thrown away.

The chapter on the three coins has a second example: users rate films for entertainment, action and fun,
and many rate only one or two of the three. Those ratings are still worth something. Here two kinds of
viewers rate, many cells are empty, and the mixture learns the two kinds from what is there. Then the gaps
are filled in with their expectation.

Run it with ``python examples/movie_ratings.py``.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix as sm

CATEGORIES = ("entertainment", "action", "fun")
#: Mean ratings (of 10) of the two kinds of viewers, who are equally common, and the standard deviation.
MEANS = np.array([[7.5, 8.0, 5.0], [6.0, 3.0, 8.0]])
SD = 1.2
SHARE_MISSING = 0.5

Rating = dict[str, float]


def ratings(n: int = 600, seed: int = 0) -> tuple[list[Rating], NDArray[np.float64], NDArray[np.int64]]:
    """The ratings as they came in, with gaps; the full table behind them; and the kind of each viewer."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    full = MEANS[kind] + SD * rng.normal(size=(n, 3))
    is_rated = rng.random((n, 3)) >= SHARE_MISSING
    is_rated[np.arange(n), rng.integers(3, size=n)] = True  # everybody rated something
    rated = [{name: float(full[i, j]) for j, name in enumerate(CATEGORIES) if is_rated[i, j]} for i in range(n)]
    return rated, full, kind


def viewers() -> sm.Mixture:
    """Two kinds of viewers; a first guess says only that the one likes action and the other fun."""
    guess = [(6.0, 6.0, 5.0), (6.0, 5.0, 6.0)]
    components = [{name: sm.Normal(mean, 4.0) for name, mean in zip(CATEGORIES, means, strict=True)} for means in guess]
    return sm.Mixture(components=components)


def means_of(model: sm.Mixture) -> NDArray[np.float64]:
    """Mean ratings, one row a kind of viewer."""
    return np.array([[component[name].mean for name in CATEGORIES] for component in model.parameters])


def batch(rated: list[Rating]) -> sm.Mixture:
    """Learn by batch EM from a table with gaps."""
    model = viewers()
    sm.batch.fit(model, as_table(rated))
    return model


def online(rated: list[Rating], n_passes: int = 20) -> sm.Mixture:
    """Learn one rating at a time, as they come in."""
    model = viewers()
    for _ in range(n_passes):
        for rating in rated:
            model.learn_one(rating)
    return model


def as_table(rated: list[Rating]) -> pa.Table:
    """Ratings as an Arrow table, gaps as nulls."""
    return pa.table({name: [rating.get(name) for rating in rated] for name in CATEGORIES})


def fill_in(model: sm.Mixture, rating: Rating) -> Rating:
    """The rating with each gap filled in by its expectation given what was rated."""
    proba = model.predict_proba_one(rating)
    expected = {name: sum(proba[k] * model.centers[k][name] for k in proba) for name in CATEGORIES}
    return expected | rating


def error_of_filling(model: sm.Mixture, rated: list[Rating], full: NDArray[np.float64]) -> tuple[float, float]:
    """Root mean square error over the gaps: filled in by the mixture, and by the mean of each column."""
    column_means = {name: np.mean([r[name] for r in rated if name in r]) for name in CATEGORIES}
    ours, plain = [], []
    for rating, truth in zip(rated, full, strict=True):
        filled = fill_in(model, rating)
        for name, value in zip(CATEGORIES, truth, strict=True):
            if name not in rating:
                ours.append(filled[name] - value)
                plain.append(column_means[name] - value)
    return float(np.sqrt(np.mean(np.square(ours)))), float(np.sqrt(np.mean(np.square(plain))))


def main() -> None:
    """Print what is learnt from all ratings, and from the complete ones alone."""
    rated, full, kind = ratings()
    complete = [rating for rating in rated if len(rating) == 3]
    n_cells = sum(map(len, rated))
    print(f"{len(rated)} ratings, {n_cells} of {3 * len(rated)} cells filled, {len(complete)} ratings complete")
    print("The first three:")
    for rating in rated[:3]:
        print("  ", {name: round(value, 1) for name, value in rating.items()})

    by_batch, by_stream = batch(rated), online(rated)
    print(f"\n{'mean rating':<28}" + "".join(f"{name:>15}" for name in CATEGORIES))
    rows = {
        "truth": MEANS,
        "batch, all ratings": means_of(by_batch),
        "online, all ratings": means_of(by_stream),
        "batch, complete ones alone": means_of(batch(complete)),
    }
    for k in range(2):
        for name, means in rows.items():
            print(f"{name:<28}" + "".join(f"{value:>15.2f}" for value in means[k]))

    found = np.array([by_batch.predict_one(rating) for rating in rated])
    print(f"\nKind of viewer found from what was rated: {np.mean(found == kind):.1%} right")
    for rating in ({"action": 8.5}, {"action": 3.0, "fun": 7.0}, {"entertainment": 7.0}):
        filled = {name: round(value, 2) for name, value in fill_in(by_batch, rating).items()}
        print(f"  {rating} filled in: {filled}")
    ours, plain = error_of_filling(by_batch, rated, full)
    print(f"Error of the filled-in cells: {ours:.2f} (by the column's mean {plain:.2f}, ratings vary by {SD})")


if __name__ == "__main__":
    main()
