"""The layout of statistics: rows and columns of a unit of each family."""

__all__ = ["CHUNK", "GROUP", "INFLATING", "rows_of", "width_of"]

INFLATING = "inflated "  # before the name of the family inside
GROUP = 8  # components come in groups of this many lanes
CHUNK = 4096  # rows whose sums are taken together, whatever the number of threads


def rows_of(kind: str, size: int) -> tuple[int, int, int, int]:
    """Return how many rows a unit of a family has: (of statistics, of theta, of the prior, in an accumulator)."""
    if kind.startswith(INFLATING):
        stat, theta, prior, accumulated = rows_of(kind.removeprefix(INFLATING), size)
        return stat + 2, theta + 5, prior + 2, accumulated + 2
    return {
        "normal": (3, 2, 1, 2),
        "lognormal": (3, 2, 1, 2),
        "mvn": (3 * size + size * (size - 1) // 2, 3 * size + 2, size, size + size * (size + 1) // 2),
        "exponential": (1, 1, 1, 1),
        "poisson": (1, 2, 1, 1),
        "geometric": (1, 3, 1, 1),
        "bernoulli": (1, 2, 1, 1),
        "binomial": (1, 3, 1, 1),
        "multinomial": (size, 2 * size + 1, size, size),
        "categorical": (1 + size, 2, 1, size),
        "external": (0, 0, 0, 0),
        "gamma": (2, 4, 1, 3),
        "beta": (4, 9, 1, 6),
        "dirichlet": (2 * size, 4 * size + 1, 1, 3 * size),
        "negative_binomial": (2, 4, 2, 3),
        "vonmises": (4, 4, 1, 2),
        "student": (5, 6, 1, 4),
        "uniform": (1, 1, 1, 0),
        "inverse_gaussian": (2, 3, 1, 2),
    }[kind]


def width_of(kind: str, size: int) -> int:
    """Return how many columns a unit of a family reads."""
    widths = {"mvn": size, "multinomial": size, "gamma": 2, "beta": 4, "dirichlet": 2 * size}
    return widths.get(kind.removeprefix(INFLATING), 1)
