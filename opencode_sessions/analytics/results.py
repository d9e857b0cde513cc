"""What each measure gives, as data: the columns of its table, their dtypes, and what adds up.

A measure says it where it is defined, by `@gives(...)`, and ends in `tidy`. Whoever needs it before
the measure has run reads `RESULTS`: a Spark job that asks for a schema up front, whoever makes one
table of those of several projects, and the tests.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd

from .columns import TIME
from .given import checked
from .ratios import ratio, wilson

Measure = TypeVar("Measure", bound=Callable[..., pd.DataFrame])
Takes = Literal["", "by", "events"]


class Column(NamedTuple):
    """One column of a measure's table.

    `adds` is how the numbers that several projects give for one group make that of all of them; it
    is "" for names, and for what only the data themselves can tell, as a median. A ratio does not
    add up, but what it is of does: `of` names its numerator and denominator, which stand beside it,
    and `end` the end of its 95 % interval that this column is (`ratios.wilson`), "" for itself.
    """

    dtype: str
    adds: Literal["", "sum", "min", "max"] = ""
    of: tuple[str, str] | None = None
    end: Literal["", "low", "high"] = ""


class Result(dict[str, Column]):
    """A measure's table: its own columns by name, in order.

    `takes` says which it takes over in front of them: "by" those that the caller's `by` names,
    "events" all of the events.
    """

    def __init__(self, takes: Takes = "", /, **columns: str | Column) -> None:
        self.takes = takes
        super().__init__(
            (name, column if isinstance(column, Column) else Column(column))
            for name, column in columns.items()
        )

    @property
    def dtypes(self) -> dict[str, str]:
        """The dtype of each own column."""
        return {name: column.dtype for name, column in self.items()}

    @property
    def adding(self) -> dict[str, str]:
        """The columns that add up, each with how: sum, min or max."""
        return {name: column.adds for name, column in self.items() if column.adds}

    def completed(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of added-up columns with the ratios and intervals that follow from them."""
        table = table.copy()
        for name, column in self.items():
            if column.of is None or not {*column.of} <= {*table}:
                continue
            part, whole = (table[of] for of in column.of)
            ends = dict(zip(("low", "high"), wilson(part, whole), strict=True))
            table[name] = ends[column.end] if column.end else ratio(part, whole)
        return table


COUNT = Column("Int64", "sum")
AMOUNT = Column("float64", "sum")
FIRST, LAST = Column(TIME, "min"), Column(TIME, "max")

RESULTS: dict[str, Result] = {}
"""By the measure's name."""


def share(part: str, whole: str, end: Literal["", "low", "high"] = "") -> Column:
    """A ratio of two columns beside it, NA at 0/0, or an end of its interval."""
    return Column("float64", of=(part, whole), end=end)


def gives(takes: Takes = "", /, **columns: str | Column) -> Callable[[Measure], Measure]:
    """Says which columns a measure's table has, in order; of a plain one the dtype is enough."""

    def say(measure: Measure) -> Measure:
        RESULTS[measure.__name__] = Result(takes, **columns)
        return checked(measure)

    return say


def tidy(
    table: pd.DataFrame, measure: Callable[..., Any], by: list[str] | None = None
) -> pd.DataFrame:
    """The table with the columns the measure gives, their dtypes, and a RangeIndex.

    The columns of `by` stay in front, as they are.
    """
    columns = RESULTS[measure.__name__].dtypes
    return table[[*(by or ()), *columns]].astype(columns).reset_index(drop=True)
