"""What each measure gives, as data: the columns of its table and their dtypes.

A measure says them where it is defined, by `@gives(...)`, and ends in `tidy`. Whoever needs them
without running it reads `RESULTS`. One whose groups may be counted in pieces also says which of its
columns add up, and what follows from the sums, by `@adds_up(...)`: whoever puts pieces together
reads `SUMS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import pandas as pd

Measure = TypeVar("Measure", bound=Callable[..., pd.DataFrame])

RESULTS: dict[str, dict[str, str]] = {}
"""By the measure's name: column -> dtype, in order. Columns it takes over as they are from the
frames because a caller named them (`by=`), or all of them, are not among these."""


class Sums(NamedTuple):
    """What of a table can be put together from tables of parts of the rows."""

    counts: tuple[str, ...]
    """Columns that add up."""
    follow: Callable[[pd.DataFrame], pd.DataFrame]
    """Adds to a table of these what follows from them: ratios, intervals."""


SUMS: dict[str, Sums] = {}
"""By the measure's name. A column of its table that is neither a count nor follows from them, as a
median, cannot be put together."""


def gives(**columns: str) -> Callable[[Measure], Measure]:
    """Says which columns a measure's table has, in order, and their dtypes."""

    def say(measure: Measure) -> Measure:
        RESULTS[measure.__name__] = columns
        return measure

    return say


def adds_up(
    *counts: str, follow: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
) -> Callable[[Measure], Measure]:
    """Says which columns of a measure's table add up over tables, and what follows from them."""

    def say(measure: Measure) -> Measure:
        SUMS[measure.__name__] = Sums(counts, follow)
        return measure

    return say


def tidy(
    table: pd.DataFrame, measure: Callable[..., Any], by: list[str] | None = None
) -> pd.DataFrame:
    """The table with the columns the measure gives, their dtypes, and a RangeIndex.

    The columns of `by` stay in front, as they are.
    """
    columns = RESULTS[measure.__name__]
    return table[[*(by or ()), *columns]].astype(columns).reset_index(drop=True)
