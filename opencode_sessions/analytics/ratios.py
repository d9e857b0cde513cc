"""Ratios that stand beside what they are of, and how sure they are."""

from typing import Any

import pandas as pd

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def ratio(count: "pd.Series[Any]", total: "pd.Series[Any]") -> "pd.Series[float]":
    """count / total as float64; NA where the total is 0, and where either is NA."""
    parts = (numbers.astype("Float64").astype("float64") for numbers in (count, total))
    above, below = parts
    return above / below.mask(below.eq(0))


def wilson(
    count: "pd.Series[Any]", total: "pd.Series[Any]"
) -> "tuple[pd.Series[float], pd.Series[float]]":
    """The 95 % score interval of a rate: E. B. Wilson, JASA 22 (1927), 209-212; NA at 0/0."""
    n = total.astype("float64").mask(total.eq(0))
    share = ratio(count, total)
    middle = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    spread = (share * (1 - share) / n + Z_95**2 / (4 * n**2)) ** 0.5
    half = spread * Z_95 / (1 + Z_95**2 / n)
    low, high = (middle - half).clip(0, 1), (middle + half).clip(0, 1)
    return low.mask(share.eq(0), 0.0), high.mask(share.eq(1), 1.0)
