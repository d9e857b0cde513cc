"""How often something was so, with what it was counted of and how sure that is."""

from collections.abc import Sequence

import pandas as pd

from .counting import columns_of
from .results import COUNT, Result, share

# Of any measure's cases, so no measure itself.
GIVES = Result(
    "by",
    count=COUNT,
    total=COUNT,
    rate=share("count", "total"),
    low=share("count", "total", "low"),
    high=share("count", "total", "high"),
)


def rates(table: pd.DataFrame, flag: str, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """How often a flag is set: one row a group of `by`, or one for all, sorted by the groups.

    For any measure with a row a case, as `blind_edits` or `redundant_reads`. Rows whose flag is NA
    are not counted. Source: plain counts; the interval is Wilson's.

    Returns the columns of `by` and:
        count, total (Int64): rows with the flag set, and all that say;
        rate (float64): count / total, NA at 0/0;
        low, high (float64): its 95 % interval (see `ratios.wilson`).

    Raises:
        ValueError: `by` or `flag` names no column.

    >>> rates(blind_edits(frames), "is_blind", by="model").round(2)
             model  count  total  rate   low  high
    0  gpt-5-cedar      7     23  0.30  0.16  0.51
    1   pine-large     13    186  0.07  0.04  0.12
    2    pine-mini     32    156  0.21  0.15  0.28
    """
    columns = columns_of(by, table.columns, least=0)
    if flag not in table:
        raise ValueError(f"There is no flag {flag!r}. There are: {', '.join(table.columns)}.")
    said = table[[*columns, flag]].dropna(subset=flag)
    is_set = said[flag].astype("Int64")
    if columns:
        groups = is_set.groupby([said[column] for column in columns], observed=True, dropna=False)
        counts = groups.agg(count="sum", total="size").astype("Int64").reset_index()
    else:
        counts = pd.DataFrame({"count": [is_set.sum()], "total": [len(said)]}, dtype="Int64")
    return GIVES.completed(counts)
