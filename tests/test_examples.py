"""The examples run as scripts, and each number that their documents print comes out to its last decimal."""

import importlib.util
import math
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import streammix as sm

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    """Import an example by its path: examples are scripts and no package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coins = load("coins")
two_normals = load("two_normals")
marbles = load("marbles")
movie_ratings = load("movie_ratings")


@pytest.mark.parametrize("name", ["coins", "two_normals", "marbles", "movie_ratings"])
def test_an_example_runs_as_a_script(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 8
    assert "nan" not in printed
    assert f"example_{name}" not in sys.modules


def test_a_source_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "own_source.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "2,500 records" in printed
    assert "2500 records scored once each" in printed


# --- the chapter on the three coins ---


def printed_as(printed: tuple[str, ...], ours: tuple[float, ...]) -> tuple[str, ...]:
    """Ours, rounded to the decimals that the chapter prints."""
    return tuple(f"{v:.{len(p.split('.')[1])}f}" for p, v in zip(printed, ours, strict=True))


@pytest.mark.parametrize("row", [*coins.e_step(), *coins.m_step()], ids=lambda row: row[0])
def test_every_number_of_the_chapter_to_its_last_decimal(row: Any) -> None:
    _, printed, ours = row
    assert printed_as(printed, ours) == printed


def test_the_rows_are_all_of_the_chapters_numbers() -> None:
    """Typed in again from the chapter, so that a slip in the example's own list doesn't go unseen."""
    printed = {row[0][:5].strip() + "|" + row[0][6:]: row[1] for row in [*coins.e_step(), *coins.m_step()]}
    numbers = [number for row in printed.values() for number in row]
    chapter = """
        0.1114767 0.2050781 0.2376685   0.0278692 0.1025391 0.0594171   0.1468149 0.5401758 0.3130094
        0.5674795 0.4124300 0.0200905   0.4568744 0.4980674 0.0450583   0.3436451 0.5619435 0.0944114
        0.2370680 0.5814960 0.1814361   0.1468149 0.5401758 0.3130094   6.6744913 10.5237552 2.8017535
        2.269918 0.4720569
        2.2699180 1.6497199 0.0803621   0.9137487 0.9961348 0.0901165   1.7182254 2.8097177 0.4720569
        1.1853398 2.9074798 0.9071804   0.5872594 2.1607030 1.2520376
        23.6042391   23.60424 45.02833 14.36743   0.3337246 0.5261878 0.1400877
        0.3536485   0.3536485 0.4278732 0.5128013
    """
    assert numbers == chapter.split()


def test_the_data_of_the_chapter() -> None:
    """Table 6.1's occurrences, and equation 6.6."""
    assert coins.OCCURRENCES == {2: 4, 3: 2, 4: 5, 5: 5, 6: 4}
    model = coins.chapter_start()
    assert coins.biases_of(model) == (0.4, 0.5, 0.65)
    assert model.weights.tolist() == [0.25, 0.5, 0.25]


def test_the_heads_of_each_coin_are_also_the_models_own_parameters() -> None:
    """Table 6.3 once more, from the M-step's side: 10 x expected sequences x new bias."""
    model = coins.chapter_start()
    trace = sm.batch.fit(model, coins.sequences(coins.HEADS), max_iter=1)
    heads = 10 * trace.expected_counts * np.array(coins.biases_of(model))
    assert [f"{value:.5f}" for value in heads] == ["23.60424", "45.02833", "14.36743"]
    assert f"{heads[0]:.7f}" == "23.6042391"
    np.testing.assert_allclose(trace.log_likelihood, [-38.9268693086], rtol=1e-11)


def test_where_the_chapters_print_disagrees_with_itself() -> None:
    """The chapter computes with unrounded numbers and prints rounded ones; here is where that shows.

    The arithmetic is exact: the printed seven decimals as whole multiples of 1e-7.
    """
    # 6.10 prints a sum of five rounded terms and 6.6744913 for it. As printed the terms sum to 6.6744919:
    # the rounding of each, times its occurrences, adds 6e-7. Unrounded the sum is the chapter's, 6.67449129.
    assert 4 * 5674795 + 2 * 4568744 + 5 * 3436451 + 5 * 2370680 + 4 * 1468149 == 66744919
    # 6.12: 5 x 0.0944114 is 0.4720570; 0.4720569 is five times the unrounded 0.09441138.
    assert 5 * 944114 == 4720570
    # The text says that the first column of table 6.2 sums to "exactly" 6.6744913. So it does as printed,
    # and the other two sum to the counts of the text as well.
    assert 22699180 + 9137487 + 17182254 + 11853398 + 5872594 == 66744913
    assert 16497199 + 9961348 + 28097177 + 29074798 + 21607030 == 105237552
    assert 803621 + 901165 + 4720569 + 9071804 + 12520376 == 28017535
    # Three rows of table 6.1 sum to 1.0000001 as printed (3, 5 and 6 heads) and two to 1.
    rows = {x: [round(float(number) * 1e7) for number in printed] for x, printed in table_6_1().items()}
    assert {x: sum(row) - 10**7 for x, row in rows.items()} == {2: 0, 3: 1, 4: 0, 5: 1, 6: 1}
    # The text finds the expected counts to sum to "approximately" 20; as printed they sum to 20 exactly.
    assert 66744913 + 105237552 + 28017535 == 20 * 10**7
    # 6.13 lacks a plus sign between 4 x 1.7182254 and 5 x 1.1853398, which stand on two lines. With it the
    # printed terms do sum to 23.6042391.
    assert 2 * 22699180 + 3 * 9137487 + 4 * 17182254 + 5 * 11853398 + 6 * 5872594 == 236042391
    # 6.8 has Y_2 and Y_3 where it means Y_1 (all three lines are of sequence 1); its numbers are right.
    # 6.16 has phi_j for phi_1; its quotient of printed numbers is right.
    assert f"{236042391 / (10 * 66744913):.7f}" == "0.3536485"


def table_6_1() -> dict[int, tuple[str, ...]]:
    rows = {row[0]: row[1] for row in coins.e_step()}
    return {x: rows[f"T 6.1 P(coin | {x} heads)"] for x in range(2, 7)}


def test_equation_6_15_is_not_the_new_bias() -> None:
    """6.15 gives an outcome's share of a coin's sequences (2 heads of coin 1: 0.34009), not the coin's bias.

    The bias, 0.3536485, is 6.16's: the mean of those shares' outcomes, over ten tosses.
    """
    drawn = [row[2][0] for row in coins.e_step() if row[0].startswith("T 6.2")]
    shares = np.array(drawn) / sum(drawn)
    assert f"{shares[0]:.5f}" == "0.34009"
    assert f"{shares @ np.arange(2, 7) / 10:.7f}" == "0.3536485"


def test_the_caption_of_table_6_3_means_heads() -> None:
    """The "expected sufficient statistics for each of the three coins" are heads: in all 83."""
    heads = next(row[2] for row in coins.e_step() if row[0].startswith("T 6.3"))
    assert sum(coins.HEADS) == 83
    np.testing.assert_allclose(sum(heads), 83, rtol=1e-13)


def test_footnote_8_normalise_by_the_expected_counts() -> None:
    model, _ = coins.converged()
    np.testing.assert_allclose(model.weights.sum(), 1.0, rtol=1e-15)


def test_the_coins_converge_to_one_coin() -> None:
    """The sequences' variance, 1.93, is below one coin's 10 x 0.415 x 0.585 = 2.43: the best three are equal.

    The likelihood of that one coin is the highest, and its bias is 83 heads of 200.
    """
    assert np.var(coins.HEADS) < 10 * 0.415 * 0.585
    model, log_likelihood = coins.converged()
    np.testing.assert_allclose(coins.biases_of(model), 83 / 200, rtol=1e-5)
    assert (np.diff(log_likelihood) >= -1e-12).all()
    one_coin = stats.binom(10, 83 / 200).logpmf(coins.HEADS).sum()
    np.testing.assert_allclose(log_likelihood[-1], one_coin, rtol=1e-10)


def test_the_coins_learnt_online() -> None:
    streamed, (best, _) = coins.online(), coins.converged()
    assert streamed.n_seen == 20_000
    assert coins.mean_log_density(best) - coins.mean_log_density(streamed) < 0.005
    mean_bias = float(streamed.weights @ coins.biases_of(streamed))
    assert abs(mean_bias - 83 / 200) < 0.01
    assert coins.biases_of(coins.online()) == coins.biases_of(streamed)


# --- the page on two Normals ---


def test_the_pages_e_step_and_m_step_are_ours() -> None:
    y = two_normals.stream(2_000)
    indicator = two_normals.page_e_step(y, two_normals.START)
    np.testing.assert_allclose(two_normals.our_e_step(y, two_normals.START), indicator, rtol=1e-10)
    ours = two_normals.batch(y, max_iter=1)
    np.testing.assert_allclose(ours, two_normals.page_m_step(y, indicator), rtol=1e-10)


def test_the_pages_likelihood_is_ours() -> None:
    """p(y | theta) is a product over i of alpha Normal_1 + (1 - alpha) Normal_0, as the page has it."""
    theta, y = two_normals.TRUTH, two_normals.stream(500)
    one = stats.norm(theta.mu1, math.sqrt(theta.variance1)).pdf(y)
    zero = stats.norm(theta.mu0, math.sqrt(theta.variance0)).pdf(y)
    expected = np.log(theta.alpha * one + (1 - theta.alpha) * zero).sum()
    model = two_normals.mixture(theta)
    log_p = model.log_density_many(pa.table({"y": y}).to_pandas())
    np.testing.assert_allclose(np.sum(log_p), expected, rtol=1e-12)


@pytest.mark.parametrize("how", ["batch", "online"])
def test_the_two_normals_are_recovered(how: str) -> None:
    """Within about four standard errors of 20,000 records (alpha .006, means .04, .01, variances .1, .02)."""
    y = two_normals.stream()
    theta = getattr(two_normals, how)(y)
    wide = 2 if how == "online" else 1  # PowerDecay(0.6) forgets: fewer records than all stand behind it
    allowed = two_normals.Theta(alpha=0.024, mu1=0.15, mu0=0.05, variance1=0.4, variance0=0.08)
    for name in theta._fields:
        assert abs(getattr(theta, name) - getattr(two_normals.TRUTH, name)) < wide * getattr(allowed, name), name


def test_online_two_normals_end_near_batch() -> None:
    y = two_normals.stream()
    table = pa.table({"y": y}).to_pandas()
    densities = [
        float(np.mean(two_normals.mixture(theta).log_density_many(table)))
        for theta in (two_normals.batch(y), two_normals.online(y))
    ]
    assert 0 <= densities[0] - densities[1] < 0.005


# --- the page on marbles ---


def test_our_iterations_are_the_pages_loop() -> None:
    bag = marbles.draw_marbles()
    page = marbles.page_iterations(bag)
    assert 20 < len(page) < 101, "converged, as the page's program says of itself"
    np.testing.assert_allclose(marbles.our_iterations(bag, len(page) - 1), page, rtol=1e-12)


def test_the_share_of_factory_1() -> None:
    """EM's fixed point is where 0.8 p + 0.3 (1 - p) is the share of red, in closed form."""
    bag = marbles.draw_marbles()
    closed_form = (bag.mean() - 0.3) / 0.5
    model = marbles.factories()
    trace = sm.batch.fit(model, pa.table({"red": bag}), max_iter=1000, tol=1e-13)
    np.testing.assert_allclose(model.weights[0], closed_form, atol=1e-5)
    assert abs(closed_form - marbles.P_FACTORY_1) < 4 * math.sqrt(0.6 * 0.4 / 1000) / 0.5
    assert (np.diff(trace.log_likelihood) >= -1e-10).all()
    red = [component["red"] for component in model.parameters]
    assert red == [sm.Fixed(sm.Bernoulli(0.8)), sm.Fixed(sm.Bernoulli(0.3))]


def test_the_share_learnt_online() -> None:
    """The standard error of 100,000 marbles is 0.5 / sqrt(100,000) / 0.5 = 0.003."""
    assert abs(marbles.online(marbles.draw_marbles(100_000)) - marbles.P_FACTORY_1) < 0.02


def test_the_pages_intuitions() -> None:
    """A blue marble speaks for factory 2; all marbles from factory 1 means 80 % red."""
    assert marbles.factories().predict_proba_one({"red": 0})[1] == pytest.approx(0.7 / 0.9, rel=1e-12)
    assert math.exp(marbles.factories(1.0).log_density_one({"red": 1})) == pytest.approx(0.8, rel=1e-12)


def test_arbitrary_component_distributions() -> None:
    """The reader's exercise: the shares of a gamma, a normal, a uniform and a t."""
    table = pa.table({"x": marbles.draw_arbitrary()})
    by_batch, by_stream = marbles.arbitrary(marbles.ARBITRARY), marbles.arbitrary(marbles.ARBITRARY)
    trace = sm.batch.fit(by_batch, table)
    assert (np.diff(trace.log_likelihood) >= -1e-8).all()
    by_stream.learn_many(table)
    np.testing.assert_allclose(by_batch.weights, marbles.SHARES, atol=0.03)
    np.testing.assert_allclose(by_stream.weights, marbles.SHARES, atol=0.06)


# --- partly rated films ---


def test_partly_rated_films_teach_more_than_complete_ones_alone() -> None:
    rated, _, kind = movie_ratings.ratings()
    model = movie_ratings.batch(rated)
    complete = movie_ratings.batch([rating for rating in rated if len(rating) == 3])
    assert np.abs(movie_ratings.means_of(model) - movie_ratings.MEANS).max() < 0.3
    error, error_complete = (
        float(np.sqrt(np.mean((movie_ratings.means_of(m) - movie_ratings.MEANS) ** 2))) for m in (model, complete)
    )
    assert error < error_complete
    found = np.array([model.predict_one(rating) for rating in rated])
    assert np.mean(found == kind) > 0.85


def test_partly_rated_films_online_are_near_batch() -> None:
    rated, _, _ = movie_ratings.ratings()
    by_batch, by_stream = movie_ratings.batch(rated), movie_ratings.online(rated)
    np.testing.assert_allclose(movie_ratings.means_of(by_stream), movie_ratings.means_of(by_batch), atol=0.25)
    densities = [np.mean([m.log_density_one(rating) for rating in rated]) for m in (by_batch, by_stream)]
    assert 0 <= densities[0] - densities[1] < 0.02


def test_how_ratings_go_together_is_learnt_from_gaps() -> None:
    """Few viewers rated any two categories; the pairs that are there say how they go together."""
    rated, _, _ = movie_ratings.ratings(3_000)
    found = movie_ratings.correlations_of(movie_ratings.batch(rated))
    np.testing.assert_allclose(found, [movie_ratings.CORRELATIONS] * 2, atol=0.2)


def test_ratings_held_back_are_predicted() -> None:
    """Of viewers never seen: better than by any mean, and nearly as well as by the truth behind the ratings."""
    rated, _, _ = movie_ratings.ratings()
    fresh, full, _ = movie_ratings.ratings(seed=1)
    found = movie_ratings.errors(movie_ratings.online(rated), fresh, full)
    covariance = movie_ratings.SD**2 * movie_ratings.CORRELATIONS
    behind = sm.Mixture(
        components=[{movie_ratings.CATEGORIES: sm.MultivariateNormal(m, covariance)} for m in movie_ratings.MEANS]
    )
    assert found["the mixture"] < 0.8 * found["the category's mean"]
    assert found["the mixture"] < 0.8 * found["the viewer's own mean"]
    assert found["the mixture"] < 1.03 * movie_ratings.errors(behind, fresh, full)["the mixture"]


def test_who_is_asked_first_would_have_rated_high() -> None:
    rated, _, _ = movie_ratings.ratings()
    fresh, full, _ = movie_ratings.ratings(seed=1)
    chosen = movie_ratings.recommended(movie_ratings.online(rated), fresh, "fun", 20)
    assert all("fun" not in fresh[i] for i in chosen)
    assert full[chosen, 2].mean() > full[:, 2].mean() + 1.5


def test_the_readmes_picture_can_be_drawn(tmp_path: Path) -> None:
    picture = load("picture")
    picture.main(str(tmp_path / "picture.png"))
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


# --- a ring by ever more components ---


def test_more_components_come_nearer_to_a_ring(tmp_path: Path) -> None:
    approximator = load("universal_approximator")
    found = approximator.main(str(tmp_path / "ring.png"), 8_000, (1, 4, 8))
    assert (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")
    means = [mean for mean, _ in found.values()]
    assert means == sorted(means, reverse=True)
    assert 0 < means[-1] < 0.06 < 1 < means[0]


def test_the_rings_density_sums_to_one() -> None:
    approximator = load("universal_approximator")
    side = np.linspace(-6, 6, 600)
    x, y = np.meshgrid(side, side)
    density = np.exp(approximator.log_density(pa.table({"x": x.ravel(), "y": y.ravel()})))
    assert density.sum() * (side[1] - side[0]) ** 2 == pytest.approx(1.0, abs=1e-6)


# --- a stream that changes, and how many components ---


def test_a_stream_that_changes_is_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drift = load("drift")
    model, auto, plain = drift.main(str(tmp_path / "drift.png"), 12_000)
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert "records: restart" in told
    assert re.search(r"records: doubt \w", told)
    assert not re.search(r"records: doubt$", told, re.MULTILINE)
    last = len(auto["score"]) // 5
    assert auto["score"][-last:].mean() < plain["score"][-last:].mean() - 0.1
    found = sorted(component["minutes"].mean for component in model.parameters)
    np.testing.assert_allclose(found, sorted([drift.AFTER[0] + drift.SLOWER, *drift.AFTER[1:]]), atol=0.25)


def test_the_number_of_components_is_chosen_and_chosen_again(tmp_path: Path) -> None:
    choose_k = load("choose_k")
    fixed, numbers = choose_k.main(str(tmp_path / "choose_k.png"), 14_000, [2, 4])
    assert (tmp_path / "choose_k.png").read_bytes().startswith(b"\x89PNG")
    assert (numbers[len(numbers) // 2 - 1], numbers[-1]) == (4, 5)
    assert fixed[4] > fixed[2] + 0.1
