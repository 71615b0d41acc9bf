"""Matrix products in pieces against whole ones, and the principal axis against a library's."""

import numpy as np
import pytest

from streammix.products import ONE_THREAD, crossed, principal_axis


@pytest.mark.parametrize(("n", "p", "q"), [(0, 3, 2), (7, 1, 1), (1_000, 8, 8), (2_000, 40, 9), (300, 130, 130)])
def test_pieces_add_up(n: int, p: int, q: int) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    np.testing.assert_allclose(crossed(one, other), np.einsum("ni,nj->ij", one, other), atol=1e-11)


def test_what_fits_into_one_piece_is_one_product() -> None:
    rows = np.random.default_rng(1).normal(size=(ONE_THREAD // 64, 8))
    assert (crossed(rows, rows) == rows.T @ rows).all()


@pytest.mark.parametrize("width", [1, 2, 8, 60, 300])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_the_principal_axis_is_the_first_eigenvector(width: int, scale: float) -> None:
    rng = np.random.default_rng(width)
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    spread = scale * (turn * np.concatenate([[2.0], rng.uniform(0, 1, width - 1)])) @ turn.T
    axis = principal_axis(spread)
    assert abs(axis @ turn[:, 0]) / np.sqrt(axis @ axis) == pytest.approx(1.0, abs=1e-12)


def test_of_no_spread_there_is_no_axis() -> None:
    assert (principal_axis(np.zeros((3, 3))) == 0.0).all()
