"""What measures gave for each project, put together over projects: sums, and what follows."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ..analytics import RESULTS
from ..analytics.rates import GIVES as RATES
from .types import to_pandas

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def combine(
    table: "DataFrame", measure: Callable[..., pd.DataFrame], by: str | Sequence[str]
) -> pd.DataFrame:
    """A measure's table over all projects, from what `run` gave for each of them.

    Numerators and denominators add up, ratios and intervals follow from their sums, the first and
    last of times from those of the parts, as the measure says of its columns
    (`analytics.RESULTS`). What does not add up, as a median, is left out; so is what only the rows
    tell, as a title. A part that is NA adds nothing, as in `activity` the lines of changes that
    do not tell theirs, which `lines_unknown` counts: with no others than those, and a project that
    has no changes in the group, the sum is 0 and not NA.

    Args:
        table: what `run` gave.
        measure: the measure that was run, with `functools.partial` or without.
        by: the columns of the table to keep apart, as `model`, or `["period", "event_type"]`.

    Returns:
        the columns of `by` as texts and moments, then the measure's, sorted by `by`.

    Raises:
        ValueError: nothing of the measure adds up, as of one with a row for each case; or the table
            lacks a column.
    """
    columns = [by] if isinstance(by, str) else list(by)
    name = getattr(measure, "func", measure).__name__
    result = RESULTS.get(name)
    adding = result.adding if result is not None else {}
    if result is None or not adding:
        known = ", ".join(sorted(n for n, other in RESULTS.items() if other.adding))
        raise ValueError(
            f"{name} gives nothing that adds up over projects. These do: {known}. Where a row is a "
            "case, `fleet.rates` counts them."
        )
    summed = result.completed(_summed(table, columns, {n: (how, n) for n, how in adding.items()}))
    there = [column for column in result if column in summed and column not in columns]
    return summed[[*columns, *there]]


def rates(table: "DataFrame", flag: str, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """How often a flag is set in what `run` gave, as `analytics.rates` has it, over all projects.

    Args:
        table: of a measure with a row for each case, as `blind_edits` or `redundant_reads`.
        flag: a boolean column; rows where it is NA are not counted.
        by: one or several columns to keep apart.

    Returns:
        the columns of `by`, count, total (Int64), rate, low, high (float64), sorted by `by`.

    Raises:
        ValueError: the table lacks a column.
    """
    columns = [by] if isinstance(by, str) else list(by or ())
    _check(table, [*columns, flag])
    said = table.where(f"`{flag}` is not null").withColumn(flag, table[flag].cast("bigint"))
    counts = _summed(said, columns, {"count": ("sum", flag), "total": ("count", flag)})
    return RATES.completed(counts.fillna({"count": 0}))


def _summed(
    table: "DataFrame", columns: list[str], adding: Mapping[str, tuple[str, str]]
) -> pd.DataFrame:
    """One row a group of these columns: by its name, how each other is made, and of which."""
    from pyspark.sql import functions as sql

    _check(table, [*columns, *(of for _, of in adding.values())])
    how: dict[str, Callable[[str], Column]] = {
        "sum": sql.sum,
        "count": sql.count,
        "min": sql.min,
        "max": sql.max,
    }
    made = [how[name](of).alias(column) for column, (name, of) in adding.items()]
    found = to_pandas(table.groupBy(*columns).agg(*made))
    return found.sort_values(columns, ignore_index=True) if columns else found


def _check(table: "DataFrame", columns: list[str]) -> None:
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"The table has no {missing[0]!r}. It has: {', '.join(table.columns)}")
