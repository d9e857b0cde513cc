"""What each measure gives, as data: the columns of its table and their dtypes.

A measure says them where it is defined, by `@gives(...)`, and ends in `tidy`. Whoever needs them
without running it reads `RESULTS`: the tests, and a Spark job that asks for a schema up front.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import pandas as pd

Measure = TypeVar("Measure", bound=Callable[..., pd.DataFrame])

RESULTS: dict[str, dict[str, str]] = {}
"""By the measure's name: column -> dtype, in order. Columns it takes over as they are from the
frames because a caller named them (`by=`), or all of them, are not among these."""


def gives(**columns: str) -> Callable[[Measure], Measure]:
    """Says which columns a measure's table has, in order, and their dtypes."""

    def say(measure: Measure) -> Measure:
        RESULTS[measure.__name__] = columns
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
