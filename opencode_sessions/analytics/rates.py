"""How often something was so, with what it was counted of and how sure that is."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .results import adds_up

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@adds_up("count", "total", follow=lambda counts: _with_rate(counts))
def rates(table: pd.DataFrame, flag: str, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """How often a flag is set: one row a group of `by`, or one for all, sorted by the groups.

    For any measure with a row a case, as `blind_edits` or `redundant_reads`. Rows whose flag is NA
    are not counted.

    Returns the columns of `by` and:
        count, total (Int64): rows with the flag set, and all that say;
        rate (float64): count / total, NA at 0/0;
        low, high (float64): its 95 % interval (see `wilson`).

    >>> rates(blind_edits(frames), "is_blind", by="tool")
       tool  count  total  rate  low     high
    0  edit      0      2   0.0  0.0  0.65762
    """
    columns = [by] if isinstance(by, str) else list(by or ())
    said = table[[*columns, flag]].dropna(subset=flag)
    is_set = said[flag].astype("Int64")
    if columns:
        groups = is_set.groupby([said[column] for column in columns], observed=True, dropna=False)
        counts = groups.agg(count="sum", total="size").astype("Int64").reset_index()
    else:
        counts = pd.DataFrame({"count": [is_set.sum()], "total": [len(said)]}, dtype="Int64")
    return _with_rate(counts)


def _with_rate(counts: pd.DataFrame) -> pd.DataFrame:
    low, high = wilson(counts["count"], counts["total"])
    return counts.assign(rate=ratio(counts["count"], counts["total"]), low=low, high=high)


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
