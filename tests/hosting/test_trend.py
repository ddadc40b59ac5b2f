"""Growth is told from noise."""

from __future__ import annotations

import random

import pytest

from skerry.hosting.trend import chance_of, grows, slope_of


def test_the_slope_is_the_median_of_all_pairs() -> None:
    """As in Sen's paper: an outlier does not move it."""
    assert slope_of([1, 2, 3, 4, 5]) == 1
    assert slope_of([10, 12, 14, 900, 18, 20]) == 2
    assert slope_of([5, 5, 5]) == 0
    assert slope_of([7]) == 0
    assert slope_of([]) == 0


@pytest.mark.parametrize(
    ("values", "chance"),
    [
        (list(range(12)), 8.3e-6),  # S = 66, variance 212.67
        ([3, 1, 4, 1, 5, 9, 2, 6], 0.20983),  # S = 11, variance 64.33 with one tie
        ([5] * 12, 1.0),
        ([], 1.0),
    ],
)
def test_the_chance_is_that_of_mann_and_kendall(values: list[float], chance: float) -> None:
    """Computed by hand: S, its variance with ties, the normal distribution with the correction for continuity."""
    assert chance_of(values) == pytest.approx(chance, rel=0.02)
    assert chance_of([-each for each in values]) == pytest.approx(chance, rel=0.02)


def test_noise_grows_as_rarely_as_it_may() -> None:
    """Of a thousand series without a trend about half of one percent rise with a significance of one percent."""
    chosen = random.Random(7)
    found = sum(grows([chosen.gauss(1000, 50) for _ in range(12)]) for _ in range(1000))
    assert found <= 10


def test_growth_beneath_noise_is_found() -> None:
    """One for each step, under noise of twice as much."""
    chosen = random.Random(7)
    assert grows([1000 + step + chosen.uniform(-2, 2) for step in range(16)])
    assert not grows([1000 - step for step in range(12)])
