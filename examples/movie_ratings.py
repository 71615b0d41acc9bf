"""Films that were rated in part: what is missing is integrated out, never guessed and never thrown away.

The chapter on the three coins has a second example: users rate films for entertainment, action and fun, and many rate
only one or two of the three. Those ratings are still worth something. Here two kinds of viewers rate, many cells are
empty, and the three ratings of one viewer go together: who finds a film entertaining finds it fun, too. The mixture
learns the two kinds from what is there, one viewer at a time. Then it is a recommender: `impute_one` fills in what a
viewer would have rated, and ratings that were held back say how well.

Run it with ``python examples/movie_ratings.py``.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import streammix as sm

CATEGORIES = ("entertainment", "action", "fun")
#: Mean ratings (of 10) of the two kinds of viewers, who are equally common.
MEANS = np.array([[7.5, 8.0, 5.0], [6.0, 3.0, 8.0]])
SD = 1.2
#: How the ratings of one viewer go together, about the means of the kind.
CORRELATIONS = np.array([[1.0, 0.3, 0.7], [0.3, 1.0, 0.4], [0.7, 0.4, 1.0]])
SHARE_MISSING = 0.5

Rating = dict[str, float]
Ratings = NDArray[np.float64]


def ratings(n: int = 600, seed: int = 0) -> tuple[list[Rating], Ratings, NDArray[np.int64]]:
    """The ratings as they came in, with gaps; the full table behind them; and the kind of each viewer."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    full = MEANS[kind] + SD * rng.normal(size=(n, 3)) @ np.linalg.cholesky(CORRELATIONS).T
    is_rated = rng.random((n, 3)) >= SHARE_MISSING
    is_rated[np.arange(n), rng.integers(3, size=n)] = True  # everybody rated something
    rated = [{name: float(full[i, j]) for j, name in enumerate(CATEGORIES) if is_rated[i, j]} for i in range(n)]
    return rated, full, kind


def viewers() -> sm.Mixture:
    """Two kinds of viewers; a first guess says only that the one likes action and the other fun."""
    guess = [(6.0, 6.0, 5.0), (6.0, 5.0, 6.0)]
    return sm.Mixture(components=[{CATEGORIES: sm.MultivariateNormal(means, 4.0 * np.eye(3))} for means in guess])


def means_of(model: sm.Mixture) -> Ratings:
    """Mean ratings, one row a kind of viewer."""
    return np.array([component[CATEGORIES].mean for component in model.parameters])


def correlations_of(model: sm.Mixture) -> Ratings:
    """How the ratings of one viewer go together, one matrix a kind of viewer."""
    covariances = np.array([component[CATEGORIES].covariance for component in model.parameters])
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    return np.asarray(covariances / deviations[:, :, None] / deviations[:, None, :])


def batch(rated: list[Rating]) -> sm.Mixture:
    """Learn by batch EM from a table with gaps."""
    model = viewers()
    sm.batch.fit(model, as_table(rated))
    return model


def online(rated: list[Rating], n_passes: int = 20) -> sm.Mixture:
    """Learn one viewer's ratings at a time, as they come in."""
    model = viewers()
    for _ in range(n_passes):
        for rating in rated:
            model.learn_one(rating)
    return model


def as_table(rated: list[Rating]) -> pa.Table:
    """Ratings as an Arrow table, gaps as nulls."""
    return pa.table({name: [rating.get(name) for rating in rated] for name in CATEGORIES})


def errors(model: sm.Mixture, rated: list[Rating], full: Ratings) -> dict[str, float]:
    """Root mean square error over the ratings that were held back, by what they are filled with."""
    gaps = np.array([[name not in rating for name in CATEGORIES] for rating in rated])
    filled = [model.impute_one(rating) for rating in rated]
    ours = np.array([[record[name] for name in CATEGORIES] for record in filled])
    column_means = np.nanmean(np.where(gaps, np.nan, full), axis=0)
    viewer_means = np.nanmean(np.where(gaps, np.nan, full), axis=1, keepdims=True)
    fills = {"the mixture": ours, "the category's mean": column_means, "the viewer's own mean": viewer_means}
    return {what: float(np.sqrt(np.mean(np.square((values - full)[gaps])))) for what, values in fills.items()}


def recommended(model: sm.Mixture, rated: list[Rating], category: str, n: int = 3) -> list[int]:
    """The viewers who have not rated a category but are expected to rate it highest."""
    filled = model.impute_many(as_table(rated))[category].to_numpy()
    open_cells = [i for i, rating in enumerate(rated) if category not in rating]
    return sorted(open_cells, key=lambda i: -filled[i])[:n]


def main() -> None:
    """Print what is learnt from all ratings, and from the complete ones alone; then what is made of it."""
    rated, _, kind = ratings()
    complete = [rating for rating in rated if len(rating) == 3]
    n_cells = sum(map(len, rated))
    print(f"{len(rated)} viewers, {n_cells} of {3 * len(rated)} cells filled, {len(complete)} viewers rated all")
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
    found = np.mean([by_stream.predict_one(rating) == z for rating, z in zip(rated, kind, strict=True)])
    print(f"\nKind of viewer found from what was rated: {found:.1%} right")

    fresh, truth, _ = ratings(seed=1)  # viewers whom the model has never seen
    print(f"\nError of the ratings that {len(fresh)} new viewers held back, filled with")
    for what, error in errors(by_stream, fresh, truth).items():
        print(f"  {what:<24}{error:>6.2f}")
    for rating in ({"action": 8.5}, {"action": 3.0, "fun": 7.0}, {"entertainment": 7.0}):
        filled = {name: round(value, 2) for name, value in by_stream.impute_one(rating).items()}
        print(f"  {rating} filled in: {filled}")
    print(f"  expected to find it the most fun: viewers {recommended(by_stream, fresh, 'fun')}")


if __name__ == "__main__":
    main()
