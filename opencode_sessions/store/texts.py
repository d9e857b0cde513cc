"""Many rows of an SQLite table as one row: a JSON array for each column, made by SQLite itself."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Float

from ..models import TABLES
from . import NotAtOnce, TableName, Texts

# A decimal that is the nearest to a number of millionths: then that number says it all.
IS_MILLIONTHS = "abs({0}) < 1e9 AND round({0} * 1e6) / 1e6 = {0}"
MILLIONTHS = f"CASE WHEN {IS_MILLIONTHS} THEN CAST(round({{0}} * 1e6) AS INTEGER) END"


def expressions(table: TableName, columns: Sequence[str]) -> list[str]:
    """What to select for columns of a table: a text for each, then for each decimal among them in
    how many rows there is none."""
    decimals = _decimals(table, columns)
    values = {name: MILLIONTHS.format(name) if name in decimals else name for name in columns}
    made = [f"CAST(json_group_array({value}) AS BLOB)" for value in values.values()]
    return made + [f"count(*) - count({name})" for name in decimals]


def texts(table: TableName, columns: Sequence[str], row: Sequence[Any]) -> tuple[Texts, list[str]]:
    """What a row of those says, and the decimals that are yet to be read as they are."""
    none = zip(_decimals(table, columns), row[len(columns) :], strict=True)
    found = dict(zip(columns, row, strict=False))
    return Texts(found, {}), [name for name, count in none if found[name].count(b"null") != count]


def exact_texts(table: TableName, columns: Sequence[str], row: Sequence[Any]) -> Texts:
    """What a row of those says, where that is all.

    Raises:
        NotAtOnce: there are decimals that are no millionths.
    """
    found, inexact = texts(table, columns, row)
    if inexact:
        raise NotAtOnce(f"no millionths: {inexact}")
    return found


def _decimals(table: TableName, columns: Sequence[str]) -> list[str]:
    kinds = TABLES[table].c
    return [name for name in columns if name in kinds and isinstance(kinds[name].type, Float)]
