"""Whether a series of numbers grows: the slope of Theil and Sen, and the test of Mann and Kendall. Pure.

Both go by pairs of values and not by their distribution: a few outliers change neither, and a series that only jumps up
and down has no trend.

Sources: H. Theil (1950), P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau" (1968); H. B.
Mann, "Nonparametric tests against trend" (1945), M. G. Kendall, "Rank Correlation Methods" (1975; variance with ties).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from statistics import median

SIGNIFICANCE = 0.01
"""The chance, at most, of a series without a trend that looks as much like growth."""
LEAST_VALUES = 8
"""A shorter series is hardly ever significant."""


def slope_of(values: Sequence[float], places: Sequence[float] = ()) -> float:
    """The median of the slopes between all pairs, per step, or per unit of the rising `places` where the values were
    taken; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    pairs = combinations(zip(places or range(len(values)), values, strict=True), 2)
    return float(median((later - earlier) / (b - a) for (a, earlier), (b, later) in pairs))


def chance_of(values: Sequence[float]) -> float:
    """The probability (two-sided, in the normal approximation, corrected for ties) that values without a trend rise or
    fall as much as these do."""
    count = len(values)
    rises = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    variance = _spread(count) - sum(_spread(equal) for equal in Counter(values).values())
    if not rises or variance <= 0:
        return 1.0
    return math.erfc((abs(rises) - 1) / math.sqrt(variance / 18) / math.sqrt(2))


def _spread(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)


def grows(values: Sequence[float]) -> bool:
    """Whether they rise, significantly."""
    return slope_of(values) > 0 and chance_of(values) < SIGNIFICANCE
