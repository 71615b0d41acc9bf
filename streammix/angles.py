"""Angles as NumPy sees them: directions, spreads, points on a circle."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_angle", "on_circle", "spread_within", "turn_anchors"]

FloatArray = NDArray[np.float64]

LEAST_SPREAD = 5e-13  # of a von Mises: core/circle.h


def _turned(values: FloatArray, period: float) -> FloatArray:
    """Angles in radians, without whole turns."""
    return np.fmod(values, period) / period * (2 * math.pi)


def mean_angle(seen: FloatArray, period: float) -> tuple[float, float]:
    """Mean direction in radians, and 1 less the mean cosine about it."""
    if not seen.size:
        return 0.0, 1.0
    angles = _turned(seen, period)
    mean = math.atan2(float(np.sin(angles).mean()), float(np.cos(angles).mean()))
    spread = float(2 * (np.sin((angles - mean) / 2) ** 2).mean())
    return mean, min(max(spread, LEAST_SPREAD), 1.0)


def spread_within(values: FloatArray, period: float, labels: NDArray[np.intp], k: int) -> float:
    """1 less the mean cosine about the mean direction of a record's cluster."""
    seen = ~np.isnan(values)
    total = 0.0
    for j in range(k):
        members = values[seen & (labels == j)]
        total += len(members) * mean_angle(members, period)[1]
    return total / seen.sum() if seen.any() else 1.0


def on_circle(values: FloatArray, period: float) -> list[FloatArray]:
    """Angles as points of unit variance: 0 and a whole turn are one place; what is missing lies at the mean."""
    finite = np.isfinite(values)
    angles = _turned(np.where(finite, values, 0.0), period)
    points = [np.cos(angles), np.sin(angles)]
    centred = [np.where(finite, point - point[finite].mean(), 0.0) if finite.any() else point for point in points]
    size = math.sqrt(max(sum(float((point**2).mean()) for point in centred), LEAST_SPREAD))
    return [point / size for point in centred]


def turn_anchors(values: FloatArray) -> None:
    """Turn anchors to the mean directions; both are kept as cos and sin of half the angle."""
    cosine, sine, spread, across = (values[:, row] for row in range(4))
    along = 1.0 - spread
    length = np.hypot(along, across)
    angle = np.arctan2(sine, cosine) + np.arctan2(across, along) / 2
    spread[...] = np.clip((spread * (2.0 - spread) - across**2) / (1.0 + length), 0.0, 1.0)
    cosine[...], sine[...], across[...] = np.cos(angle), np.sin(angle), 0.0
