"""Exact arithmetic for the tests of extremes: EM for Normals, and log densities, in 60-digit decimals."""

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
DIGITS = 60


class ExactNormals:
    """A mixture of normals in one or two dimensions, in decimals."""

    def __init__(self, weights: Sequence[float], means: Sequence[Sequence[float]], covariances: Any) -> None:
        self.weights = [Decimal(w) for w in weights]
        self.means = [[Decimal(v) for v in mean] for mean in means]
        self.covariances = [[[Decimal(v) for v in row] for row in matrix] for matrix in covariances]

    def log_joint(self, x: Sequence[Decimal]) -> list[Decimal]:
        return [
            w.ln() + log_normal(x, mean, matrix)
            for w, mean, matrix in zip(self.weights, self.means, self.covariances, strict=True)
        ]

    def log_density(self, x: Sequence[float]) -> Decimal:
        with localcontext(prec=DIGITS):
            return log_sum_exp(self.log_joint([Decimal(v) for v in x]))

    def responsibilities(self, x: Sequence[Decimal]) -> list[Decimal]:
        joint = self.log_joint(x)
        total = log_sum_exp(joint)
        return [(value - total).exp() for value in joint]

    def filled(self, k: int, x: Sequence[Decimal]) -> tuple[list[Decimal], list[list[Decimal]]]:
        """E and Cov of a record under component k, given its cells that aren't missing (NaN)."""
        spread = [[Decimal(0)] * len(x) for _ in x]
        if not any(value.is_nan() for value in x):
            return list(x), spread
        gap = next(i for i, value in enumerate(x) if value.is_nan())
        seen, mean, matrix = 1 - gap, self.means[k], self.covariances[k]
        slope = matrix[gap][seen] / matrix[seen][seen]
        point = list(x)
        point[gap] = mean[gap] + slope * (x[seen] - mean[seen])
        spread[gap][gap] = matrix[gap][gap] - slope * matrix[seen][gap]
        return point, spread

    def learn(self, x: Sequence[float], step: float) -> None:
        """One record of stepwise EM, s <- (1 - step) s + step E[s | x]."""
        with localcontext(prec=DIGITS):
            point, g = [Decimal(v) for v in x], Decimal(step)
            r = self.responsibilities(point)
            for k, (weight, r_k) in enumerate(zip(self.weights, r, strict=True)):
                self.weights[k] = (1 - g) * weight + g * r_k
                self.move(k, g * r_k / self.weights[k], *self.filled(k, point))

    def move(self, k: int, share: Decimal, x: Sequence[Decimal], spread: list[list[Decimal]]) -> None:
        """Blend `share` of a sample with this mean and covariance into component k."""
        old, mean = self.covariances[k], self.means[k]
        d = [a - b for a, b in zip(x, mean, strict=True)]
        size = range(len(d))
        self.covariances[k] = [
            [(1 - share) * (old[i][j] + share * d[i] * d[j]) + share * spread[i][j] for j in size] for i in size
        ]
        self.means[k] = [m + share * step for m, step in zip(mean, d, strict=True)]

    def iterate(self, rows: Sequence[Sequence[float]]) -> Decimal:
        """One batch EM iteration; the log-likelihood of its E-step."""
        with localcontext(prec=DIGITS):
            points = [[Decimal(v) for v in row] for row in rows]
            r = [self.responsibilities(point) for point in points]
            total = sum((log_sum_exp(self.log_joint(point)) for point in points), Decimal(0))
            size = range(len(rows[0]))
            for k in range(len(self.weights)):
                share = [r_i[k] for r_i in r]
                count = sum(share, Decimal(0))
                parts = [(r_k, *self.filled(k, point)) for r_k, point in zip(share, points, strict=True)]
                m = [sum((r_k * x[j] for r_k, x, _ in parts), Decimal(0)) / count for j in size]
                self.covariances[k] = [
                    [
                        sum((r_k * ((x[i] - m[i]) * (x[j] - m[j]) + c[i][j]) for r_k, x, c in parts), Decimal(0))
                        / count
                        for j in size
                    ]
                    for i in size
                ]
                self.means[k] = m
                self.weights[k] = count / len(rows)
            return total


def log_normal(x: Sequence[Decimal], mean: Sequence[Decimal], covariance: list[list[Decimal]]) -> Decimal:
    """Log density of a normal in one or two dimensions, one of which may be missing (NaN)."""
    seen = [i for i, value in enumerate(x) if not value.is_nan()]
    d = [x[i] - mean[i] for i in seen]
    if len(d) == 1:
        determinant = covariance[seen[0]][seen[0]]
        distance = d[0] * d[0] / determinant
    else:
        (a, b), (_, c) = covariance
        determinant = a * c - b * b
        distance = (c * d[0] * d[0] - 2 * b * d[0] * d[1] + a * d[1] * d[1]) / determinant
    return -(distance + determinant.ln() + len(d) * (2 * PI).ln()) / 2


def log_sum_exp(values: Sequence[Decimal]) -> Decimal:
    top = max(values)
    return top + sum(((value - top).exp() for value in values), Decimal(0)).ln()


def relative_error(ours: float, exact: Decimal) -> float:
    return float(abs(Decimal(ours) - exact) / abs(exact))


def log_of(value: Fraction) -> Decimal:
    return Decimal(value.numerator).ln() - Decimal(value.denominator).ln()


def log_factorial(n: int) -> Decimal:
    """log n!, by whole numbers or, for a large n, by seven terms of Stirling's series: exact to 1e-45."""
    if n < 5_000:
        return Decimal(math.factorial(n)).ln()
    bernoulli = [Fraction(1, 6), Fraction(-1, 30), Fraction(1, 42), Fraction(-1, 30), Fraction(5, 66)]
    bernoulli += [Fraction(-691, 2730), Fraction(7, 6)]
    tail = sum(b / (2 * k * (2 * k - 1) * Fraction(n) ** (2 * k - 1)) for k, b in enumerate(bernoulli, start=1))
    x = Decimal(n)
    return x * x.ln() - x + (2 * PI * x).ln() / 2 + Decimal(tail.numerator) / Decimal(tail.denominator)


def log_density(distribution: Any, x: Any) -> Decimal:
    """The textbook formula in decimals and whole numbers, for a distribution as in the oracle."""
    with localcontext(prec=DIGITS):
        match distribution:
            case ("lognormal", mean, variance):
                log_x = Decimal(x).ln()
                return log_normal([log_x], [Decimal(mean)], [[Decimal(variance)]]) - log_x
            case ("exponential", rate):
                return Decimal(rate).ln() - Decimal(rate) * Decimal(x)
            case ("poisson", rate):
                return Decimal(x) * Decimal(rate).ln() - Decimal(rate) - log_factorial(x)
            case ("binomial", n, p):
                p = Fraction(p)
                choices = log_factorial(n) - log_factorial(x) - log_factorial(n - x)
                return choices + Decimal(x) * log_of(p) + Decimal(n - x) * log_of(1 - p)
            case ("geometric", p):
                return log_of(Fraction(p)) + Decimal(x) * log_of(1 - Fraction(p))
            case ("bernoulli", p):
                return log_of(Fraction(p) if x else 1 - Fraction(p))
    raise AssertionError(distribution)
